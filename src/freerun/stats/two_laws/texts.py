"""What two laws say along the same texts, as arrays: the input of every statistic of two laws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.stats.intervals import group_index


@dataclass(frozen=True, eq=False)
class TwoLaws:
    """Laws p of A and q of B at every token of some texts; columns are texts × tokens, NaN (False) past a text's own tokens.

    All logarithms are natural. `log_p` or `log_q` is −inf where a law gives the token no mass; a divergence is +inf where one
    law has mass that the other lacks. An end token is a token of its text: it counts in every column and in `n_tokens`.
    """

    unit: Int[np.ndarray, " texts"]
    """Number of the independent unit (document, prompt) that a text belongs to."""
    n_tokens: Int[np.ndarray, " texts"]
    """Tokens of the text itself."""
    ended: Bool[np.ndarray, " texts"]
    """Whether the text ended by itself, its end token counted; otherwise it was cut."""
    log_p: Float[np.ndarray, "texts tokens"]
    log_q: Float[np.ndarray, "texts tokens"]
    kl_pq: Float[np.ndarray, "texts tokens"]
    kl_qp: Float[np.ndarray, "texts tokens"]
    tv: Float[np.ndarray, "texts tokens"]
    same_top: Bool[np.ndarray, "texts tokens"]

    @property
    def gap(self) -> Float[np.ndarray, "texts tokens"]:
        """Δ = ln p(x) − ln q(x) of the token that stands there; NaN past the text's end, and where neither law gives it mass."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.log_p - self.log_q)

    @property
    def inside(self) -> Bool[np.ndarray, "texts tokens"]:
        """Which places hold a token of the text."""
        return np.asarray(np.arange(self.log_p.shape[1]) < self.n_tokens[:, None])

    @property
    def by_gaps(self) -> TwoLaws:
        """The same where nothing but log-probabilities is known: in the place of KL(p‖q) stands Δ, which has its mean in texts that
        p wrote, and −Δ in that of KL(q‖p)."""
        gap = self.gap
        return replace(self, kl_pq=gap, kl_qp=-gap)

    @property
    def swapped(self) -> TwoLaws:
        """The same texts with the laws in each other's place: what is said of a text by p is then said of one by q."""
        return TwoLaws(
            unit=self.unit,
            n_tokens=self.n_tokens,
            ended=self.ended,
            log_p=self.log_q,
            log_q=self.log_p,
            kl_pq=self.kl_qp,
            kl_qp=self.kl_pq,
            tv=self.tv,
            same_top=self.same_top,
        )


def gap_sums(laws: TwoLaws, lengths: Int[np.ndarray, " lengths"]) -> Float[np.ndarray, "texts lengths"]:
    """Return L_T = ln P(x_≤T) − ln Q(x_≤T) of texts that p wrote, in nats; +inf from where q gives a token no mass.

    A text that ended carries its L on: what comes after its end is certain under both laws.

    Raises DataError as `sums_to` does, and where p gives a token of its own text no mass.
    """
    if not np.isfinite(laws.log_p[laws.inside]).all():
        raise DataError(
            "the law that wrote these texts gives some of their tokens no mass; "
            "either the laws stand in the wrong order, or the texts are of another law"
        )
    return sums_to(laws.gap, laws, lengths)


def sums_to(
    column: Float[np.ndarray, "texts tokens"], laws: TwoLaws, lengths: Int[np.ndarray, " lengths"]
) -> Float[np.ndarray, "texts lengths"]:
    """Return each text's sum of a column over its first T tokens, or over all of them if it ended before.

    Raises DataError for lengths that are not positive and ascending, and for a text that was cut before the last of them.
    """
    lengths = checked_lengths(lengths)
    cut = laws.n_tokens[~laws.ended]
    if cut.size and cut.min() < lengths[-1]:
        raise DataError(
            f"a text was cut after {cut.min()} tokens; nothing is known of it at {lengths[-1]}. Shorten the lengths"
        )
    sums = np.cumsum(np.where(laws.inside, column, 0.0), axis=1)
    return np.asarray(sums[:, np.minimum(lengths, sums.shape[1]) - 1])


def unit_means(
    values: Float[np.ndarray, "texts columns"], unit: Int[np.ndarray, " texts"]
) -> Float[np.ndarray, "units columns"]:
    """Return the mean over each unit's texts, units in ascending order of their numbers.

    >>> unit_means(np.array([[1.0], [2.0], [4.0]]), np.array([7, 3, 3])).ravel().tolist()
    [3.0, 1.0]
    """
    index, n_units = group_index(unit)
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=n_units)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0) / counts[:, None])


def checked_lengths(lengths: Int[np.ndarray, " lengths"]) -> Int[np.ndarray, " lengths"]:
    """Return the lengths as an array.

    Raises DataError unless there are some, positive and ascending.
    """
    lengths = np.asarray(lengths)
    if lengths.size == 0 or lengths[0] < 1 or (np.diff(lengths) <= 0).any():
        raise DataError(f"lengths are {lengths.tolist()}; they must be positive and ascending")
    return lengths
