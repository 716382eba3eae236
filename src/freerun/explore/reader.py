"""A predictor that is asked along a tree of texts: what it said of every token, what it expects next, and what it would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.errors import UsageError
from freerun.explore.answers import Branch, NextTokens, Sampled
from freerun.explore.next_tokens import from_draws, from_law
from freerun.explore.places import Place, Places
from freerun.explore.worker import Turn
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import Law
from freerun.predictors.observation import Observation
from freerun.predictors.rules import SamplingRule
from freerun.predictors.stepwise import Stepwise
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker

MOST_TOKENS = 4096
"""Tokens of a text that the page takes."""
MOST_DRAWN = 4096
"""Tokens that are sampled in one go."""
_STEPS = 16
"""So many tokens more are read one by one from the state before them; a longer piece is read as a whole."""
_DRAWS = 12
"""One-token draws that stand in for a law which the backend does not give."""
LOOP_RULE = LoopRule()
_ROW = np.zeros(1, np.int64)


class Reader:
    """One predictor and every place of it that was visited."""

    def __init__(self, predictor: Predictor, *, places: Places | None = None) -> None:
        self.predictor = predictor
        self.stepwise: Stepwise[Any] | None = predictor if isinstance(predictor, Stepwise) else None
        self.places = Places() if places is None else places

    @property
    def n_given(self) -> int:
        """Tokens at the beginning that no law stands before."""
        return 0 if self.predictor.has_first_law else 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            UsageError: no Unicode, or tokens that the model has no law for.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError("the text is not Unicode: it holds half a surrogate pair") from None
        return self.checked(self.predictor.encode(text))

    def checked(self, ids: Sequence[int]) -> list[int]:
        """Tokens that the model knows, not too many.

        Raises:
            UsageError: too many, or an id outside the vocabulary.
        """
        out = [int(i) for i in ids]
        if len(out) > MOST_TOKENS:
            raise UsageError(
                f"the text has {counted(len(out), 'token')}; this page takes {MOST_TOKENS:,} at most: shorten it"
            )
        if out and not 0 <= min(out) <= max(out) < self.predictor.n_tokens:
            raise UsageError(
                f"a token id is none of {self.predictor.identity.name}'s, which run to {self.predictor.n_tokens - 1}"
            )
        return out

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether the text is over: its last token ends it."""
        return bool(ids) and ids[-1] in self.predictor.end_ids

    # ---- what was said of the tokens ----------------------------------------------------------------------------------

    def observations(self, ids: Sequence[int], turn: Turn) -> list[Observation | None]:
        """What the law before each token said of it, one row each; None for tokens that no law stands before."""
        path = self.places.at(ids).path()
        missing = [t for t in range(self.n_given, len(path)) if path[t].seen is None]
        if missing and self._is_near(path, missing[0]):
            for t in range(missing[0], len(path)):
                turn()
                before = path[t - 1] if t else self.places.root
                path[t].seen = self._law_at(before, turn).observe(np.array([path[t].token_id], np.int64))
        elif missing:
            self._read_whole(ids, path, missing[0], turn)
        return [place.seen for place in path]

    def _is_near(self, path: Sequence[Place], first: int) -> bool:
        """Whether few steps from a state at hand lead to the end of the path."""
        if self.stepwise is None or len(path) - first > _STEPS:
            return False
        before = [self.places.root, *path][max(0, first - _STEPS) : first + 1]
        return any(place.state is not None for place in before) or len(path) <= _STEPS

    def _read_whole(self, ids: Sequence[int], path: Sequence[Place], first: int, turn: Turn) -> None:
        turn.expect(len(path) - first)
        sequence = np.array(ids, np.int64)
        for chunk in self.predictor.score([sequence], first=first):
            for i, t in enumerate(chunk.position.tolist()):
                path[t].seen = chunk.observation.take(slice(i, i + 1))
            turn.advance(len(chunk.position))

    # ---- what comes next ---------------------------------------------------------------------------------------------

    def law(self, ids: Sequence[int], turn: Turn) -> Law:
        """The law after some tokens.

        Raises:
            UsageError: no law before the first token, or none at all.
        """
        if len(ids) < self.n_given:
            raise UsageError(
                f"{self.predictor.identity.name} has no law before the first token: write at least one word"
            )
        return self._law_at(self.places.at(ids), turn)

    def _law_at(self, place: Place, turn: Turn) -> Law:
        assert self.stepwise is not None
        return self.stepwise.law(self._state_at(place, turn))

    def _state_at(self, place: Place, turn: Turn) -> Any:
        """The state of a place, made from the nearest one before it or from nothing."""
        assert self.stepwise is not None
        after: list[Place] = []
        here: Place | None = place
        while here is not None and here.state is None and len(after) < _STEPS:
            after.append(here)
            here = here.parent
        if here is None or here.state is None:
            ids = [p.token_id for p in place.path()]
            state = self.stepwise.start([np.array(ids, np.int64)])
            self._keep(place, state)
            return state
        state = self.places.use(here)
        for following in reversed(after):
            turn()
            state = self.stepwise.advance(self.stepwise.select(state, _ROW), np.array([following.token_id], np.int64))
            self._keep(following, state)
        return state

    def _keep(self, place: Place, state: Any) -> None:
        assert self.stepwise is not None
        self.places.keep(place, state, self.stepwise.nbytes(state))

    def next_tokens(self, ids: Sequence[int], *, top: int, temperature: float, turn: Turn) -> NextTokens | None:
        """What may come next; None where nothing is to be had: an ended text, or no law before the first token."""
        if self.ended(ids) or len(ids) < self.n_given:
            return None
        if self.stepwise is None:
            return from_draws(self.predictor, ids, _DRAWS)
        watched = LoopTracker([np.array(ids, np.int64)], LOOP_RULE).completing()[0]
        return from_law(self.predictor, self.law(ids, turn), top, temperature, watched)

    # ---- what it would write -----------------------------------------------------------------------------------------

    def sample(
        self, ids: Sequence[int], *, n: int, n_tokens: int, seed: int, temperature: float, turn: Turn
    ) -> Sampled:
        """Continue a text `n` times; what the laws said of the new tokens is kept.

        Raises:
            UsageError: too much at once, a text that has ended, or no law before the first token.
        """
        if n < 1 or n_tokens < 1 or n * n_tokens > MOST_DRAWN:
            raise UsageError(f"{n} continuations of {n_tokens} tokens: at least one, and {MOST_DRAWN} tokens in all")
        if self.ended(ids):
            raise UsageError("the text has ended: step back to continue it")
        rule = SamplingRule.of(temperature=temperature)
        todo = Continuations([np.array(ids, np.int64)], branch_keys(n), n_tokens, seed=seed, sampling=rule, at_once=n)
        turn.expect(n * n_tokens)
        found: list[Branch] = []
        for sample in self.predictor.generate(todo, on_tokens=turn.advance):
            new = tuple(int(i) for i in sample.observation.token_id)
            self._remember([*ids, *new], sample.observation)
            found.append(Branch(new, sample.row, sample.end_reason))
        found.sort(key=lambda branch: branch.number)
        return Sampled(tuple(found), seed, rule.describe(), self.predictor.capabilities.counted_draws)

    def _remember(self, ids: Sequence[int], seen: Observation) -> None:
        for i, place in enumerate(self.places.at(ids).path()[len(ids) - len(seen.token_id) :]):
            place.seen = seen.take(slice(i, i + 1))


def branch_keys(n: int) -> Int[np.ndarray, "prefixes continuations"]:
    """Keys of the draws of a context's continuations, by their number."""
    return np.array([[sequence_key("explore", i) for i in range(n)]], np.uint64)
