"""The total variation of two laws over whole texts, with limits that hold at any number of documents.

TV_T = TV(P_T, Q_T) = E_P max(0, 1 − e^(−L_T)) with L_T = ln P(x_≤T) − ln Q(x_≤T): a mean of numbers in [0, 1], so that its upper
limit needs no entropy and no normal approximation. By Neyman & Pearson no test on one text of up to T tokens has a true-positive
minus false-positive rate above TV_T. From Q's side the same holds with the sign turned.

Where both have written, there is a third mean: TV_T = E_M |tanh(L_T/2)| with M = ½(P + Q). Of a text of M, L_T says all that can be
known of who wrote it (P with chance 1/(1 + e^(−L_T))), and this is the mean of both terms above given L_T (Rao & Blackwell). For
laws that are near, its variance is about a quarter of that of their mean.

TV_T is an average over the prompts: one of them can be far worse. It speaks of one text; over N texts K is N times as large.
Rounding of either law looks like a difference and biases TV upward, by about 0.4·σ·√T for σ nats a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression

from freerun.errors import DataError
from freerun.stats.bounds.bounded_mean import least_units, mean_band, units_for
from freerun.stats.intervals import checked_level
from freerun.stats.two_laws.texts import TwoLaws, checked_lengths, gap_sums, unit_means


@dataclass(frozen=True, eq=False)
class TvBand:
    """TV_T at each length with limits that hold at all lengths at once, at `level`; `n` counts units.

    TV cannot fall with length, and neither do values and limits.
    """

    lengths: Int[np.ndarray, " lengths"]
    value: Float[np.ndarray, " lengths"]
    low: Float[np.ndarray, " lengths"]
    high: Float[np.ndarray, " lengths"]
    level: float
    n: int
    method: str = "unit means in [0, 1], betting limits (Waudby-Smith & Ramdas 2024) at (1 − level)/2/lengths a side, monotone in T"
    licence: str = (
        "texts drawn from the recorded laws; independent units in an order fixed before they were seen; lengths declared; fixed n. "
        "An average over the prompts, about one text of up to T tokens"
    )

    @property
    def alpha(self) -> float:
        """Probability that one side of the band misses at one length."""
        return _alpha(self.level, self.lengths.size)

    @property
    def floor(self) -> float:
        """The lowest upper limit that so many units can give at one length, even of identical laws: 1 − α^(1/n)."""
        return float(-np.expm1(np.log(self.alpha) / self.n))

    def longest(self, tv: float) -> int:
        """The longest length whose upper limit is at most `tv`, in tokens; 0 if none is."""
        return int(np.max(self.lengths[self.high <= tv], initial=0))

    def least_units(self, tv: float) -> int:
        """How many units an upper limit of `tv` needs, were the laws identical."""
        return least_units(tv, alpha=self.alpha)


@dataclass(frozen=True, eq=False)
class TvCertificate:
    """The total variation from P's texts, from Q's texts, and of both: E_M |tanh(L/2)|, P's and Q's texts of a unit averaged.

    `difference` is P's side minus Q's, with limits that hold at all lengths at once. Its mean is 0 if both kinds of text were drawn
    from the recorded laws. `unit_values`: what is averaged for both, a unit a row.
    """

    from_p: TvBand
    from_q: TvBand
    both: TvBand
    difference: Float[np.ndarray, " lengths"]
    difference_low: Float[np.ndarray, " lengths"]
    difference_high: Float[np.ndarray, " lengths"]
    unit_values: Float[np.ndarray, "units lengths"]

    @property
    def agree(self) -> bool:
        """Whether no length shows that the two sides differ."""
        return bool(((self.difference_low <= 0.0) & (self.difference_high >= 0.0)).all())

    def units_for(self, tv: float, tokens: int) -> int | None:
        """About how many units like these an upper limit of `tv` at that length needs; None where the estimate is not below it."""
        column = self.unit_values[:, int(np.flatnonzero(self.both.lengths == tokens)[0])]
        return units_for(column, tv, alpha=self.both.alpha)


def certificate(
    texts_p: TwoLaws, texts_q: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95
) -> TvCertificate:
    """Return the total variation of p and q over their first T tokens from texts of both; p is the same law in both arguments.

    Raises TooFewDocuments for fewer than two units, DataError as `gap_sums` does and for arms of different units.
    """
    lengths = checked_lengths(lengths)
    if not np.array_equal(np.unique(texts_p.unit), np.unique(texts_q.unit)):
        raise DataError(
            "the own texts of the two laws belong to different prompts; each prompt must have been continued by both, "
            "so that it counts once"
        )
    p = unit_means(tv_terms(texts_p, lengths), texts_p.unit)
    q = unit_means(tv_terms(texts_q.swapped, lengths), texts_q.unit)
    mixed = [unit_means(mixed_terms(t, lengths), t.unit) for t in (texts_p, texts_q.swapped)]
    both = 0.5 * (mixed[0] + mixed[1])
    shifted = 0.5 * (1.0 + p - q)
    alpha = _alpha(level, lengths.size)
    low, high = (limits.reshape(4, lengths.size) for limits in mean_band(np.hstack([p, q, both, shifted]), alpha=alpha))
    from_p, from_q, mean = (_band(x, lengths, low[i], high[i], level) for i, x in enumerate((p, q, both)))
    return TvCertificate(
        from_p=from_p,
        from_q=from_q,
        both=mean,
        difference=(p - q).mean(axis=0),
        difference_low=2.0 * low[3] - 1.0,
        difference_high=2.0 * high[3] - 1.0,
        unit_values=both,
    )


def tv_band(laws: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95) -> TvBand:
    """Return the total variation from texts that p wrote; give `laws.swapped` of q's texts.

    Raises TooFewDocuments for fewer than two units, DataError as `gap_sums` does.
    """
    lengths = checked_lengths(lengths)
    values = unit_means(tv_terms(laws, lengths), laws.unit)
    return _band(values, lengths, *mean_band(values, alpha=_alpha(level, lengths.size)), level)


def tv_terms(laws: TwoLaws, lengths: Int[np.ndarray, " lengths"]) -> Float[np.ndarray, "texts lengths"]:
    """Return max(0, 1 − e^(−L_T)) of each text that p wrote: 1 where q gives it no mass. Its mean under P is TV_T.

    Raises DataError as `gap_sums` does.
    """
    return np.asarray(-np.expm1(-np.maximum(gap_sums(laws, lengths), 0.0)))


def mixed_terms(laws: TwoLaws, lengths: Int[np.ndarray, " lengths"]) -> Float[np.ndarray, "texts lengths"]:
    """Return |tanh(L_T/2)| of each text that p wrote. Its mean over the texts of p and of q, half of each, is TV_T.

    Raises DataError as `gap_sums` does.
    """
    return np.asarray(np.tanh(0.5 * np.abs(gap_sums(laws, lengths))))


def _band(
    values: Float[np.ndarray, "units lengths"],
    lengths: Int[np.ndarray, " lengths"],
    low: Float[np.ndarray, " lengths"],
    high: Float[np.ndarray, " lengths"],
    level: float,
) -> TvBand:
    low = np.maximum.accumulate(low)
    high = np.minimum.accumulate(high[::-1])[::-1]
    rising = isotonic_regression(values.mean(axis=0)).x
    return TvBand(lengths, np.clip(rising, low, np.maximum(low, high)), low, high, level, len(values))


def _alpha(level: float, n_lengths: int) -> float:
    return (1.0 - checked_level(level)) / 2.0 / n_lengths
