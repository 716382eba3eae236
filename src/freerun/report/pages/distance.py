"""The single-file page of `freerun distance`, drawn from the plain dict of its result.json and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from freerun.records.plan import read_nature
from freerun.report.pages.audit import FINDING_FILTERS, with_anchors
from freerun.report.pages.prediction import percent, piece_of, spelled, visible_token
from freerun.report.pages.template import Page
from freerun.results.distance import Parting
from freerun.results.json import from_json

EDGES_NATS = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Divergences at which the shade of a token changes; shade 0 lies below the first."""
_SHOWN = (
    "prefix",
    "tokens",
    "documents",
    "continuations",
    "arms",
    "protocol",
    "batch",
    "seed",
    "dtype",
    "device",
    "end_ids",
)


def render_distance(result: Mapping[str, Any]) -> str:
    """Return the page of a distance as one HTML document that needs no network and no other file.

    All text is escaped; control and bidirectional characters in it are shown as signs.
    """
    partings = [from_json(Parting, parting) for parting in result["partings"]]
    findings = with_anchors(result["findings"], "finding")
    return _PAGE.render(result=result, findings=findings, partings=partings, running=running, scale=scale)


def shade(kl_nats: float | None) -> str:
    """The class of a token's shade, by the divergence of the laws before it; None is infinite.

    >>> shade(0.0), shade(0.05), shade(None)
    ('s0', 's3', 's6')
    """
    return "s6" if kl_nats is None else f"s{sum(kl_nats >= edge for edge in EDGES_NATS)}"


def scale() -> list[dict[str, str]]:
    """Legend of the shades."""
    edges = (0.0, *EDGES_NATS)
    ends = [*(f"{low:g}–{high:g}" for low, high in zip(edges, EDGES_NATS, strict=False)), f"{EDGES_NATS[-1]:g}+"]
    return [{"shade": f"s{i}", "nats": end} for i, end in enumerate(ends)]


def running(parting: Parting) -> Markup:
    """The tokens around a parting, each on the shade of its divergence, the one in question framed."""
    out = []
    for n, (token, piece) in enumerate(zip(parting.tokens, spelled(parting.tokens), strict=True)):
        chances = f"{_percent(token.log_p_nats)} under A, {_percent(token.log_q_nats)} under B"
        out.append(
            Markup('<span class="tok {}{}" title="{}">{}</span>').format(
                shade(token.kl_nats),
                " here" if n == parting.at else "",
                f"{visible_token(token)}: KL {_nats(token.kl_nats)}; {chances}",
                piece_of(token, piece),
            )
        )
    return Markup("").join(out)


def _nats(kl_nats: float | None) -> str:
    return "∞ nats" if kl_nats is None else f"{kl_nats:.3g} nats"


def _percent(log_prob_nats: float | None) -> str:
    return "0%" if log_prob_nats is None else percent(log_prob_nats)


def _plan(result: Mapping[str, Any]) -> dict[str, Any]:
    """What was set, in the order of a reader's interest."""
    plan = result["plan"]
    rules = {f"context of {name}": result[name.lower()]["context"] for name in ("A", "B")}
    return {name: plan[name] for name in _SHOWN} | rules


def _requests(requests: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the requests to a server, over all processes that worked on the run."""
    retried = ", ".join(f"{n} × {kind}" for kind, n in requests["retried"].items())
    return {"answered": requests["answered"], "tried again": retried or "none", "failed": requests["failed"]}


_PAGE = Page(
    "distance.html.j2",
    {
        **FINDING_FILTERS,
        "nats": _nats,
        "nature": lambda nature: read_nature(nature).describe(),
        "percent": _percent,
        "plan": _plan,
        "requests": _requests,
        "word": visible_token,
    },
    css=("prediction.css", "distance.css"),
)
