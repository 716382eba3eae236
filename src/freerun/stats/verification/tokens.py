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
    """How far outside the kept set the token stands, in mass of the law before truncation; 0 inside."""
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
    cut_mass: Float[np.ndarray, "tokens cuts"]
    """Mass of s that each of `TRUNCATIONS` would keep."""
    cut_keeps: Bool[np.ndarray, "tokens cuts"]
    gain_nats: Float[np.ndarray, "tokens temperatures"]
    """Log-probability at each of `TEMPERATURES` minus that under s."""

    @property
    def n_tokens(self) -> int:
        return len(self.sequence)

    def take(self, rows: Any) -> TokenLaws:
        """The same for some of the tokens."""
        return TokenLaws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[TokenLaws]) -> TokenLaws:
        return TokenLaws(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(TokenLaws)})
