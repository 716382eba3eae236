"""Hidden Markov models that emit on their transitions, and the small standard ones of computational mechanics.

`matrices[x, i, j] = P(emit x, go to j | i)`. The state of the predictor is the belief over hidden states (the forward filter);
before the first symbol it is the stationary law. Sources: Crutchfield & Feldman 2003, Chaos 13 (even, golden mean, RRXOR); Marzen &
Crutchfield 2017, arXiv:1702.08565 (Mess3); Shai et al. 2024, arXiv:2405.15943 (Mess3, Z1R, RRXOR as used there).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids
from freerun.predictors.entries import real
from freerun.worlds.base import World, WorldEntry, check_probability, digest, spec_name
from freerun.worlds.chain import row_entropy, stationary_law

Beliefs = Float[np.ndarray, "rows states"]


class HiddenMarkovWorld(World[np.ndarray]):
    """A process with hidden states. After a symbol that cannot come, what was before is forgotten: the belief is that after this
    symbol at the start of a text, or the initial one where it cannot come there either."""

    def __init__(
        self,
        matrices: Float[np.ndarray, "symbols states states"],
        *,
        name: str = "world/hmm",
        symbols: str = "abcdefghijklmnopqrstuvwxyz",
        states: Sequence[str] | None = None,
        initial: Float[np.ndarray, " states"] | None = None,
    ) -> None:
        matrices = np.asarray(matrices, np.float64)
        if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or not (matrices >= 0).all():
            raise UsageError("matrices must be probabilities of shape symbols × states × states")
        if len(matrices) > len(symbols):
            raise UsageError(f"matrices name {len(matrices)} symbols; at most {len(symbols)}")
        if not np.allclose(matrices.sum((0, 2)), 1, atol=1e-12):
            raise UsageError("the matrices of each state must sum to 1 over symbols and next states")
        n = matrices.shape[1]
        self.matrices = matrices
        self.emission = matrices.sum(2).T
        self.stationary = stationary_law(matrices.sum(0))
        self.initial = self.stationary if initial is None else np.asarray(initial, np.float64)
        if self.initial.shape != (n,) or not (self.initial >= 0).all() or not np.isclose(self.initial.sum(), 1):
            raise UsageError(f"initial must be a law over the {n} hidden states")
        self.sources = tuple(states) if states is not None else tuple(str(i) for i in range(n))
        given = () if initial is None else (self.initial,)
        super().__init__(name=name, fingerprint=digest("hmm", matrices, *given), symbols=symbols[: len(matrices)])

    def read(self, prefixes: Sequence[Ids]) -> Beliefs:
        belief = np.tile(self.initial, (len(prefixes), 1))
        lengths = np.array([len(p) for p in prefixes], np.int64)
        for t in range(int(lengths.max(initial=0))):
            alive = np.flatnonzero(lengths > t)
            belief[alive] = self.advance(belief[alive], np.array([prefixes[int(i)][t] for i in alive], np.int64))
        return belief

    def probabilities(self, state: Beliefs) -> Float[np.ndarray, "rows symbols"]:
        return np.asarray(np.einsum("ri,ix->rx", state, self.emission))

    def advance(self, state: Beliefs, ids: Int[np.ndarray, " rows"]) -> Beliefs:
        ids = np.asarray(ids, np.int64)
        joint = np.einsum("ri,rij->rj", state, self.matrices[ids])
        total = joint.sum(1)
        for row in np.flatnonzero(total <= 0):
            joint[row] = self.initial @ self.matrices[ids[row]]
            if joint[row].sum() <= 0:
                joint[row] = self.initial
            total[row] = joint[row].sum()
        return np.asarray(joint / total[:, None])

    # ---- what is exact ---------------------------------------------------------------------------------------------

    def posterior(self, ids: Ids) -> Float[np.ndarray, "tokens_1 sources"]:
        """The belief over hidden states after each number of symbols (forward filter)."""
        ids = self._checked(ids)
        belief = self.start([ids[:0]])
        out = [belief[0]]
        for t in range(len(ids)):
            if self.probabilities(belief)[0, ids[t]] <= 0:
                self._refuse_impossible(ids, t)
            belief = self.advance(belief, ids[t : t + 1])
            out.append(belief[0])
        return np.stack(out)

    @property
    def is_unifilar(self) -> bool:
        """Whether state and symbol determine the next state, in the states that recur."""
        recurrent = self.matrices[:, self.stationary > 0]
        return bool(((recurrent > 0).sum(2) <= 1).all())

    def entropy_rate(self) -> float | None:
        """−Σ π(s) Σ p ln p where the model is unifilar, else None."""
        return float(self.stationary @ row_entropy(self.emission)) if self.is_unifilar else None


# ---- the standard ones -----------------------------------------------------------------------------------------------


def _from_edges(
    kind: str, states: str, edges: Sequence[tuple[str, str, str, float]], **parameters: float
) -> HiddenMarkovWorld:
    """A binary model from (state, symbol, next state, probability); all parameters are probabilities."""
    for name, value in parameters.items():
        check_probability(name, value)
    matrices = np.zeros((2, len(states), len(states)))
    for here, symbol, there, p in edges:
        matrices["01".index(symbol), states.index(here), states.index(there)] = p
    return HiddenMarkovWorld(matrices, name=spec_name(kind, **parameters), symbols="01", states=tuple(states))


def even_process(p: float = 0.5) -> HiddenMarkovWorld:
    """Ones in blocks of even length: in A a 0 with probability p, else the first of two ones. No finite order holds it."""
    return _from_edges("even", "AB", [("A", "0", "A", p), ("A", "1", "B", 1 - p), ("B", "1", "A", 1)], p=p)


EVEN = WorldEntry(
    "even",
    "ones in blocks of even length: no finite order",
    even_process,
    (real("p", 0.5, "probability of a 0 where there may be one"),),
)


def golden_mean(p: float = 0.5) -> HiddenMarkovWorld:
    """No two ones in a row: in A a 0 with probability p; after a 1 always a 0. A chain of order 1."""
    return _from_edges("golden_mean", "AB", [("A", "0", "A", p), ("A", "1", "B", 1 - p), ("B", "0", "A", 1)], p=p)


GOLDEN_MEAN = WorldEntry(
    "golden_mean", "no two ones in a row", golden_mean, (real("p", 0.5, "probability of a 0 where there may be a 1"),)
)


def rrxor(p1: float = 0.5, p2: float = 0.5) -> HiddenMarkovWorld:
    """Random bit, random bit, their exclusive or, over and over; `p1`, `p2` are the probabilities of 0."""
    edges = [
        ("S", "0", "0", p1), ("S", "1", "1", 1 - p1),
        ("0", "0", "F", p2), ("0", "1", "T", 1 - p2),
        ("1", "0", "T", p2), ("1", "1", "F", 1 - p2),
        ("T", "1", "S", 1), ("F", "0", "S", 1),
    ]  # fmt: skip
    return _from_edges("rrxor", "S01TF", edges, p1=p1, p2=p2)


RRXOR = WorldEntry(
    "rrxor",
    "random bit, random bit, their exclusive or",
    rrxor,
    (real("p1", 0.5, "probability that the first is 0"), real("p2", 0.5, "probability that the second is 0")),
)


def z1r(p: float = 0.5) -> HiddenMarkovWorld:
    """Zero, one, random, over and over; the random bit is 1 with probability p."""
    edges = [("S", "0", "A", 1), ("A", "1", "B", 1), ("B", "0", "S", 1 - p), ("B", "1", "S", p)]
    return _from_edges("z1r", "SAB", edges, p=p)


Z1R = WorldEntry("z1r", "zero, one, random bit", z1r, (real("p", 0.5, "probability that the bit is 1"),))


def mess3(x: float = 0.15, a: float = 0.6) -> HiddenMarkovWorld:
    """Three states, each left for each other one with probability x; the state arrived at shows with probability a.

    T_s[i, j] = P(i → j) · P(s | j), the others shown with (1 − a)/2 each. Not unifilar: beliefs form a fractal.
    """
    if not 0 < x <= 0.5:
        raise UsageError(f"x={x} must lie in (0, 1/2]")
    check_probability("a", a, closed=True)
    move = np.where(np.eye(3) > 0, 1 - 2 * x, x)
    show = np.where(np.eye(3) > 0, a, (1 - a) / 2)
    matrices = np.einsum("ij,js->sij", move, show)
    return HiddenMarkovWorld(matrices, name=spec_name("mess3", x=x, a=a), symbols="abc", states=("A", "B", "C"))


MESS3 = WorldEntry(
    "mess3",
    "three sticky states seen through noise: beliefs form a fractal",
    mess3,
    (
        real("x", 0.15, "probability of each other state next"),
        real("a", 0.6, "probability that the state itself shows"),
    ),
)
