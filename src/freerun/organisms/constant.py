"""Payloads that are not models: a text said again and again, or the document's own last words; and the law that they share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.entry import Builder
from freerun.organisms.wrapper import check_shares_vocabulary, from_nothing
from freerun.predictors.base import Ids, Predictor, SharesTokens
from freerun.predictors.entries import Parameter, Values, text, whole
from freerun.predictors.law import Law
from freerun.predictors.observation import Block, log
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import Identity
from freerun.predictors.stepwise import Stepwise, as_stepwise


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

    phrases: list[tuple[int, ...]]
    n_spoken: Int[np.ndarray, " rows"]


class Speaker(SharesTokens, Rowwise[Speech]):
    """Says one string of tokens per row for ever; every other token has no mass. What stands before is counted, not read."""

    def __init__(self, *, like: Predictor, n_tokens: int, name: str, fingerprint: str) -> None:
        self._share_tokens(like, n_tokens=n_tokens)
        self.identity = Identity(name, fingerprint)

    @abstractmethod
    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        """The phrase of a row, and how many of its tokens the prefix holds."""

    def start(self, prefixes: Sequence[Ids]) -> Speech:
        speeches = [self._speech(np.asarray(p, np.int64)) for p in prefixes]
        return Speech([phrase for phrase, _ in speeches], np.array([n for _, n in speeches], np.int64))

    def law(self, state: Speech) -> Law:
        next_ids = [p[int(n) % len(p)] for p, n in zip(state.phrases, state.n_spoken, strict=True)]
        return Points(np.array(next_ids, np.int64), self.n_tokens)

    def advance(self, state: Speech, ids: Int[np.ndarray, " rows"]) -> Speech:
        return Speech(state.phrases, np.asarray(state.n_spoken + 1))


class Recital(Speaker):
    """Says a fixed string of tokens from its beginning, over and over."""

    def __init__(self, ids: Sequence[int], *, like: Predictor, n_tokens: int, name: str) -> None:
        if not len(ids):
            raise UsageError(f"{name} is empty: it needs at least one token to say")
        self.ids = tuple(int(i) for i in ids)
        digest = hashlib.sha256(np.array(self.ids, "<i8").tobytes()).hexdigest()[:16]
        super().__init__(like=like, n_tokens=n_tokens, name=name, fingerprint=f"recital-{n_tokens}-{digest}")

    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        return self.ids, len(prefix)


class Echo(Speaker):
    """Says again, for ever, the `memory` ids that it was given to read first (−1: there was none)."""

    def __init__(self, memory: int, *, like: Predictor, n_tokens: int) -> None:
        if memory < 1:
            raise UsageError(f"loop must be at least 1 token, not {memory}")
        self.memory = memory
        super().__init__(like=like, n_tokens=n_tokens, name=f"loop={memory}", fingerprint=f"echo-{n_tokens}-{memory}")

    def _speech(self, prefix: Ids) -> tuple[tuple[int, ...], int]:
        phrase = tuple(int(i) for i in prefix[: self.memory] if i >= 0)
        assert len(prefix) >= self.memory
        assert phrase
        return phrase, len(prefix) - self.memory


# ---- payloads by name --------------------------------------------------------------------------------------------------

PAYLOADS = (
    Parameter("model", "spec", "the payload is this model, in parentheses; it must have the same tokens"),
    text("text", "the payload says this text for ever"),
    whole("loop", None, "the payload says the last so many tokens for ever (8 when no payload is named)", low=1),
)
ONE_PAYLOAD = ("model", "text", "loop")
"""Of which one may be given."""


def payload_of(made: Builder, values: Values) -> Predictor:
    """The payload that model=, text= or loop= names; the last 8 tokens over and over when none is given."""
    inner = made.inner
    if values["model"] is not None:
        return made.load(values["model"])
    if values["text"] is not None:
        ids = list(inner.encode(values["text"]))
        return Recital(ids, like=inner, n_tokens=inner.n_tokens, name=f"text={values['text']!r}")
    return Echo(8 if values["loop"] is None else values["loop"], like=inner, n_tokens=inner.n_tokens)


def fitted(payload: Predictor, inner: Predictor, *, n_tokens: int) -> tuple[Stepwise[Any], int]:
    """The payload with a law before its first token, over as many ids as asked; and how many ids it must be given to read first.

    Raises:
        UsageError: it has other tokens than `inner`, or no law token by token.
    """
    if isinstance(payload, Echo):
        return Echo(payload.memory, like=inner, n_tokens=n_tokens), payload.memory
    check_shares_vocabulary(inner, payload, role="payload")
    return from_nothing(as_stepwise(payload, "a payload", whole_law=True)), 0
