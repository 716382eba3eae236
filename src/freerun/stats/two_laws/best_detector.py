"""The best possible detector: no test that sees one text, whatever it computes, has a larger area under the ROC curve.

Its score is L_T = ln P(x_≤T)/Q(x_≤T) (Neyman & Pearson). AUC_T = P(L(X) > L(Y)) + ½P(L(X) = L(Y)), X a text of P and Y one of Q
after another prompt. AUC_T = ½(1 + TV(P⊗Q, Q⊗P)): it cannot fall with T, and lies between ½(1 + TV_T) and 1 − ½(1 − TV_T)².
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc_interval
from freerun.stats.detection.horizon import HorizonResult, horizon_interval
from freerun.stats.intervals import Interval, group_index, skewness
from freerun.stats.paired import two_sided_p
from freerun.stats.two_laws.texts import TwoLaws, checked_lengths, gap_sums, unit_means

AUC_LEVELS = (0.6, 0.75, 0.9)
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class BestDetector:
    """AUC_T of the likelihood ratio at each length, with pointwise intervals, and the lengths at which it reaches `AUC_LEVELS`.

    `influence`: of each unit on each AUC, summing to zero; an AUC's variance is n/(n − 1) Σ ψ². `falls`: neighbouring lengths
    (shorter, longer) between which it falls by more than chance, at `level` over all of them together. The truth cannot fall, so
    something is wrong with the texts or the laws.
    """

    lengths: Int[np.ndarray, " lengths"]
    auc: tuple[Interval, ...]
    horizons: tuple[HorizonResult, ...]
    influence: Float[np.ndarray, "lengths units"]
    falls: tuple[tuple[int, int], ...]

    def horizon(self, level_auc: float) -> HorizonResult:
        """Where the curve reaches one of `AUC_LEVELS`."""
        return next(h for h in self.horizons if h.level_auc == level_auc)


def best_detector(
    texts_p: TwoLaws, texts_q: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95
) -> BestDetector:
    """Return the AUC of the likelihood ratio between p's texts and q's; p is the same law in both arguments.

    Texts of one unit are never compared with each other; several of one unit are averaged first. An ended text carries its L_T on.

    Raises TooFewDocuments for fewer than two units on a side, DataError as `gap_sums` does.
    """
    lengths = checked_lengths(lengths)
    n_p, n_q = np.unique(texts_p.unit).size, np.unique(texts_q.unit).size
    if min(n_p, n_q) < 2:
        raise TooFewDocuments(f"an AUC over documents needs at least 2 of them on each side, there are {n_p} and {n_q}")
    ours, theirs = gap_sums(texts_p, lengths), -gap_sums(texts_q.swapped, lengths)
    spreads = [_spread(a, texts_p.unit, b, texts_q.unit) for a, b in zip(ours.T, theirs.T, strict=True)]
    auc = tuple(s.interval(min(n_p, n_q), level) for s in spreads)
    values, lows, highs = (np.array([getattr(i, end) for i in auc]) for end in ("value", "low", "high"))
    influence = np.stack([s.influence for s in spreads])
    return BestDetector(
        lengths=lengths,
        auc=auc,
        horizons=tuple(
            horizon_interval(lengths, values, lows, highs, level_auc=reach, level=level) for reach in AUC_LEVELS
        ),
        influence=influence,
        falls=_falls(lengths, values, influence, level),
    )


def auc_range(tv: float) -> tuple[float, float]:
    """Return the least and the largest AUC of the best detector at a total variation.

    Raises DataError for a total variation outside [0, 1].

    >>> auc_range(0.5)
    (0.75, 0.875)
    """
    if not 0.0 <= tv <= 1.0:
        raise DataError(f"tv is {tv}; a total variation lies between 0 and 1")
    return 0.5 * (1.0 + tv), 1.0 - 0.5 * (1.0 - tv) ** 2


def fits_tv(auc: Interval, tv_low: float, tv_high: float) -> bool:
    """Whether an AUC's interval meets what the limits of the total variation at that length allow."""
    return auc.high >= auc_range(tv_low)[0] and auc.low <= auc_range(tv_high)[1]


@dataclass(frozen=True, eq=False)
class _Spread:
    auc: float
    influence: Float[np.ndarray, " units"]
    replicates_p: float
    replicates_q: float

    def interval(self, n_units: int, level: float) -> Interval:
        n = self.influence.size
        return auc_interval(
            self.auc,
            n / (n - 1) * float(np.square(self.influence).sum()),
            n_units=n_units,
            replicates=self.replicates_q,
            real_replicates=self.replicates_p,
            level=level,
        )


def _spread(
    ours: Float[np.ndarray, " p"],
    unit_p: Int[np.ndarray, " p"],
    theirs: Float[np.ndarray, " q"],
    unit_q: Int[np.ndarray, " q"],
) -> _Spread:
    """AUC over pairs of different units, each unit's texts averaged first, and what each unit adds to it."""
    wins = _wins(ours, theirs)
    by_q = unit_means(wins.T, unit_q).T
    index, n_units = group_index(np.concatenate([unit_p, unit_q]))
    rows, columns = np.unique(index[: ours.size]), np.unique(index[ours.size :])
    cells = unit_means(by_q, unit_p)
    apart = (rows[:, None] != columns).astype(np.float64)
    auc = float((cells * apart).sum() / apart.sum())
    by_row = (cells * apart).sum(axis=1) / apart.sum(axis=1) - auc
    by_column = (cells * apart).sum(axis=0) / apart.sum(axis=0) - auc
    influence = np.zeros(n_units)
    influence[rows] += by_row / rows.size
    influence[columns] += by_column / columns.size
    each_q = unit_means(wins, unit_p).mean(axis=0)
    return _Spread(
        auc,
        influence,
        _replicates(by_q.mean(axis=1), unit_p),
        _replicates(each_q, unit_q),
    )


def _wins(ours: Float[np.ndarray, " p"], theirs: Float[np.ndarray, " q"]) -> Float[np.ndarray, "p q"]:
    """1 where the first scores higher, ½ where both are equal, two infinite ones too."""
    above = (ours[:, None] > theirs).astype(np.float64)
    above[ours[:, None] == theirs] = 0.5
    return above


def _replicates(shares: Float[np.ndarray, " texts"], unit: Int[np.ndarray, " texts"]) -> float:
    """As how many independent texts those of a unit count: between 1, where they are all alike, and their number."""
    means = unit_means(shares[:, None], unit)[:, 0]
    together = float(means.var())
    most = unit.size / means.size
    return min(most, max(1.0, float(shares.var()) / together)) if together > 0.0 else 1.0


def _falls(
    lengths: Int[np.ndarray, " lengths"],
    values: Float[np.ndarray, " lengths"],
    influence: Float[np.ndarray, "lengths units"],
    level: float,
) -> tuple[tuple[int, int], ...]:
    n, pairs = influence.shape[1], []
    for j in range(1, lengths.size):
        change, moved = float(values[j] - values[j - 1]), influence[j] - influence[j - 1]
        error = math.sqrt(n / (n - 1) * float(np.square(moved).sum()))
        p_value = two_sided_p(change, error, n, skew=skewness(moved))
        if change < -_ROUNDING and p_value <= (1.0 - level) / (lengths.size - 1):
            pairs.append((int(lengths[j - 1]), int(lengths[j])))
    return tuple(pairs)
