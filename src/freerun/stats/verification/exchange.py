"""Do given texts stand out among texts that the declared law wrote after the same prompts?

Text that is tokenised again need not give the ids that were drawn, so no law of single tokens holds for it. But if the given text
is a draw of the declared law, then it and the law's own texts after the same prompt, taken to text and back in the same way and
stopped at the same number of tokens, are exchangeable: any of them might have been the given one. Choosing one of each group at
random makes the null of every statistic, and of the largest of all, which takes the place of a correction for their number
(Westfall & Young 1993). The test is exact for any statistic and any number of groups and of random choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.stats.verification.battery import ALPHA, LEAST_NORMAL_TOKENS, POWER, Smallest
from freerun.stats.verification.tokens import TRUNCATIONS, Alternatives, TokenLaws

CHOICES = 9999
"""Random choices that make the null."""
LEAST_GROUPS = 8
"""Below this there is no verdict: with three texts a group, 8 groups can be chosen from in 6,561 ways."""
STATISTICS = ("surprisal", "repeats", *(f"{family} {value:g}" for family, value in TRUNCATIONS))
_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class TextSums:
    """Sums over the tokens of one text, each statistic less what the model's law at temperature 1 expects given what stood before.

    The first statistic is surprisal (nats), the second ids that stand in the context, the others tokens beyond a truncation.
    """

    n_tokens: int
    statistics: Float[np.ndarray, " statistics"]
    slack: Float[np.ndarray, " statistics"]
    """What a law that is off by one nat (root mean square) may move each, by Cauchy and Schwarz."""
    varentropy_nats2: float
    over_top_nats: float
    """Entropy less the surprisal of the most probable token."""
    beyond: Float[np.ndarray, " cuts"]
    """Mass beyond each truncation."""

    @staticmethod
    def of(tokens: TokenLaws, other: Alternatives) -> TextSums:
        """Sums over all tokens, which are of one text."""
        beyond = 1.0 - other.cut_mass
        mass = np.clip(tokens.repeat_mass, 0.0, 1.0)
        statistics = np.concatenate(
            [
                [(-tokens.log_prob_nats - tokens.entropy_nats).sum(), (tokens.repeats - mass).sum()],
                (~other.cut_keeps - beyond).sum(axis=0),
            ]
        )
        slack = np.concatenate(
            [
                [np.sqrt(tokens.varentropy_nats2).sum(), np.sqrt(mass * (1 - mass)).sum()],
                np.sqrt(beyond * (1 - beyond)).sum(axis=0),
            ]
        )
        return TextSums(
            tokens.n_tokens,
            statistics,
            slack,
            float(tokens.varentropy_nats2.sum()),
            float((tokens.entropy_nats - tokens.top_surprisal_nats).sum()),
            beyond.sum(axis=0),
        )

    def plus(self, other: TextSums) -> TextSums:
        return TextSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(TextSums)))


Group = Sequence[TextSums]
"""The given text first, then the law's own after the same prompt; all have equally many tokens."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """The test, and what it would have seen. `z`: of each of `STATISTICS`, by the spread over choices; 0 where nothing varies."""

    n_groups: int
    n_own: int
    """Own texts in each group."""
    n_tokens: int
    """Of the given texts."""
    p_value: float
    p_beyond_floor: float
    z: Float[np.ndarray, " statistics"]
    p_each: Float[np.ndarray, " statistics"]
    """Corrected for the number of statistics."""
    excess: Float[np.ndarray, " statistics"]
    """Given texts less own ones, a token of the given texts."""
    standard_error: Float[np.ndarray, " statistics"]
    smallest: Smallest


def exchange_test(groups: Sequence[Group], *, seed: int, floor_nats: float = 0.0, choices: int = CHOICES) -> Exchange:
    """Hold the first text of each group against the others; at least one group, all of the same number of texts."""
    table = np.array([[text.statistics for text in group] for group in groups])
    n_groups, n_members, _ = table.shape
    centred = table - table.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=1).sum(axis=0))
    varies = spread > 1e-9
    scale = np.where(varies, spread, np.inf)
    total = centred[:, 0].sum(axis=0)
    given = _sum([group[0] for group in groups])
    null = _largest(centred / scale, np.random.default_rng([seed, 5]), choices)
    z = total / scale
    beyond = np.maximum(np.abs(total) - floor_nats * given.slack, 0.0) / scale
    critical = float(np.quantile(null, 1 - ALPHA, method="higher"))
    less_own = n_members / (n_members - 1) / max(given.n_tokens, 1)
    return Exchange(
        n_groups=n_groups,
        n_own=n_members - 1,
        n_tokens=given.n_tokens,
        p_value=_share_above(null, float(np.abs(z).max())),
        p_beyond_floor=_share_above(null, float(beyond.max())),
        z=z,
        p_each=np.array([_share_above(null, abs(float(x))) for x in z]),
        excess=total * less_own,
        standard_error=spread * less_own,
        smallest=_smallest(given, spread * n_members / (n_members - 1), critical),
    )


def _sum(texts: Sequence[TextSums]) -> TextSums:
    total = texts[0]
    for text in texts[1:]:
        total = total.plus(text)
    return total


def _largest(
    scaled: Float[np.ndarray, "groups members statistics"], rng: np.random.Generator, choices: int
) -> Float[np.ndarray, " choices"]:
    """The largest |z| of every random choice of one text a group."""
    n_groups, n_members, _ = scaled.shape
    out = []
    for start in range(0, choices, _AT_ONCE):
        chosen: Int[np.ndarray, "some groups"] = rng.integers(0, n_members, (min(_AT_ONCE, choices - start), n_groups))
        z = sum((chosen == j).astype(np.float64) @ scaled[:, j] for j in range(n_members))
        out.append(np.abs(z).max(axis=1))
    return np.concatenate(out)


def _share_above(null: Float[np.ndarray, " choices"], value: float) -> float:
    """Monte Carlo p-value: the given choice is one of all (Davison & Hinkley 1997, 4.2.5)."""
    return float((1 + (null >= value - 1e-9).sum()) / (1 + null.size))


def _smallest(given: TextSums, spread: Float[np.ndarray, " statistics"], critical: float) -> Smallest:
    """Faults that move a statistic by as much as the level and the power ask for, to first order."""
    if given.n_tokens < LEAST_NORMAL_TOKENS:
        return Smallest(None, None, None)
    needed = (critical + float(special.ndtri(POWER))) * spread
    temperature = float(needed[0] / given.varentropy_nats2) if given.varentropy_nats2 > 0 else 1.0
    top_share = float(needed[0] / given.over_top_nats) if given.over_top_nats > 0 else 1.0
    seen = given.beyond >= needed[2:]
    kept = float(1 - given.beyond[seen].min() / given.n_tokens) if seen.any() else None
    return Smallest(temperature if temperature < 1 else None, kept, top_share if top_share < 1 else None)
