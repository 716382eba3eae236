"""What a verification recorded, ready for its findings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from freerun.results.verify import Cause, Match, SampleFacts
from freerun.stats.verification.battery import (
    ALPHA,
    LEAST_TOKENS,
    NOWHERE_ELSE,
    Battery,
    Elsewhere,
    held_against_laws,
    uniforms_of,
)
from freerun.stats.verification.exchange import Exchange
from freerun.stats.verification.shared_seeds import SharedSeeds, shared_seeds
from freerun.stats.verification.tokens import MIXED_IN, N_BEGINNINGS, Bets, TokenLaws

SEEDS_ALPHA = 1e-6
SEEDS_CORRELATION = 0.1
"""Completions that were drawn with one seed go together at least so much."""
MISSING_ZERO_NATS = 1e-3
"""A reported log-probability of exactly 0 where the law says less than minus this stands for a missing one."""


@dataclass(frozen=True, eq=False)
class Floor:
    """Log-probabilities of some tokens, nats: read alone, and in the batch."""

    alone: Float[np.ndarray, " tokens"]
    batch: Float[np.ndarray, " tokens"]
    sequence: Int[np.ndarray, " tokens"]

    @property
    def root_mean_square(self) -> float:
        known = np.isfinite(self.alone) & np.isfinite(self.batch)
        return float(np.sqrt(np.square(self.alone - self.batch)[known].mean())) if known.any() else 0.0


@dataclass(frozen=True)
class OtherModel:
    """Tokens under a second model against the declared law: the likelihood ratio, an e-value of "these are draws from the
    declared law". `log_e_beyond_floor`: less what the noise floor may have given it."""

    log_e: float
    log_e_beyond_floor: float
    n_tokens: int


def other_model(
    other_nats: Float[np.ndarray, " tokens"], declared_nats: Float[np.ndarray, " tokens"], floor_nats: float
) -> OtherModel:
    """A hundredth of the declared law is mixed into the second model's, so that one token which it cannot draw does not end the
    bet; tokens that the declared law cannot draw are left out."""
    inside = np.isfinite(declared_nats)
    ratio = np.logaddexp(np.log1p(-MIXED_IN) + (other_nats - declared_nats)[inside], math.log(MIXED_IN))
    by_floor = floor_nats * math.sqrt(ratio.size * float(np.square(ratio).sum()))
    total = float(ratio.sum())
    return OtherModel(total, total - by_floor, ratio.size)


def both_p(battery_p: float, log_e: float) -> float:
    """Of the battery and an e-value, each with half of the level.

    >>> both_p(0.2, 10.0) < 1e-4 < both_p(0.2, 0.0)
    True
    """
    return min(1.0, 2 * min(battery_p, math.exp(min(0.0, -log_e))))


@dataclass(frozen=True, eq=False)
class VerifyEvidence:
    """Drawn tokens with what the declared law and the file say of them.

    `n_tokens`: of each completion. `elsewhere`: tokens of a long file whose columns are not held; `bets` are of all. `chosen_floor_nats`: set by
    the user. `cause` is None until it was searched.
    """

    tokens: TokenLaws
    bets: Bets
    reported: Float[np.ndarray, " tokens"]
    trainer: Float[np.ndarray, " tokens"]
    n_tokens: Int[np.ndarray, " completions"]
    facts: SampleFacts
    floor: Floor
    declared_words: str
    is_model_law: bool
    seed: int
    chosen_floor_nats: float | None = None
    elsewhere: Elsewhere = NOWHERE_ELSE
    cause: Cause | None = None
    again: Exchange | None = None
    """Text that was tokenised again, against the law's own; None for ids, and where there are too few texts."""
    other: OtherModel | None = None
    """Where a second model was given; it has half of the level then."""

    @property
    def is_text(self) -> bool:
        """Whether ids are those of a text that was tokenised again: the tests on single tokens decide nothing then."""
        return self.facts.tokens == "text"

    @property
    def n_drawn(self) -> int:
        """Drawn tokens of the file that were scored."""
        return self.tokens.n_tokens + self.elsewhere.n_tokens

    @property
    def floor_nats(self) -> float:
        """What counts as noise of a log-probability, root mean square."""
        return self.floor.root_mean_square if self.chosen_floor_nats is None else self.chosen_floor_nats

    @cached_property
    def battery(self) -> Battery:
        return held_against_laws(
            self.tokens, self.bets, seed=self.seed, floor_nats=self.floor_nats, elsewhere=self.elsewhere
        )

    @property
    def p_value(self) -> float:
        """Of all tests, the second model's likelihood ratio among them."""
        p = self.battery.p_value
        return p if self.other is None else both_p(p, self.other.log_e)

    @property
    def p_beyond_floor(self) -> float:
        p = self.battery.p_beyond_floor
        return p if self.other is None else both_p(p, self.other.log_e_beyond_floor)

    @cached_property
    def uniforms(self) -> tuple[Float[np.ndarray, " tested"], Float[np.ndarray, " tested"]]:
        """U of the tokens tested, most probable first and by id."""
        return uniforms_of(self.tokens.tested, self.seed)

    @cached_property
    def seeds(self) -> SharedSeeds:
        """Of tokens that are neither ends nor at the beginning, where other things make draws alike."""
        t = self.tokens.tested
        free = ~t.is_end & (t.position >= N_BEGINNINGS)
        return shared_seeds(self.uniforms[1][free], t.sequence[free], t.position[free])

    @property
    def one_seed(self) -> bool:
        """Whether completions were drawn with one and the same seed."""
        return self.seeds.p_value < SEEDS_ALPHA and self.seeds.correlation > SEEDS_CORRELATION

    @property
    def match(self) -> Match:
        """The verdict as a value."""
        if self.is_text:
            return self._match_of_text
        if self.tokens.n_tokens < LEAST_TOKENS or self.one_seed:
            return "not_judged"
        if self.p_value >= ALPHA:
            return "agrees"
        return "differs" if self.p_beyond_floor < ALPHA else "differs_within_floor"

    @property
    def _match_of_text(self) -> Match:
        if self.again is None or self.again.n_tokens < LEAST_TOKENS or self.one_seed:
            return "not_judged"
        if self.again.p_value >= ALPHA:
            return "agrees"
        return "differs" if self.again.p_beyond_floor < ALPHA else "differs_within_floor"

    @cached_property
    def engine(self) -> Float[np.ndarray, " tokens"]:
        """Reported log-probabilities; NaN where there is none, or a 0 stands for it: a law that leaves one token gives it 0."""
        t = self.tokens
        highest = np.fmax(np.fmax(t.model_log_prob_nats, t.heated_log_prob_nats), t.log_prob_nats)
        missing = (self.reported == 0) & (highest < -MISSING_ZERO_NATS)
        return np.where(missing, np.nan, self.reported)

    @property
    def n_zeros(self) -> int:
        """Exact zeros that stand for missing log-probabilities."""
        return int(((self.reported == 0) & np.isnan(self.engine)).sum())

    @property
    def n_impossible(self) -> int:
        """Drawn tokens to which the engine says that it gave no probability at all."""
        return int(np.isneginf(self.reported).sum())
