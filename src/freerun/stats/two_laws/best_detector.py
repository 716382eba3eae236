"""The best possible detector: no test that sees one text, whatever it computes, has a larger area under the ROC curve.

Its score is L_T = ln P(x_≤T)/Q(x_≤T) (Neyman & Pearson). AUC_T = P(L(X) > L(Y)) + ½P(L(X) = L(Y)), X a text of P and Y one of Q
after another prompt. AUC_T = ½(1 + TV(P⊗Q, Q⊗P)): it cannot fall with T, and lies between ½(1 + TV_T) and 1 − ½(1 − TV_T)².

Counting which of the two scores higher throws away by how much. S = L(X) − L(Y) is the log-ratio of P⊗Q and Q⊗P at the pair, so
that the density f of S, over both orders of two prompts, has f(−s) = e^(−s) f(s). Given |S| its sign is therefore a coin that
falls on plus with chance 1/(1 + e^(−|S|)): |S| is sufficient, and the mean of the count given |S|, which cannot vary more than the
count (Rao & Blackwell), is

    AUC_T = E 1/(1 + e^(−|S|)) = ½(1 + E |tanh(S/2)|).

It is the mean of a number in [½, 1] over pairs of prompts, so that exact limits exist at any number of them. It believes the laws:
`counted`, which does not, is the check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds.bounded_mean import pair_band
from freerun.stats.detection.auc import auc_interval
from freerun.stats.detection.horizon import HorizonResult, horizon_interval
from freerun.stats.intervals import Interval, checked_level, group_index, skewness
from freerun.stats.paired import two_sided_p
from freerun.stats.two_laws.texts import TwoLaws, checked_lengths, gap_sums, unit_means

AUC_LEVELS = (0.6, 0.75, 0.9)
LEAST_UNITS = 4
"""Two pairs of them."""
PAIRINGS = 16
"""Ways to pair the units up, over which limits are taken together."""
METHOD = (
    "mean of ½(1 + |tanh(S/2)|) over pairs of prefixes, S the difference of both texts' log-ratios; betting limits over "
    "pairings of prefixes, at any number of them"
)
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class BestDetector:
    """AUC_T of the likelihood ratio at each length, with pointwise intervals, and the lengths at which it reaches `AUC_LEVELS`.

    `counted`: the same as the share of pairs in which P's text scores higher, an estimate that asks nothing of the laws.
    `agree`: no length shows that the two differ, at `level` over all lengths together. `falls`: neighbouring lengths (shorter,
    longer) between which the counted one falls by more than chance. The truth does neither: where it looks so, something is wrong
    with the texts or the laws.
    """

    lengths: Int[np.ndarray, " lengths"]
    auc: tuple[Interval, ...]
    counted: tuple[Interval, ...]
    horizons: tuple[HorizonResult, ...]
    agree: bool
    falls: tuple[tuple[int, int], ...]

    def horizon(self, level_auc: float) -> HorizonResult:
        """Where the curve reaches one of `AUC_LEVELS`."""
        return next(h for h in self.horizons if h.level_auc == level_auc)


def best_detector(
    texts_p: TwoLaws, texts_q: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95
) -> BestDetector:
    """Return the AUC of the likelihood ratio between p's texts and q's; p is the same law in both arguments.

    Texts of one unit are never compared with each other; several of one unit are averaged first. An ended text carries its L_T on.

    Raises TooFewDocuments for fewer than `LEAST_UNITS` units, DataError as `gap_sums` does and for arms of different units.
    """
    lengths = checked_lengths(lengths)
    units = np.unique(texts_p.unit)
    if not np.array_equal(units, np.unique(texts_q.unit)):
        raise DataError(
            "the own texts of the two laws belong to different prompts; each prompt must have been continued by both, "
            "so that it counts once"
        )
    if units.size < LEAST_UNITS:
        raise TooFewDocuments(
            f"an AUC over pairs of documents needs at least {LEAST_UNITS} of them, there are {units.size}"
        )
    ours, theirs = gap_sums(texts_p, lengths), -gap_sums(texts_q.swapped, lengths)
    told = [_told(a, texts_p.unit, b, texts_q.unit) for a, b in zip(ours.T, theirs.T, strict=True)]
    auc = _limits(np.stack([t.mixed for t in told], axis=2), level)
    values, lows, highs = (np.array([getattr(i, end) for i in auc]) for end in ("value", "low", "high"))
    counted = [_Spread.of(t.wins) for t in told]
    return BestDetector(
        lengths=lengths,
        auc=auc,
        counted=tuple(c.interval(t, level) for c, t in zip(counted, told, strict=True)),
        horizons=tuple(
            horizon_interval(lengths, values, lows, highs, level_auc=reach, level=level) for reach in AUC_LEVELS
        ),
        agree=_agree(np.stack([t.wins - t.mixed for t in told], axis=2), level),
        falls=_falls(lengths, counted, level),
    )


def mixed_auc(gap_nats: Float[np.ndarray, "*pairs"]) -> Float[np.ndarray, "*pairs"]:
    """Return 1/(1 + e^(−|S|)) of each S = L(X) − L(Y), X of P and Y of Q; its mean is the AUC.

    >>> mixed_auc(np.array([0.0, -np.inf])).tolist()
    [0.5, 1.0]
    """
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.abs(gap_nats)))


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
class _Told:
    """Texts of P in unit i against texts of Q in unit j, at one length: means over the texts of both.

    `replicates_p`, `replicates_q`: as how many independent texts those of a unit count.
    """

    wins: Float[np.ndarray, "units units"]
    mixed: Float[np.ndarray, "units units"]
    replicates_p: float
    replicates_q: float


def _told(
    ours: Float[np.ndarray, " p"],
    unit_p: Int[np.ndarray, " p"],
    theirs: Float[np.ndarray, " q"],
    unit_q: Int[np.ndarray, " q"],
) -> _Told:
    with np.errstate(invalid="ignore"):
        gaps = ours[:, None] - theirs
    gaps[ours[:, None] == theirs] = 0.0
    wins = np.where(gaps > 0.0, 1.0, np.where(gaps < 0.0, 0.0, 0.5))

    def cells(table: Float[np.ndarray, "p q"]) -> Float[np.ndarray, "units units"]:
        return unit_means(unit_means(table.T, unit_q).T, unit_p)

    return _Told(
        cells(wins),
        cells(mixed_auc(gaps)),
        _replicates(unit_means(wins.T, unit_q).T.mean(axis=1), unit_p),
        _replicates(unit_means(wins, unit_p).mean(axis=0), unit_q),
    )


def _replicates(shares: Float[np.ndarray, " texts"], unit: Int[np.ndarray, " texts"]) -> float:
    """As how many independent texts those of a unit count: between 1, where they are all alike, and their number."""
    index, _ = group_index(unit)
    means = unit_means(shares[:, None], index)[:, 0]
    together = float(means.var())
    most = unit.size / means.size
    return min(most, max(1.0, float(shares.var()) / together)) if together > 0.0 else 1.0


def _limits(cells: Float[np.ndarray, "units units lengths"], level: float) -> tuple[Interval, ...]:
    """The mean over pairs of different units, with limits from pairings of them."""
    n = len(cells)
    both = cells + cells.transpose(1, 0, 2) - 1.0
    values = 0.5 + 0.5 * (both.sum(axis=(0, 1)) - both[np.arange(n), np.arange(n)].sum(axis=0)) / (n * (n - 1))
    low, high = pair_band(np.clip(_paired(both), 0.0, 1.0), alpha=(1.0 - checked_level(level)) / 2.0)
    return tuple(
        Interval(float(v), min(float(v), 0.5 + 0.5 * float(a)), max(float(v), 0.5 + 0.5 * float(b)), level, n)
        for v, a, b in zip(values, low, high, strict=True)
    )


def _pairings(n: int) -> list[Int[np.ndarray, "pairs 2"]]:
    """Ways to pair n units up, one left over where n is odd; the same for every run of so many."""
    rng = np.random.default_rng(n)
    return [rng.permutation(n)[: n // 2 * 2].reshape(-1, 2) for _ in range(PAIRINGS)]


@dataclass(frozen=True, eq=False)
class _Spread:
    """A mean over pairs of different units and the influence of each unit on it, which sums to zero: its variance is
    n/(n − 1) Σ ψ²."""

    value: float
    influence: Float[np.ndarray, " units"]

    @classmethod
    def of(cls, cells: Float[np.ndarray, "units units"]) -> _Spread:
        n = len(cells)
        apart = cells.copy()
        np.fill_diagonal(apart, 0.0)
        value = float(apart.sum()) / (n * (n - 1))
        return cls(value, (apart.sum(axis=1) + apart.sum(axis=0)) / (n * (n - 1)) - 2.0 * value / n)

    @property
    def variance(self) -> float:
        n = self.influence.size
        return n / (n - 1) * float(np.square(self.influence).sum())

    def interval(self, told: _Told, level: float) -> Interval:
        return auc_interval(
            self.value,
            self.variance,
            n_units=self.influence.size,
            replicates=told.replicates_q,
            real_replicates=told.replicates_p,
            level=level,
        )


def _agree(differences: Float[np.ndarray, "units units lengths"], level: float) -> bool:
    """Whether the mean difference of counted and mixed pairs, each from −1 to ½, may be 0 at every length: by exact limits, too."""
    both = 0.5 * (differences + differences.transpose(1, 0, 2))
    alpha = (1.0 - level) / 2.0 / differences.shape[2]
    low, high = pair_band(np.clip((_paired(both) + 1.0) / 1.5, 0.0, 1.0), alpha=alpha)
    return bool(((low <= 1.0 / 1.5) & (high >= 1.0 / 1.5)).all())


def _paired(cells: Float[np.ndarray, "units units lengths"]) -> Float[np.ndarray, "pairings pairs lengths"]:
    return np.stack([cells[pairing[:, 0], pairing[:, 1]] for pairing in _pairings(len(cells))])


def _falls(lengths: Int[np.ndarray, " lengths"], counted: list[_Spread], level: float) -> tuple[tuple[int, int], ...]:
    pairs = []
    for j in range(1, lengths.size):
        change, moved = counted[j].value - counted[j - 1].value, counted[j].influence - counted[j - 1].influence
        if change < -_ROUNDING and _p_value(change, moved) <= (1.0 - level) / (lengths.size - 1):
            pairs.append((int(lengths[j - 1]), int(lengths[j])))
    return tuple(pairs)


def _p_value(value: float, influence: Float[np.ndarray, " units"]) -> float:
    """Two-sided, that a mean over pairs of units is 0."""
    n = influence.size
    error = math.sqrt(n / (n - 1) * float(np.square(influence).sum()))
    return two_sided_p(value, error, n, skew=skewness(influence))
