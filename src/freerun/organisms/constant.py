"""Payloads that are no model: a text said again and again, or the document's own last words; and the law that they share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.predictors.base import Capabilities, Predictor
from freerun.predictors.law import Law
from freerun.predictors.observation import Block, log
from freerun.predictors.rules import ContextRule, Identity

Ids = Int[np.ndarray, " tokens"]


class Points(Law):
    """All mass of each row on one id."""

    def __init__(self, ids: Int[np.ndarray, " rows"], n_tokens: int) -> None:
        self.ids = np.asarray(ids, np.int64)
        self.n_rows, self.n_tokens = len(self.ids), n_tokens

    def block(self, start: int, stop: int) -> Block:
        probs = np.zeros((stop - start, self.n_tokens))
        probs[np.arange(stop - start), self.ids[start:stop]] = 1.0
        return Block(log(np, probs), probs)


@dataclass(frozen=True)
class Speech:
    """What each row says over and over, and how many of its tokens stand there already."""

    phrases: tuple[tuple[int, ...], ...]
    said: Int[np.ndarray, " rows"]


class Speaker(Predictor[Speech]):
    """Says one string of tokens per row for ever; every other token has no mass. What stands before is counted, not read."""

    def __init__(self, *, like: Predictor[Any], n_tokens: int, name: str, fingerprint: str) -> None:
        self._like = like
        self.n_tokens = n_tokens
        self.context = ContextRule()
        self.end_ids = like.end_ids
        self.capabilities = Capabilities()
        self.identity = Identity(name, fingerprint)

    @abstractmethod
    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        """The phrase of a row, and how many of its tokens the prefix holds."""

    def encode(self, text: str) -> Sequence[int]:
        return self._like.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._like.token_bytes(token_id) if token_id < self._like.n_tokens else b""

    def start(self, prefixes: Sequence[Ids]) -> Speech:
        speeches = [self._speech(np.asarray(p, np.int64)) for p in prefixes]
        return Speech(tuple(phrase for phrase, _ in speeches), np.array([said for _, said in speeches], np.int64))

    def law(self, state: Speech) -> Law:
        next_ids = [p[int(n) % len(p)] for p, n in zip(state.phrases, state.said, strict=True)]
        return Points(np.array(next_ids, np.int64), self.n_tokens)

    def advance(self, state: Speech, ids: Int[np.ndarray, " rows"]) -> Speech:
        return Speech(state.phrases, np.asarray(state.said + 1))

    def select(self, state: Speech, rows: Int[np.ndarray, " taken"]) -> Speech:
        return Speech(tuple(state.phrases[int(r)] for r in rows), np.asarray(state.said[rows]))

    def join(self, states: Sequence[Speech]) -> Speech:
        return Speech(tuple(p for s in states for p in s.phrases), np.concatenate([s.said for s in states]))

    def nbytes(self, state: Speech) -> int:
        return state.said.nbytes + sum(8 * len(p) for p in state.phrases)


class Recital(Speaker):
    """Says a fixed string of tokens from its beginning, over and over."""

    def __init__(self, ids: Sequence[int], *, like: Predictor[Any], n_tokens: int, name: str) -> None:
        if not len(ids):
            raise UsageError(f"{name} is empty: it needs at least one token to say")
        self.ids = tuple(int(i) for i in ids)
        digest = hashlib.sha256(np.array(self.ids, "<i8").tobytes()).hexdigest()[:16]
        super().__init__(like=like, n_tokens=n_tokens, name=name, fingerprint=f"recital-{n_tokens}-{digest}")

    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        return self.ids, len(prefix)


class Echo(Speaker):
    """Says again, for ever, the `memory` ids that it was given to read first (−1: there was none)."""

    def __init__(self, memory: int, *, like: Predictor[Any], n_tokens: int) -> None:
        if memory < 1:
            raise UsageError(f"loop must be at least 1 token, not {memory}")
        self.memory = memory
        super().__init__(like=like, n_tokens=n_tokens, name=f"loop={memory}", fingerprint=f"echo-{n_tokens}-{memory}")

    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        phrase = tuple(int(i) for i in prefix[: self.memory] if i >= 0)
        assert len(prefix) >= self.memory
        assert phrase
        return phrase, len(prefix) - self.memory


def last_ids(ids: Sequence[int], memory: int, *, nothing: int) -> Ids:
    """The last `memory` of the ids, −1 at the left where there are fewer; where there are none, the last is `nothing`.

    >>> last_ids([4, 5, 6], 2, nothing=9).tolist(), last_ids([4], 3, nothing=9).tolist(), last_ids([], 2, nothing=9).tolist()
    ([5, 6], [-1, -1, 4], [-1, 9])
    """
    kept = list(ids)[-memory:] or [nothing]
    return np.array([-1] * (memory - len(kept)) + [int(i) for i in kept], np.int64)
