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
FLOAT64 = 1e-12
"""How far sums of float64 probabilities are from one another at most."""


@dataclass(frozen=True)
class Cells:
    """Where a pass puts each token on the line of cumulative mass: from F(<x), to F(<=x)."""

    below: Float[np.ndarray, " tokens"]
    upto: Float[np.ndarray, " tokens"]

    def widened(self, slack: float) -> Cells:
        """The same with so much more at either end."""
        return Cells(self.below - slack, self.upto + slack)

    def miss(self, u: Float[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"]:
        """Whose uniform lies outside."""
        return np.asarray((u < self.below) | (u >= self.upto))

    def outside(self, other: Cells) -> Float[np.ndarray, " tokens"]:
        """The share of each cell that lies outside the other's."""
        width = self.upto - self.below
        common = np.minimum(self.upto, other.upto) - np.maximum(self.below, other.below)
        kept = np.divide(np.clip(common, 0.0, None), width, out=np.zeros_like(width), where=width > 0)
        return np.asarray(1.0 - np.clip(kept, 0.0, 1.0))

    def farthest(self, other: Cells) -> float:
        """How far apart two passes put an end of a cell at most."""
        gaps = (np.abs(self.below - other.below).max(), np.abs(self.upto - other.upto).max())
        return float(max(gaps))


@dataclass(frozen=True)
class Misses:
    """Of `n` tokens, those whose uniform lies outside the fresh cell by more than `slack`, how many rounding explains,
    and the exact p-value."""

    n: int
    slack: float
    n_missed: int
    expected: float
    p_value: float

    @staticmethod
    def of(u: Float[np.ndarray, " tokens"], recorded: Cells, fresh: Cells, slack: float) -> Misses:
        """Count them; under "drawn from the recorded cells" each u is uniform in its own."""
        wide = fresh.widened(slack)
        missed, by_rounding = int(np.count_nonzero(wide.miss(u))), recorded.outside(wide)
        return Misses(u.size, slack, missed, float(by_rounding.sum()), poisson_binomial_sf(missed, by_rounding))

    def detectable_share(self, *, alpha: float, power: float) -> float:
        """The share of further tokens missed that is rejected at `alpha` with this power, counts as Poisson's; above 1: none is."""
        least = 1 + (int(stats.poisson.isf(alpha, self.expected)) if self.expected > 0 else 0)
        mean = optimize.brentq(lambda m: stats.poisson.sf(least - 1, m) - power, 1e-9, 4.0 * least + 20.0)
        return max(float(mean) - self.expected, 0.0) / self.n


@dataclass(frozen=True)
class SeededDraws:
    """Uniforms that drew tokens, held against the cells of those tokens.

    `all` counts every miss of the fresh cells; `far` those that are farther off than the two passes are apart anywhere,
    which rounding cannot explain. `n_outside_record` of `n_recorded` lie outside the cell recorded with the token:
    none, where the sampler draws from the law that it records."""

    all: Misses
    far: Misses
    n_recorded: int
    n_outside_record: int

    @property
    def p_fresh(self) -> float:
        """Of the fresh cells (Bonferroni over `all` and `far`)."""
        return min(1.0, 2 * min(self.all.p_value, self.far.p_value))

    @property
    def p_value(self) -> float:
        """Of both passes: 0 where a uniform lies outside its recorded cell, which cannot be."""
        return 0.0 if self.n_outside_record else self.p_fresh

    @property
    def share(self) -> Interval:
        """Share of tokens missed, Clopper-Pearson; its mean is at least the total variation of the two laws."""
        return clopper_pearson(self.all.n_missed, self.all.n)


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
    first = Cells(recorded.below[again], recorded.upto[again])
    return SeededDraws(
        all=Misses.of(u[again], first, fresh, 0.0),
        far=Misses.of(u[again], first, fresh, first.farthest(fresh) + FLOAT64),
        n_recorded=u.size,
        n_outside_record=int(np.count_nonzero(recorded.widened(ROUNDING).miss(u))),
    )


def poisson_binomial_sf(k: int, probability: Float[np.ndarray, " n"]) -> float:
    """P(at least k of independent events happen), exactly; where it is below 1e-12, Chernoff's bound on it.

    >>> poisson_binomial_sf(2, np.array([0.5, 0.5]))
    0.25
    """
    if k <= 0:
        return 1.0
    mean = float(probability.sum())
    if mean == 0:
        return 0.0
    if k > mean and (bound := float(np.exp(k - mean - k * np.log(k / mean)))) < 1e-12:
        return bound
    below, reached = np.zeros(k), 0.0
    below[0] = 1.0
    for p in probability[probability > 0].tolist():
        reached += p * below[-1]
        below[1:] = below[1:] * (1 - p) + below[:-1] * p
        below[0] *= 1 - p
    return min(1.0, float(reached))


@dataclass(frozen=True)
class Sensitivity:
    """The smallest faults that are seen with the stated power: the `share` of tokens from elsewhere, the mass that a
    truncation leaves (`kept_mass`), and how far a temperature is from 1. None: not even the largest one is."""

    share: float | None
    kept_mass: float | None
    temperature: float | None


def sensitivity(seeded: SeededDraws, mean_deviation_nats: float, *, alpha: float, power: float = 0.8) -> Sensitivity:
    """What the draws against a fresh pass reject at `alpha` with at least this power.

    A token from elsewhere has a uniform that knows nothing of it, and is missed by more than the slack unless u is that
    near by chance. A law that keeps mass S of another one is 1 - S from it in total variation; one at temperature t is
    |1 - t|/2 times the mean absolute deviation of surprisal from it, to first order; and misses are at least as
    frequent."""
    missed = seeded.all.detectable_share(alpha=alpha / 2, power=power)
    far = seeded.far.detectable_share(alpha=alpha / 2, power=power)
    by_chance = 2 * seeded.far.slack
    share = min(missed, far / (1 - by_chance)) if by_chance < 1 else missed
    temperature = 2 * missed / mean_deviation_nats if mean_deviation_nats > 0 else None
    return Sensitivity(
        share if share < 1 else None,
        1 - missed if missed < 1 else None,
        temperature if missed < 1 else None,
    )
