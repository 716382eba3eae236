"""Tables of size and power: the band that null rates must lie in, and how plainly a test sees a defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from freerun.errors import DataError
from freerun.stats.intervals import checked_level, clopper_pearson_low

STRONG = 0.8
"""Power from which a test is said to see a defect plainly."""


@dataclass(frozen=True)
class SimultaneousBand:
    """Counts of rejections that `n_cells` tests of size `rate` have in `n_runs` runs each, all at once with confidence `level`."""

    low: int
    high: int
    n_runs: int
    n_cells: int
    rate: float
    level: float

    def holds(self, rejections: int, *, at_most: bool = False) -> bool:
        """Whether a count lies in the band; `at_most`: only not above it, for a test that is conservative by construction."""
        return rejections <= self.high and (at_most or rejections >= self.low)


def simultaneous_band(n_runs: int, *, n_cells: int, rate: float, level: float = 0.95) -> SimultaneousBand:
    """Return the exact binomial limits at (1 - level)/(2 n_cells) a tail.

    If every test has size `rate` exactly, P(some count lies outside) <= 1 - level: Bonferroni, so cells may depend on each other in
    any way (they share texts). Runs within a cell must be independent.

    Raises DataError for no runs or cells, or a rate outside (0, 1).

    >>> band = simultaneous_band(2000, n_cells=100, rate=0.05)
    >>> band.low, band.high
    (68, 136)
    """
    if n_runs < 1 or n_cells < 1 or not 0.0 < rate < 1.0:
        raise DataError(
            f"{n_cells} cells of {n_runs} runs at rate {rate}: there is no band without runs, or for a sure rate"
        )
    tail = (1.0 - checked_level(level)) / (2.0 * n_cells)
    # the smallest count with P(X <= count) >= tail: less comes with probability below tail
    low = int(stats.binom.ppf(tail, n_runs, rate))
    high = n_runs - int(stats.binom.ppf(tail, n_runs, 1.0 - rate))
    return SimultaneousBand(low, high, n_runs, n_cells, rate, level)


def visibility(
    rejections: Sequence[int],
    runs: Sequence[int],
    *,
    at: int,
    alpha: float,
    level: float = 0.95,
    strong: float = STRONG,
    family: int = 1,
) -> str:
    """Return `strong`, `weak` or `blind`: how plainly a test of size alpha sees a defect over some settings (lengths).

    Strong: at setting `at` its power is at least `strong`. Weak: it is not, but at some setting the power is shown to exceed alpha:
    one-sided Clopper-Pearson limits, Bonferroni over settings and over the `family` of tests that are called so side by side, so
    that none of them is called weak wrongly with confidence `level`. Blind: nowhere; a power little above alpha is not excluded.

    Raises DataError for counts that do not fit.

    >>> visibility([12, 90], [100, 100], at=1, alpha=0.05), visibility([5, 30], [100, 100], at=0, alpha=0.05)
    ('strong', 'weak')
    """
    if len(rejections) != len(runs) or not 0 <= at < len(runs) or min(runs) < 1 or family < 1:
        raise DataError(
            f"{len(rejections)} counts of {len(runs)} settings, judged at {at}; they must fit and have runs"
        )
    if rejections[at] >= strong * runs[at]:
        return "strong"
    tail = (1.0 - checked_level(level)) / (len(runs) * family)
    shown = any(clopper_pearson_low(k, n, alpha=tail) > alpha for k, n in zip(rejections, runs, strict=True))
    return "weak" if shown else "blind"
