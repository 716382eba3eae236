"""Charts and tables of belief about the source, and how shares, changes and p-values are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freerun.findings.sources.evidence import SourceEvidence
from freerun.results.finding import Cell, Chart, Row, Series, Table
from freerun.stats.intervals import Interval
from freerun.stats.sources.drift import LEADING, BeliefChange

OTHER = "other"
MOST_PICTURES = 4
_MOST_POINTS = 33
SIDES = (("real", "real text", "real"), ("own", "its own text", "free"))


def _times(e: SourceEvidence) -> list[int]:
    if e.length < _MOST_POINTS:
        return list(range(e.length + 1))
    return sorted({round(k * e.length / (_MOST_POINTS - 1)) for k in range(_MOST_POINTS)})


def entropy_chart(e: SourceEvidence) -> Chart:
    times = _times(e)
    series = tuple(Series.of(label, role, e.entropy_curve(side, times)) for side, label, role in SIDES)
    return Chart(
        name=f"{e.asked.latent}_entropy",
        title=f"How unsure it is of the {e.asked.latent}, along real and own text of the same prefixes",
        x_label="tokens after the cut",
        y_label="bits",
        x=tuple(float(t) for t in times),
        series=series,
        caption="Entropy of the posterior over sources, mean over documents. Bands: pointwise 95%, by document. If own text were drawn from the "
        "mixture of the sources, it could only fall on average.",
    )


def belief_charts(e: SourceEvidence) -> list[Chart]:
    times, name = _times(e), e.asked.latent
    ends = np.stack([e.all.start.mean(0), e.all.end("real").mean(0), e.all.end("own").mean(0)])
    order = np.argsort(-ends.max(axis=0), kind="stable")
    shown = [int(s) for s in order if e.all.prior[s] > 0][:MOST_PICTURES]
    return [
        Chart(
            name=f"{name}_belief_{k + 1}",
            title=f"Mean belief that the {name} is {named(e.asked.values[s])}",
            x_label="tokens after the cut",
            y_label="probability",
            x=tuple(float(t) for t in times),
            series=tuple(Series.of(label, role, e.curve(side, s, times)) for side, label, role in SIDES),
            levels=((float(e.all.prior[s]), "before the prefix"),),
            caption="Other among the sources. Bands: pointwise 95%, by document.",
        )
        for k, s in enumerate(shown)
    ]


def drift_table(e: SourceEvidence) -> Table:
    """Every source without other: where belief was at the cut, and how it moved on both sides."""
    own, real = e.changes["own"], e.changes["real"]
    p = dict(zip(e.drift.groups, e.drift.p_holm.tolist(), strict=True)) if e.drift else {}

    def p_cell(group: tuple[int, ...]) -> str | Cell:
        return Cell(p_value(p[group]), p[group], "p") if group in p else "rare"

    rows: list[Row] = [
        (named(value), share(e.named.prior[s]), share(own.start[s]), moved(own, s), p_cell((s,)), moved(real, s))
        for s, value in enumerate(e.asked.values)
        if e.named.prior[s] > 0
    ]
    for k, group in enumerate(e.drift.groups if e.drift else ()):
        if e.drift is not None and len(group) > 1:
            change, prior = e.drift.change, float(e.named.prior[list(group)].sum())
            rows.append(
                (group_name(e, group), share(prior), share(change.start[k]), moved(change, k), p_cell(group), "")
            )
    lead, real = e.leading["own"], e.leading["real"]
    rows.append((group_name(e, LEADING), "", share(lead.start[0]), moved(lead, 0), p_cell(LEADING), moved(real, 0)))
    return Table(
        f"{e.asked.latent}_drift",
        f"Mean belief about {e.asked.latent}, other left out: from the cut to the end ({e.n} documents)",
        (
            "source",
            "prior",
            "at the cut",
            "change along its own text",
            "p of no drift (Holm)",
            "change along real text (no null)",
        ),
        tuple(rows),
    )


def position_table(e: SourceEvidence) -> Table:
    """Mean belief in every source at doubling positions, both sides."""
    times = [0, *(2**k for k in range(0, 20, 2) if 2**k < e.length), e.length]
    rows: list[Row] = []
    for s, value in enumerate(e.asked.values):
        if e.all.prior[s] > 0:
            for side, label, _ in SIDES:
                rows.append((named(value), label, *map(belief, e.curve(side, s, times))))
    return Table(
        f"{e.asked.latent}_by_position",
        f"Mean belief about {e.asked.latent} after so many tokens (95%, pointwise)",
        ("source", "along", "at the cut", *(str(t) for t in times[1:])),
        tuple(rows),
    )


# ---- words -------------------------------------------------------------------------------------------------------------


def group_name(e: SourceEvidence, group: Sequence[int]) -> str:
    if tuple(group) == LEADING:
        return f"the {e.asked.latent} that leads at the cut"
    return named(e.asked.values[group[0]]) if len(group) == 1 else f"the {len(group)} rare ones together"


def named(value: str) -> str:
    return "none of these" if value == OTHER else value


def share(p: float) -> Cell:
    return Cell(percent(p), float(p), "probability")


def belief(mean: Interval) -> Cell:
    """A mean belief with its interval."""
    text = f"{percent(mean.value)} ({percent(mean.low)} to {percent(mean.high)})"
    return Cell(text, mean.value, "probability", mean.low, mean.high)


def moved(change: BeliefChange, at: int) -> Cell:
    """A mean change of belief with its interval, in percentage points."""
    x = change.interval(at)
    text = f"{points(x.value)} ({points(x.low)} to {points(x.high)}) points"
    return Cell(text, x.value, "probability", x.low, x.high)


def points(x: float) -> str:
    """Percentage points with their sign; nothing that rounds to zero has one.

    >>> points(0.123), points(-0.0004), points(-0.02)
    ('+12.3', '0.0', '−2.0')
    """
    text = f"{100 * x:+.1f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed(x: float) -> str:
    text = f"{x:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def percent(share: float) -> str:
    """A share in whole percents; small ones with a digit more.

    >>> percent(0.314), percent(0.004), percent(0.0001)
    ('31%', '0.4%', '<0.1%')
    """
    if share >= 0.0995 or share <= 0:
        return f"{100 * max(share, 0.0):.0f}%"
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"


def p_value(p: float) -> str:
    """A p-value of two digits.

    >>> p_value(0.0312), p_value(0.00001), p_value(0.5)
    ('0.031', '< 0.0001', '0.5')
    """
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"
