"""What goes with a number that models have: slopes per doubling over runs of the same documents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from freerun.comparisons.charts import horizon_chart, loss_chart, scale_of
from freerun.comparisons.differences import LOSS_KEY, ratio_trends, unless_identical
from freerun.comparisons.grids.pairs import joined
from freerun.comparisons.grids.summary import RunDigest, same_records
from freerun.comparisons.terms import SameRecords
from freerun.findings.detectability.quantities import AUC
from freerun.results.compare import Difference
from freerun.results.finding import Chart, Series
from freerun.stats.paired import slope_weights

LEAST_RUNS = 3
"""Fewer make a difference, not a trend."""
_AUC_SLOPE = (
    "least-squares slope over runs of the AUC by each run's own detectors, t interval over test and training documents"
)


def slopes(digests: Sequence[RunDigest], x: Sequence[float]) -> tuple[Difference, ...]:
    """The slope of every quantity over log₂ x; p-values are not adjusted yet."""
    doublings = [math.log2(v) for v in x]
    first, pairs = digests[0], [same_records(digests[0], d) for d in digests[1:]]
    same = reduce(_both, pairs)
    values = [d.values for d in digests]
    made = [*ratio_trends(digests, values, doublings), *_of_curves(list(digests), doublings)]
    primary = sorted(made, key=lambda d: (d.finding, d.name) != LOSS_KEY)
    return tuple(unless_identical(d, same) for d in primary) if first.documents else ()


def charts(digests: Sequence[RunDigest], x: Sequence[float], measure: str) -> tuple[Chart, ...]:
    """The loss and the horizon by the number."""
    order = np.argsort(x, kind="stable").tolist()
    places, runs = tuple(float(x[i]) for i in order), [digests[i] for i in order]
    scale, out = scale_of(places, 4), list[Chart]()
    if all(LOSS_KEY in d.values and not d.n_impossible for d in runs):
        series = Series.of("loss on real text", "real", [d.values[LOSS_KEY].interval() for d in runs])
        caption = (
            "Bands: 95% over documents. They overlap more than the runs differ: the same documents are in all of them."
        )
        out.append(
            loss_chart(f"loss_by_{measure}", f"Loss by {measure}", measure, places, scale, series, caption=caption)
        )
    curves = joined(list(runs))
    if curves is not None:
        horizons = [c.horizon() for c in curves.curves]
        out.append(
            horizon_chart(f"h75_by_{measure}", f"H75 by {measure}", measure, places, scale, horizons, curves.lengths)
        )
    return tuple(out)


def _of_curves(digests: list[RunDigest], doublings: Sequence[float]) -> Iterator[Difference]:
    curves = joined(digests)
    if curves is None:
        return
    d = curves.contrast(range(len(digests)), slope_weights(np.asarray(doublings)))
    ends = (float(curves.curves[i].aucs[-1]) for i in (0, -1))
    yield Difference.of(AUC, d, *ends, method=_AUC_SLOPE, label=f"AUC at {int(curves.lengths[-1])} tokens")


def _both(a: SameRecords, b: SameRecords) -> SameRecords:
    return SameRecords(a.real and b.real, a.free and b.free, a.all_documents and b.all_documents)
