"""Finite-order Markov chains whose law is known exactly: a predictor and a corpus at once.

Entropy rate of a chain of order k: h = Σ_c π(c) H(p(·|c)), π the stationary law of the chain of k-tuples c (Cover & Thomas 2006,
theorem 4.2.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids
from freerun.predictors.entries import real, whole
from freerun.worlds.base import World, WorldEntry, digest
from freerun.worlds.chain import row_entropy, stationary_law

MOST_CONTEXTS = 1024
"""Most k-tuples of a chain: its stationary law is solved densely."""


class MarkovWorld(World[np.ndarray]):
    """A chain over n symbols: `transitions[c₁, …, c_k, j]` is the probability of j after the k symbols c, oldest first.

    `initial` is the law of the first k symbols together (shape n × … × n), the stationary one unless given. After a context that
    cannot occur the law is its row of the table; before k symbols are seen, and where they cannot begin a text, uniform.
    """

    def __init__(
        self,
        transitions: Float[np.ndarray, "*context n"],
        *,
        initial: Float[np.ndarray, "*context"] | None = None,
        name: str = "world/markov",
        symbols: str = "abcdefghijklmnopqrstuvwxyz",
    ) -> None:
        transitions = np.asarray(transitions, np.float64)
        n, order = len(transitions), transitions.ndim - 1
        if order < 1 or set(transitions.shape) != {n} or not 1 <= n <= len(symbols) or (transitions < 0).any():
            raise UsageError(f"transitions must be a square table of probabilities of at most {len(symbols)} symbols")
        if not np.allclose(transitions.sum(-1), 1, atol=1e-12):
            raise UsageError("every row of the transitions must sum to 1")
        if n**order > MOST_CONTEXTS:
            raise UsageError(
                f"transitions of order {order} over {n} symbols have {n**order} contexts; at most {MOST_CONTEXTS}"
            )
        self.transitions, self.order = transitions, order
        rows = transitions.reshape(n**order, n)
        begin = (
            stationary_law(lifted(transitions)).reshape((n,) * order) if initial is None else np.asarray(initial, float)
        )
        if begin.shape != (n,) * order or not (begin >= 0).all() or not np.isclose(begin.sum(), 1, atol=1e-9):
            raise UsageError(
                f"initial must be a law of the first {order} symbols, of shape {(n,) * order}, that sums to 1"
            )
        self.initial = begin
        super().__init__(name=name, fingerprint=digest("markov", rows, begin.reshape(-1, n)), symbols=symbols[:n])
        self._table = np.vstack([*(_conditional(begin, m) for m in range(order)), rows])
        self._offset = np.array([(n**m - 1) // (n - 1) if n > 1 else m for m in range(order + 1)])

    # ---- one step: a state is a row of `_table`, the contexts of 0, 1, … k symbols one after another --------------------

    def read(self, prefixes: Sequence[Ids]) -> Int[np.ndarray, " rows"]:
        out = np.zeros(len(prefixes), np.int64)
        for i, prefix in enumerate(prefixes):
            seen = prefix[-self.order :]
            powers = self.n_tokens ** np.arange(len(seen))[::-1]
            out[i] = self._offset[len(seen)] + seen @ powers
        return out

    def probabilities(self, state: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows symbols"]:
        return np.asarray(self._table[state])

    def advance(self, state: Int[np.ndarray, " rows"], ids: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        length = np.searchsorted(self._offset, state, side="right") - 1
        code = state - self._offset[length]
        full = length == self.order
        code = np.where(full, code % self.n_tokens ** (self.order - 1), code)
        return np.asarray(self._offset[np.where(full, length, length + 1)] + code * self.n_tokens + np.asarray(ids))

    def entropy_rate(self) -> float:
        """Nats per symbol.

        Raises:
            UsageError: the chain has more than one stationary law.
        """
        rows = self.transitions.reshape(-1, self.n_tokens)
        return float(stationary_law(lifted(self.transitions)) @ row_entropy(rows))


def lifted(transitions: Float[np.ndarray, "*context n"]) -> Float[np.ndarray, "contexts contexts"]:
    """The first-order chain of k-tuples: (c₁ … c_k) goes to (c₂ … c_k j) with probability p(j | c)."""
    n = transitions.shape[-1]
    rows = transitions.reshape(-1, n)
    contexts = np.arange(len(rows))
    table = np.zeros((len(rows), len(rows)))
    for j in range(n):
        table[contexts, contexts % (len(rows) // n) * n + j] = rows[:, j]
    return table


def _conditional(initial: Float[np.ndarray, "*context"], m: int) -> Float[np.ndarray, "contexts n"]:
    """p(symbol m | the m before it) at the start of a text; uniform after what cannot begin one."""
    n = len(initial)
    joint = initial.sum(axis=tuple(range(m + 1, initial.ndim))).reshape(-1, n)
    total = joint.sum(1, keepdims=True)
    out = np.full(joint.shape, 1 / n)
    # the law of the first symbol is kept as it was given, bit for bit
    np.divide(joint, total, out=out, where=total > 0) if m else np.copyto(out, joint)
    return out


def random_chain(n_symbols: int = 8, *, seed: int = 0, concentration: float = 0.3, order: int = 1) -> MarkovWorld:
    """A chain with Dirichlet rows."""
    if n_symbols < 1 or n_symbols > 26:
        raise UsageError(f"symbols={n_symbols}: a chain has at least 1 and at most 26 symbols")
    if order < 1 or n_symbols**order > MOST_CONTEXTS:
        raise UsageError(f"order={order} over {n_symbols} symbols: at least 1, and at most {MOST_CONTEXTS} contexts")
    if concentration < 0:
        raise UsageError(f"concentration={concentration} must be a number ≥ 0")
    if seed < 0:
        raise UsageError(f"seed={seed} must be a whole number ≥ 0")
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(n_symbols, concentration) + 1e-3, size=n_symbols**order)
    table = (table / table.sum(1, keepdims=True)).reshape((n_symbols,) * (order + 1))
    name = f"world/markov,symbols={n_symbols},seed={seed}"
    name += f",concentration={concentration!r}" if concentration != 0.3 else ""
    return MarkovWorld(table, name=name + (f",order={order}" if order != 1 else ""))


MARKOV = WorldEntry(
    "markov",
    "chain of an order with Dirichlet rows",
    lambda symbols, **others: random_chain(symbols, **others),
    (
        whole("symbols", 8, "letters"),
        whole("seed", 0, "draws the rows"),
        real("concentration", 0.3, "of the Dirichlet law: small for rows with few likely letters"),
        whole("order", 1, "letters that the next one depends on"),
    ),
)
