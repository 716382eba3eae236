"""Curves by length of several runs in one picture, and what goes with a number that each run has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from freerun.results.finding import Chart, Series, known
from freerun.stats.detection.horizon import HorizonResult
from freerun.stats.intervals import Interval

LEVELS = ((0.5, "chance"), (0.75, "H75"))


def auc_chart(
    name: str,
    title: str,
    lengths: Int[np.ndarray, " lengths"],
    aucs: Sequence[tuple[str, Sequence[Interval]]],
    roles: Sequence[str],
    banded: Sequence[int],
    *,
    lowest: float,
    caption: str,
) -> Chart:
    """One curve a run, in the colours of `roles`; those at the places `banded` with their intervals."""
    series = []
    for i, (label, intervals) in enumerate(aucs):
        role = roles[i % len(roles)]
        line = Series(label, role, tuple(known(x.value) for x in intervals))
        series.append(Series.of(label, role, intervals) if i in banded else line)
    return Chart(
        name,
        title,
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(float(n) for n in lengths),
        x_scale="log2",
        y_range=(lowest, 1.0),
        levels=LEVELS,
        series=tuple(series),
        caption=caption,
    )


def loss_chart(
    name: str, title: str, x_label: str, x: tuple[float, ...], scale: str, series: Series, *, caption: str
) -> Chart:
    """The loss by a number that each run has."""
    return Chart(name, title, x_label, "nats a token", x, (series,), x_scale=scale, caption=caption)


def horizon_chart(
    name: str,
    title: str,
    x_label: str,
    x: tuple[float, ...],
    scale: str,
    horizons: Sequence[HorizonResult],
    lengths: Int[np.ndarray, " lengths"],
) -> Chart:
    """H75 by a number that each run has."""
    ends = [Interval(h.estimate.tokens, h.low.tokens, h.high.tokens, h.level, 0) for h in horizons]
    return Chart(
        name,
        title,
        x_label,
        "tokens",
        x,
        (Series.of("H75", "free", ends),),
        x_scale=scale,
        levels=((float(lengths[-1]), "longest measured"),),
        caption="A horizon beyond the lengths measured is drawn at their end. Bands: 95% over test documents.",
    )


def scale_of(x: Sequence[float], least_ratio: float) -> str:
    """Whether numbers are drawn on a doubling scale: where the largest is so many times the smallest."""
    return "log2" if min(x) > 0 and max(x) / min(x) >= least_ratio else "linear"
