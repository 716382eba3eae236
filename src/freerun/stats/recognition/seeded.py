"""Does the uniform that drew a token lie where a fresh pass puts that token? The strongest test of a sampler whose draws are known.

Inverse CDF with uniform u gives the token x with F(<x) <= u < F(<=x). Where another law, rule or hand wrote the token, u
lies outside at least as often as the two laws' total variation says (a coupling). Two right computations of one law put
their cells a little apart, so u falls outside at times; given the tokens, and that they were drawn from the recorded cells,
each u is uniform in its own cell, and how often is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats

from freerun.errors import DataError
from freerun.stats.intervals import Interval, clopper_pearson

ROUNDING = 1e-6
"""How far outside its recorded cell a uniform may lie: sums of float32 probabilities are that far from 1 at most."""


@dataclass(frozen=True)
class Cells:
    """Where a pass puts each token on the line of cumulative mass: from F(<x), to F(<=x)."""

    below: Float[np.ndarray, " tokens"]
    upto: Float[np.ndarray, " tokens"]

    def miss(self, u: Float[np.ndarray, " tokens"], slack: float = 0.0) -> Bool[np.ndarray, " tokens"]:
        """Whose uniform lies outside."""
        return np.asarray((u < self.below - slack) | (u >= self.upto + slack))

    def outside(self, other: Cells) -> Float[np.ndarray, " tokens"]:
        """The share of each cell that lies outside the other's."""
        width = self.upto - self.below
        common = np.minimum(self.upto, other.upto) - np.maximum(self.below, other.below)
        kept = np.divide(np.clip(common, 0.0, None), width, out=np.zeros_like(width), where=width > 0)
        return np.asarray(1.0 - np.clip(kept, 0.0, 1.0))


@dataclass(frozen=True)
class SeededDraws:
    """Tokens whose uniform lies outside the cell of a fresh pass (`n_missed` of `n`), and how many of them rounding explains.

    `p_fresh` is the exact p-value of that. `n_outside_record` of `n_recorded` lie outside the cell that was recorded with them: none,
    where the sampler draws from the law that it records.
    """

    n: int
    n_missed: int
    expected: float
    p_fresh: float
    n_recorded: int
    n_outside_record: int

    @property
    def p_value(self) -> float:
        """Of both: 0 where a uniform lies outside its recorded cell, which cannot be."""
        return 0.0 if self.n_outside_record else self.p_fresh

    @property
    def share(self) -> Interval:
        """Share of tokens missed, Clopper-Pearson; its mean is at least the total variation of the two laws."""
        return clopper_pearson(self.n_missed, self.n)


def seeded_draws(
    u: Float[np.ndarray, " tokens"],
    recorded: Cells,
    again: Bool[np.ndarray, " tokens"],
    fresh: Cells,
) -> SeededDraws | None:
    """Hold uniforms against the cells recorded with all tokens, and the fresh ones of the tokens scored `again`.

    None where no token was. Raises DataError for uniforms outside [0, 1).
    """
    if not ((u >= 0) & (u < 1)).all():
        raise DataError("uniforms must lie in [0, 1)")
    if not again.any():
        return None
    by_rounding = Cells(recorded.below[again], recorded.upto[again]).outside(fresh)
    missed = int(np.count_nonzero(fresh.miss(u[again])))
    return SeededDraws(
        n=int(again.sum()),
        n_missed=missed,
        expected=float(by_rounding.sum()),
        p_fresh=poisson_binomial_sf(missed, by_rounding),
        n_recorded=u.size,
        n_outside_record=int(np.count_nonzero(recorded.miss(u, ROUNDING))),
    )


def poisson_binomial_sf(k: int, probability: Float[np.ndarray, " n"]) -> float:
    """P(at least k of independent events happen), exactly.

    >>> poisson_binomial_sf(2, np.array([0.5, 0.5]))
    0.25
    """
    if k <= 0:
        return 1.0
    below, reached = np.zeros(k), 0.0
    below[0] = 1.0
    for p in probability[probability > 0].tolist():
        reached += p * below[-1]
        below[1:] = below[1:] * (1 - p) + below[:-1] * p
        below[0] *= 1 - p
    return min(1.0, float(reached))


@dataclass(frozen=True)
class Sensitivity:
    """The smallest faults that a test of misses sees with the stated power: `share` of tokens from elsewhere, the mass that a
    truncation leaves (`kept_mass`), and how far a temperature is from 1."""

    share: float
    kept_mass: float
    temperature: float | None


def sensitivity(
    seeded: SeededDraws, mean_deviation_nats: float, *, alpha: float, power: float = 0.8
) -> Sensitivity | None:
    """What `seeded_draws` rejects at `alpha` with at least this power; None where not even all tokens missed would do.

    A law that keeps mass S of another one is 1 - S from it in total variation; one at temperature t is |1 - t|/2 times the mean
    absolute deviation of surprisal from it, to first order. Misses are at least as frequent (and Poisson where they are rare).
    """
    null = seeded.expected
    least = 1
    while stats.poisson.sf(least - 1, null) > alpha:
        least += 1
    mean = optimize.brentq(lambda m: stats.poisson.sf(least - 1, m) - power, 1e-9, 4.0 * least + 20.0)
    share = max(float(mean) - null, 0.0) / seeded.n
    if share >= 1:
        return None
    return Sensitivity(share, 1 - share, 2 * share / mean_deviation_nats if mean_deviation_nats > 0 else None)
