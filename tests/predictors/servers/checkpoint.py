"""The checkpoint that the fake server is said to serve: its law, here, whole and exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Ids
from freerun.predictors.law import Dense, Law
from freerun.predictors.markers import EndToken, Markers
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import Identity
from tests.predictors.servers.fake import END, N_TOKENS, TABLE


class Checkpoint(Rowwise[np.ndarray]):
    """Its law after a token is a row of the table; `table`: another one, for a server that serves something else."""

    def __init__(self, table: np.ndarray = TABLE, *, name: str = "checkpoint") -> None:
        self.table, self.n_tokens, self.end_ids = table, N_TOKENS, (END,)
        self.markers = Markers(ends=(EndToken(END, "<|endoftext|>", ("config",)),), control={END: "<|endoftext|>"})
        self.identity = Identity(name, f"{name}-{float(np.exp(table).sum()):.6f}-{float(table[65, 66]):.6f}")

    def encode(self, text: str) -> Sequence[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else b""

    def start(self, prefixes: Sequence[Ids]) -> Int[np.ndarray, " rows"]:
        return np.array([p[-1] if len(p) else END for p in prefixes], np.int64)

    def law(self, state: Int[np.ndarray, " rows"]) -> Law:
        return Dense(self.table[state])

    def advance(self, state: Int[np.ndarray, " rows"], ids: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        return np.asarray(ids, np.int64)


def noisy(sigma_nats: float) -> np.ndarray:
    """The table with log-probabilities off by so much: the same law in another engine's arithmetic."""
    rng = np.random.default_rng(11)
    logits = TABLE + rng.normal(0.0, sigma_nats, TABLE.shape)
    with np.errstate(divide="ignore"):
        return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
