"""What a scoring pass keeps of the tokens of somebody else's samples, as arrays: the input of every statistic of `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Family = Literal["top_p", "top_k", "min_p"]
TRUNCATIONS: tuple[tuple[Family, float], ...] = (
    *(("top_p", p) for p in (0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.5)),
    *(("top_k", k) for k in (1000.0, 500.0, 200.0, 100.0, 64.0, 50.0, 40.0, 20.0, 10.0)),
    *(("min_p", s) for s in (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)),
)
"""Cuts whose absence is tested, of each kind from the mildest on."""
TEMPERATURES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5)
"""Temperatures, relative to the declared one, that the e-process bets on."""
EDGE_MASS = 1e-3
"""A token outside the kept set counts only beyond this much cumulative mass: two right computations cut at different places."""
N_BEGINNINGS = 8
"""Positions at the beginning of a completion whose bets are kept apart, since they may turn out not to be drawn."""
MIXED_IN = 0.01
"""Share of the untruncated law in the truncated ones that the e-process bets on."""


@dataclass(frozen=True, eq=False)
class TokenLaws:
    """Tokens that were drawn, in order of sequence and position, each with what the declared law s says of it.

    Where end tokens are missing from the samples, s is the law renormalised over ids that end no text.
    """

    sequence: Int[np.ndarray, " tokens"]
    position: Int[np.ndarray, " tokens"]
    """In the completion, from 0."""
    model_log_prob_nats: Float[np.ndarray, " tokens"]
    """Under the model's own law, temperature 1."""
    heated_log_prob_nats: Float[np.ndarray, " tokens"]
    """At the declared temperature and penalties, over the full vocabulary."""
    log_prob_nats: Float[np.ndarray, " tokens"]
    """Under the declared law; −inf outside what it keeps."""
    overshoot: Float[np.ndarray, " tokens"]
    """How far outside the kept set the token stands, in mass of the law that the truncation acted on; 0 inside."""
    overshoot_of_rank: Float[np.ndarray, " tokens"]
    """The same by top-k and min-p alone."""
    shortfall_nats: Float[np.ndarray, " tokens"]
    """How much less probable the token is than the least probable one that is kept, under the model's own law; 0 inside."""
    above: Float[np.ndarray, " tokens"]
    """Mass of s on tokens that stand before it, most probable first."""
    below: Float[np.ndarray, " tokens"]
    """Mass of s on smaller ids."""
    kept_mass: Float[np.ndarray, " tokens"]
    entropy_nats: Float[np.ndarray, " tokens"]
    varentropy_nats2: Float[np.ndarray, " tokens"]
    top_surprisal_nats: Float[np.ndarray, " tokens"]
    """Of the most probable token, under s."""
    rank: Int[np.ndarray, " tokens"]
    """Under the model's own law, from 1."""
    repeat_mass: Float[np.ndarray, " tokens"]
    """Mass of s on ids that stand in the context."""
    repeats: Bool[np.ndarray, " tokens"]
    end_mass: Float[np.ndarray, " tokens"]
    """Mass of the declared law, ends included, on ids that end a text."""
    is_end: Bool[np.ndarray, " tokens"]

    @property
    def is_outside(self) -> Bool[np.ndarray, " tokens"]:
        """Tokens that the declared law cannot draw, beyond the tolerance."""
        return np.asarray(self.overshoot > EDGE_MASS)

    @property
    def is_tested(self) -> Bool[np.ndarray, " tokens"]:
        """Tokens that have mass; those at the edge of what is kept are left out."""
        return np.asarray(np.isfinite(self.log_prob_nats))

    @property
    def tested(self) -> TokenLaws:
        """The tokens that have mass: a copy only where some have none."""
        rows = self.is_tested
        return self if rows.all() else self.take(rows)

    @property
    def n_tokens(self) -> int:
        return len(self.sequence)

    def take(self, rows: Any) -> TokenLaws:
        """The same for some of the tokens."""
        return TokenLaws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[TokenLaws]) -> TokenLaws:
        return TokenLaws(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(TokenLaws)})


@dataclass(frozen=True, eq=False)
class Alternatives:
    """What other laws than s say of some tokens."""

    cut_mass: Float[np.ndarray, "tokens cuts"]
    """Mass of s that each of `TRUNCATIONS` would keep."""
    cut_keeps: Bool[np.ndarray, "tokens cuts"]
    gain_nats: Float[np.ndarray, "tokens temperatures"]
    """Log-probability at each of `TEMPERATURES` minus that under s."""


@dataclass(frozen=True, eq=False)
class Bets:
    """Sums over tokens of what alternatives say, by position from 0 to `N_BEGINNINGS`, the last for all later ones: they add up."""

    n_crossed: Float[np.ndarray, "positions cuts"]
    """Tokens beyond each cut."""
    log_kept: Float[np.ndarray, "positions cuts"]
    """Of the mass that each cut would keep."""
    odds_root: Float[np.ndarray, "positions cuts"]
    """Square root of the odds of a token beyond the cut."""
    ratio: Float[np.ndarray, "positions bets"]
    """Log likelihood ratio of temperatures, then of cuts with a little of s in them."""
    ratio_squared: Float[np.ndarray, "positions bets"]

    @staticmethod
    def of(other: Alternatives, position: Int[np.ndarray, " tokens"]) -> Bets:
        cuts = np.log((1 - MIXED_IN) * other.cut_keeps / other.cut_mass + MIXED_IN)
        ratio = np.concatenate([other.gain_nats, cuts], axis=1)
        columns = (
            ~other.cut_keeps,
            np.log(other.cut_mass),
            np.sqrt((1 - other.cut_mass) / other.cut_mass),
            ratio,
            np.square(ratio),
        )
        bucket = np.minimum(position, N_BEGINNINGS)
        sums = [np.zeros((N_BEGINNINGS + 1, column.shape[1])) for column in columns]
        for total, column in zip(sums, columns, strict=True):
            np.add.at(total, bucket, column)
        return Bets(*sums)

    def plus(self, other: Bets) -> Bets:
        return Bets(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Bets)))

    def after(self, n_beginning: int) -> Bets:
        """The same without the first positions of every completion."""
        return Bets(*(getattr(self, f.name)[n_beginning:] for f in fields(Bets)))

    @staticmethod
    def none() -> Bets:
        n, cuts = N_BEGINNINGS + 1, len(TRUNCATIONS)
        bets = cuts + len(TEMPERATURES)
        return Bets(*(np.zeros((n, k)) for k in (cuts, cuts, cuts, bets, bets)))
