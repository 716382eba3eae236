"""n-gram predictors: interpolated Witten–Bell counts (Bell, Cleary & Witten 1990; Chen & Goodman 1998, eq. 14).

    p_k(x | c) = (n(c x) + d(c) · p_{k−1}(x | c')) / (n(c) + d(c)),   p_0 = 1 / vocabulary,

n(c x) the count, n(c) its sum over x, d(c) the number of different x seen after c, c' the context without its oldest token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError, UsageError
from freerun.predictors.base import Ids, Predictor, last_ids
from freerun.predictors.law import Dense, Law
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import Identity, Nature


class NGramCounts:
    """Counts of all k-grams up to `order`, as sorted arrays: node i of level k is the k-gram of key `parent · V + token`."""

    def __init__(self, documents: Sequence[Ids], *, order: int, n_tokens: int) -> None:
        if order < 1:
            raise UsageError(f"an n-gram's order must be at least 1, not {order}")
        if not sum(len(d) for d in documents):
            raise DataError("an n-gram needs at least one token of text to count")
        self.order, self.n_tokens = order, n_tokens
        tokens = np.concatenate([np.asarray(d, np.int64) for d in documents])
        ends = np.repeat(np.cumsum([len(d) for d in documents]), [len(d) for d in documents])
        self.keys: list[np.ndarray] = []
        self.counts: list[np.ndarray] = []
        node = np.zeros(len(tokens), np.int64)
        begin = np.arange(len(tokens))
        for k in range(1, order + 1):
            fits = begin + k - 1 < ends[begin]
            begin, node = begin[fits], node[fits]
            keys, node, counts = np.unique(
                node * n_tokens + tokens[begin + k - 1], return_inverse=True, return_counts=True
            )
            self.keys.append(keys)
            self.counts.append(counts)
        sizes = [1, *[len(k) for k in self.keys]]
        self.children = [np.searchsorted(self.keys[k], np.arange(sizes[k] + 1) * n_tokens) for k in range(order)]
        self.totals = [
            np.diff(np.concatenate([[0], np.cumsum(self.counts[k])])[self.children[k]]) for k in range(order)
        ]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.order} {self.n_tokens}".encode())
        for array in [*self.keys, *self.counts]:
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def _step(self, level: int, node: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """From nodes of `level` to their child by `token`; −1 where there is none."""
        keys = self.keys[level]
        if not len(keys):
            return np.full(len(node), -1)
        wanted = node * self.n_tokens + token
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((node >= 0) & (token >= 0) & (keys[at] == wanted), at, -1)

    def _context_nodes(self, contexts: Int[np.ndarray, "n order_1"]) -> list[Int[np.ndarray, " n"]]:
        """For each context length m, the node of the last m tokens (−1: never seen). Tokens of −1 stand for nothing there."""
        nodes = []
        for m in range(self.order):
            node = np.zeros(len(contexts), np.int64)
            for level, column in enumerate(range(contexts.shape[1] - m, contexts.shape[1])):
                node = self._step(level, node, contexts[:, column])
            nodes.append(node)
        return nodes

    def log_prob(self, contexts: Int[np.ndarray, "n order_1"], ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """ln p(id | context), nats; a context is its last `order − 1` tokens, −1 where there is none."""
        p = np.full(len(ids), 1.0 / self.n_tokens)
        for m, node in enumerate(self._context_nodes(contexts)):
            if not len(self.counts[m]):  # no document is that long
                break
            total = np.where(node >= 0, self.totals[m][node], 0)
            distinct = np.where(node >= 0, np.diff(self.children[m])[node], 0)
            child = self._step(m, node, ids)
            count = np.where(child >= 0, self.counts[m][child], 0)
            p = np.where(total > 0, (count + distinct * p) / np.maximum(total + distinct, 1), p)
        return np.asarray(np.log(p))

    def probs(self, contexts: Int[np.ndarray, "n order_1"]) -> Float[np.ndarray, "n vocabulary"]:
        """The whole law after each context."""
        out = np.full((len(contexts), self.n_tokens), 1.0 / self.n_tokens)
        for m, nodes in enumerate(self._context_nodes(contexts)):
            for row, node in enumerate(nodes):
                if node < 0 or not self.totals[m][node]:
                    continue
                a, b = self.children[m][node], self.children[m][node + 1]
                out[row] *= b - a
                out[row, self.keys[m][a:b] - node * self.n_tokens] += self.counts[m][a:b]
                out[row] /= self.totals[m][node] + b - a
        return out


class NGramPredictor(Rowwise[np.ndarray]):
    """Counts as a predictor; its state is the last `order − 1` tokens of each row."""

    def __init__(
        self,
        counts: NGramCounts,
        *,
        name: str,
        encode: Callable[[str], Sequence[int]],
        token_bytes: Callable[[int], bytes],
        end_ids: tuple[int, ...],
    ) -> None:
        self.counts = counts
        self.n_tokens = counts.n_tokens
        self.end_ids = end_ids
        self.identity = Identity(name, f"ngram-{counts.fingerprint()}", nature=Nature(f"{counts.order}-gram counts"))
        self._encode, self._token_bytes = encode, token_bytes

    @staticmethod
    def over(like: Predictor, documents: Sequence[Ids], *, order: int, name: str) -> NGramPredictor:
        """Counts of some documents in the tokens of another predictor."""
        return NGramPredictor(
            NGramCounts(documents, order=order, n_tokens=like.n_tokens),
            name=name,
            encode=like.encode,
            token_bytes=like.token_bytes,
            end_ids=like.end_ids,
        )

    def encode(self, text: str) -> Sequence[int]:
        return self._encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._token_bytes(token_id)

    def start(self, prefixes: Sequence[Ids]) -> Int[np.ndarray, "rows order_1"]:
        return np.stack([last_ids(p, self.counts.order - 1) for p in prefixes])

    def law(self, state: Int[np.ndarray, "rows order_1"]) -> Law:
        return Dense(np.log(self.counts.probs(state)))

    def advance(self, state: Int[np.ndarray, "rows order_1"], ids: Int[np.ndarray, " rows"]) -> np.ndarray:
        return np.concatenate([state, np.asarray(ids)[:, None]], axis=1)[:, 1:]

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        """All positions of all sequences in one vectorised sweep."""
        width = self.counts.order - 1
        padded = [np.concatenate([np.full(width, -1), np.asarray(s, np.int64)]) for s in sequences]
        contexts = [
            np.lib.stride_tricks.sliding_window_view(p, width + 1)[first:] for p in padded if len(p) >= width + 1
        ]
        if not contexts:
            return [np.zeros(0) for _ in sequences]
        windows = np.concatenate(contexts)
        flat = self.counts.log_prob(windows[:, :-1], windows[:, -1])
        lengths = [max(0, len(s) - first) for s in sequences]
        return np.split(flat, np.cumsum(lengths)[:-1])


END_BYTE = 256
"""The end-of-text id of byte-level n-grams."""


def byte_ngram(texts: Sequence[str], *, order: int, name: str) -> NGramPredictor:
    """An n-gram over UTF-8 bytes with one end-of-text id, trained on whole texts."""
    documents = [np.append(np.frombuffer(t.encode(), np.uint8).astype(np.int64), END_BYTE) for t in texts]
    counts = NGramCounts(documents, order=order, n_tokens=257)
    return NGramPredictor(
        counts,
        name=name,
        encode=lambda text: list(text.encode()),
        token_bytes=lambda i: bytes([i]) if i < 256 else b"",
        end_ids=(END_BYTE,),
    )
