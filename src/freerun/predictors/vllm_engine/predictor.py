"""A model inside vLLM as a predictor: the engine computes, and the laws are observed and the tokens drawn where its logits are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Capabilities, Chunk, Continuations, Ids, Laws, OnTokens, Sample
from freerun.predictors.draws import uniforms
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import Observation
from freerun.predictors.rules import ContextRule, Identity
from freerun.predictors.servers.words import Words
from freerun.predictors.stepwise import Stepwise
from freerun.predictors.templates import ChatTemplate
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.runs import Answer, Ask, Engine, Runs
from freerun.stats.loops.lag_runs import LoopRule

_KEPT_BYTES = 1 << 28
"""Logits that are handed over at once, where whole laws are asked for."""


@dataclass
class Prefixes:
    """A state: contexts, which the engine's cache of prefixes remembers; their laws once they were asked for."""

    ids: tuple[Ids, ...]
    law: Law | None = None


class VLLMEngine(Stepwise[Prefixes]):
    """A model in vLLM's own process or processes.

    `reads_prompts`: laws of given texts are observed while vLLM reads them; otherwise it is made to write their tokens.
    """

    def __init__(
        self,
        engine: Engine,
        words: Words,
        *,
        identity: Identity,
        longest: int,
        at_once: int,
        rounded: bool = False,
        device: str = "cpu",
        template: ChatTemplate | None = None,
    ) -> None:
        self.identity, self.words, self.device, self.template = identity, words, device, template
        self.runs = Runs(engine, name=identity.name)
        self.at_once, self.reads_prompts = at_once, False
        self.n_tokens, self.end_ids, self.markers = words.n_tokens, words.end_ids, words.markers
        # the law after a full window still needs a place for the token that it predicts
        self.context = ContextRule(window=longest - 1 - len(words.lead), lead=words.lead)
        self.capabilities = Capabilities(empty_context=False, rounded_arithmetic=rounded)

    # ---- text ------------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Sequence[int]:
        return self.words.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.words.token_bytes(token_id)

    def token_ends(self, text: str) -> Sequence[int] | None:
        return self.words.token_ends(text)

    # ---- given texts -----------------------------------------------------------------------------------------------

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        for answer in self._read(sequences, first, loop_rule, at_once=self.at_once):
            at = self._positions(answer.ask)
            yield Chunk(np.full(len(at), answer.ask.row), at, answer.observation)

    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        most = max(1, _KEPT_BYTES // (4 * self.n_tokens))
        longest = max((len(s) - first for s in sequences), default=1)
        at_once = max(1, min(self.at_once, most // max(1, longest)))
        for answer in self._read(sequences, first, None, at_once=at_once, most_kept=most):
            at = self._positions(answer.ask)
            yield Laws(np.full(len(at), answer.ask.row), at, Dense(answer.logits))

    def _positions(self, ask: Ask) -> Int[np.ndarray, " tokens"]:
        """Of the tokens of an answer in their sequence."""
        order = ask.order
        start = len(order.earlier) + ask.first - order.n_lead
        return np.arange(start, start + order.stop - ask.first)

    def _read(
        self,
        sequences: Sequence[Ids],
        first: int,
        loop_rule: LoopRule | None,
        *,
        at_once: int,
        most_kept: int | None = None,
    ) -> Iterator[Answer]:
        """Every token from `first` on; each sequence's answers in order of position."""
        self._check_first(first)
        texts = [np.asarray(s, np.int64) for s in sequences]
        asks = [ask for row, ids in enumerate(texts) for ask in self._asks(row, ids, first, loop_rule, most_kept)]
        yield from _in_order(self.runs.each(deque(asks), at_once=at_once))

    def _asks(self, row: int, ids: Ids, first: int, loop_rule: LoopRule | None, most_kept: int | None) -> Iterator[Ask]:
        """One request for each place where the window begins; where laws are kept, for so many of them."""
        at, part = first, 0
        while at < len(ids):
            begin = self.context.first_seen(at)
            end = at
            while end < len(ids) and self.context.first_seen(end) == begin and (end - at) < (most_kept or len(ids)):
                end += 1
            yield self._ask(row, part, ids[:begin], ids[begin:end], at - begin, loop_rule, keeps=most_kept is not None)
            at, part = end, part + 1

    def _ask(
        self, row: int, part: int, earlier: Ids, text: Ids, first: int, loop_rule: LoopRule | None, *, keeps: bool
    ) -> Ask:
        """The tokens of a text from `first` on, which are read, the last one apart, or written as they are given."""
        lead = np.array(self.context.lead, np.int64)
        ids = np.concatenate([lead, text])
        place = len(lead) + first
        reads = self.reads_prompts and len(ids) - place > 1
        n_prompt = len(ids) - 1 if reads else place
        whole = np.concatenate([earlier, text])
        watched = () if loop_rule is None else tuple(loop_rule.watched(whole, start=len(earlier) + first))
        order = Order(
            serial=self.runs.serial(),
            ids=ids,
            n_prompt=n_prompt,
            n_new=len(ids) - n_prompt,
            n_lead=len(lead),
            earlier=earlier,
            watched_from=place,
            watched=watched,
            prompt_from=place if reads else None,
            keep_from=place if keeps else None,
        )
        return Ask(order, place, row=row, part=part)

    # ---- its own texts ---------------------------------------------------------------------------------------------

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        todo = continuations
        prefixes = [np.asarray(p, np.int64) for p in todo.prefixes]
        self._check_first(min((len(p) for p in prefixes), default=1))
        if not todo.n_rows or not todo.length:
            return
        keys = [int(k) for k in todo.keys.ravel()]
        done: dict[int, list[Answer]] = {r: [] for r in range(todo.n_rows)}
        queue = deque(self._draw(r, prefixes[r // todo.n_each], keys[r], todo, 0) for r in range(todo.n_rows))
        at_once = min(self.at_once, todo.at_once or self.at_once)
        for answer in self.runs.each(queue, at_once=at_once, on_tokens=on_tokens):
            row = answer.ask.row
            parts = done[row]
            parts.append(answer)
            ids = np.concatenate([p.observation.token_id for p in parts])
            ended = bool(np.isin(ids[-1], self.end_ids))
            if not ended and len(ids) < todo.length:
                text = np.concatenate([prefixes[row // todo.n_each], ids])
                queue.append(self._draw(row, text, keys[row], todo, len(ids), part=len(parts)))
                continue
            del done[row]
            yield Sample(
                row,
                "end_of_text" if ended else "length",
                Observation.concatenate([p.observation for p in parts]),
                uniforms(todo.seed, keys[row], len(ids)),
                None if todo.sampling.is_model_law else np.concatenate([p.sampled_log_prob_nats for p in parts]),
            )

    def _draw(self, row: int, text: Ids, key: int, todo: Continuations, n_drawn: int, *, part: int = 0) -> Ask:
        """What goes on after a text, until the window is full; then its older half is let go, and the rest is read anew."""
        begin = self.context.first_seen(len(text))
        most = todo.length - n_drawn
        if self.context.window is not None:
            most = min(most, self.context.window - (len(text) - begin) + 1)
        ids = np.concatenate([np.array(self.context.lead, np.int64), text[begin:]])
        order = Order(
            serial=self.runs.serial(),
            ids=ids,
            n_prompt=len(ids),
            n_new=most,
            n_lead=len(self.context.lead),
            earlier=text[:begin],
            seed=todo.seed,
            key=key,
            first_draw=n_drawn,
            sampling=todo.sampling,
            loop_rule=todo.loop_rule,
        )
        return Ask(order, len(ids), self.end_ids, row, part)

    # ---- step by step ----------------------------------------------------------------------------------------------

    def start(self, prefixes: Sequence[Ids]) -> Prefixes:
        ids = tuple(np.asarray(p, np.int64) for p in prefixes)
        self._check_first(min((len(p) for p in ids), default=1))
        return Prefixes(ids)

    def law(self, state: Prefixes) -> Law:
        if state.law is None:
            state.law = Dense(np.stack([a.logits[0] for a in self._next_of(state.ids)]))
        return state.law

    def _next_of(self, contexts: Sequence[Ids]) -> list[Answer]:
        """One more token of each, whichever; its law is kept."""
        asks = []
        for row, ids in enumerate(contexts):
            begin = self.context.first_seen(len(ids))
            text = np.append(ids[begin:], 0)
            asks.append(self._ask(row, 0, ids[:begin], text, len(text) - 1, None, keeps=True))
        return sorted(self.runs.each(deque(asks), at_once=self.at_once), key=lambda a: a.ask.row)

    def advance(self, state: Prefixes, ids: Int[np.ndarray, " rows"]) -> Prefixes:
        return Prefixes(tuple(np.append(x, i) for x, i in zip(state.ids, np.asarray(ids, np.int64), strict=True)))

    def select(self, state: Prefixes, rows: Int[np.ndarray, " taken"]) -> Prefixes:
        at = np.asarray(rows, np.int64)
        law = None if state.law is None or not len(at) else state.law.take(at)
        return Prefixes(tuple(state.ids[i] for i in at), law)

    def join(self, states: Sequence[Prefixes]) -> Prefixes:
        return Prefixes(tuple(ids for s in states for ids in s.ids))

    def nbytes(self, state: Prefixes) -> int:
        """Of the contexts; keys and values are the engine's, whose cache has a size of its own."""
        return sum(x.nbytes for x in state.ids)


def _in_order(answers: Iterable[Answer]) -> Iterator[Answer]:
    """Each row's parts in their order, whichever was finished first."""
    early: dict[tuple[int, int], Answer] = {}
    following: dict[int, int] = {}
    for answer in answers:
        row = answer.ask.row
        early[row, answer.ask.part] = answer
        while (ready := early.pop((row, following.get(row, 0)), None)) is not None:
            following[row] = ready.ask.part + 1
            yield ready
