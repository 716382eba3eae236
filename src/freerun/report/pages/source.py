"""The single-file page of `freerun source`, drawn from its typed result and from nothing else.

Written for a reader who knows nothing of the methods: what the model believes, which words made it believe so, and how far the
belief can be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from freerun.report.pages.prediction import chance, visible_text
from freerun.report.pages.template import Page
from freerun.report.visible import visible, visible_markup
from freerun.results.finding import to_json
from freerun.results.source import LatentAnswer, SourceEvaluation, SourceResult, Word, WordShift

EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of belief at which the shade of a word changes; shade 0 lies below the first."""
MOST_CURVES = 5
MOST_POINTS = 160
_ROLES = ("free", "real", "tempered", "control", "reference", "other")


def render_source(result: SourceResult | SourceEvaluation) -> str:
    """Return the page of a result of `freerun source` as one HTML document that needs no network and no other file.

    All text is escaped; control and bidirectional characters in it are shown as signs. An evaluation gives a page of its
    tables and charts.
    """
    if isinstance(result, SourceResult):
        return _PAGE.render(result=result, running=running, scale=scale)
    return _EVALUATION.render(result=result, charts=to_json(result.charts))


def shade(moved: float) -> str:
    """The class of a word's shade, by the share of belief that it moved.

    >>> shade(0.0), shade(0.06), shade(1.0)
    ('s0', 's3', 's6')
    """
    return f"s{sum(moved >= edge for edge in EDGES)}"


def scale() -> list[dict[str, str]]:
    """Legend of the shades."""
    edges = (0.0, *EDGES)
    ends = [*(f"{low:.0%}–{high:.0%}" for low, high in zip(edges, EDGES, strict=False)), f"{EDGES[-1]:.0%}+"]
    return [{"shade": f"s{i}", "share": end} for i, end in enumerate(ends)]


def running(words: Sequence[Word], latent: LatentAnswer) -> Markup:
    """The text, each word on the shade of the belief that it moved, saying where to."""
    return Markup("").join(_words(words, latent.header.words))


def _words(words: Sequence[Word], moved: Sequence[WordShift]) -> Iterator[Markup]:
    for word, move in zip(words, moved, strict=True):
        text = str(word.text)
        bare = text.lstrip()
        blank = text[: len(text) - len(bare)]
        yield visible_markup(blank)
        if bare:
            title = f"moved {chance(move.shift)} of the belief, mostly from {move.away} to {move.toward}"
            yield Markup('<span class="tok {}" title="{}">{}</span>').format(
                shade(move.shift), visible(title), visible_markup(bare)
            )


def ranked(latent: LatentAnswer) -> list[int]:
    """The values from the most to the least probable by header scoring."""
    posterior = latent.header.posterior
    return sorted(range(len(posterior)), key=lambda i: -posterior[i])


def posterior_chart(latent: LatentAnswer) -> dict[str, Any]:
    """The posterior by token: the values that end or ever stood highest."""
    path = latent.header.path
    at = _points(len(path))
    series = [_series(latent, k, i, [path[t][i] for t in at]) for k, i in enumerate(_highest(path))]
    title, levels = f"Belief about {latent.name} as the text is read", ((0.9, "90%"),)
    return _chart(
        latent, "posterior", title, "tokens read", "probability", at, series, y_range=(0.0, 1.0), levels=levels
    )


def entropy_chart(latent: LatentAnswer) -> dict[str, Any]:
    """What is still open, in bits, by token."""
    entropy = latent.header.entropy_bits
    at = _points(len(entropy))
    series = [{"name": latent.name, "role": "free", "y": [entropy[t] for t in at]}]
    return _chart(latent, "entropy", "What is still open", "tokens read", "bits", at, series)


def own_chart(latent: LatentAnswer) -> dict[str, Any]:
    """Mean posterior along the model's own continuations, with the band of a belief that does not drift."""
    assert latent.coherence is not None
    own = latent.coherence.without_other
    mean, bands = own.mean, own.bands
    at = _points(len(mean))
    highest = _highest(mean)[:MOST_CURVES]
    series = [_series(latent, k, i, [mean[t][i] for t in at]) for k, i in enumerate(highest)]
    for curve, band in zip(series[:1], (bands[i] for i in highest), strict=False):
        curve |= {"low": [band.low[t] for t in at], "high": [band.high[t] for t in at]}
        curve["name"] += ", with the band of no drift"
    title = f"Belief about {latent.name} as the model writes on by itself"
    return _chart(latent, "own", title, "tokens written", "mean probability", at, series, y_range=(0.0, 1.0))


def _chart(
    latent: LatentAnswer,
    kind: str,
    title: str,
    x_label: str,
    y_label: str,
    x: list[int],
    series: list[Any],
    **more: Any,
) -> dict[str, Any]:
    name, labels = f"{latent.name}_{kind}", {"x_label": x_label, "y_label": y_label}
    return {"name": name, "title": title, "caption": "", **labels, "x": x, "series": series, **more}


def _series(latent: LatentAnswer, k: int, i: int, y: Sequence[float]) -> dict[str, Any]:
    return {"name": str(latent.values[i]), "role": _ROLES[k % len(_ROLES)], "y": list(y)}


def _highest(path: Float[np.ndarray, "steps values"]) -> list[int]:
    """The values that end highest, and those that ever passed a third."""
    last = path[-1]
    order = sorted(range(len(last)), key=lambda i: -last[i])
    ever = [i for i in order if path[:, i].max() >= 1 / 3]
    chosen = (ever + [i for i in order if i not in ever])[:MOST_CURVES]
    return [i for i in order if i in chosen]


def _points(n: int) -> list[int]:
    if n <= MOST_POINTS:
        return list(range(n))
    return sorted({round(k * (n - 1) / (MOST_POINTS - 1)) for k in range(MOST_POINTS)})


_FILTERS: dict[str, Callable[..., Any]] = {
    "chance": chance,
    "entropy_chart": entropy_chart,
    "own_chart": own_chart,
    "posterior_chart": posterior_chart,
    "ranked": ranked,
    "text": lambda value: visible_markup(str(value)),
    "word": lambda value: visible_text(str(value)),
}
_PAGE, _EVALUATION = (
    Page(template, _FILTERS, css=("prediction.css", "source.css"))
    for template in ("source.html.j2", "source_evaluation.html.j2")
)
