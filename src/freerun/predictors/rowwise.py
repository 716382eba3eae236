"""States that are made of rows: taken, joined and counted by one mechanism, whatever a predictor keeps of its contexts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Ids
from freerun.predictors.law import Law
from freerun.predictors.stepwise import StateT, Stepwise


class Part(ABC):
    """A piece of a state that is not a plain array or list, and takes and joins its rows itself."""

    @abstractmethod
    def select(self, rows: Int[np.ndarray, " taken"]) -> Self: ...

    @abstractmethod
    def join(self, others: Sequence[Self]) -> Self:
        """Its rows, then those of the others."""

    @property
    @abstractmethod
    def nbytes(self) -> int: ...


@dataclass(frozen=True)
class Inside(Part):
    """The state of a predictor inside another one."""

    predictor: Stepwise[Any]
    state: Any

    @staticmethod
    def start(predictor: Stepwise[Any], prefixes: Sequence[Ids]) -> Inside:
        return Inside(predictor, predictor.start(prefixes))

    def law(self) -> Law:
        return self.predictor.law(self.state)

    def advance(self, ids: Int[np.ndarray, " rows"]) -> Inside:
        return Inside(self.predictor, self.predictor.advance(self.state, ids))

    def select(self, rows: Int[np.ndarray, " taken"]) -> Inside:
        return Inside(self.predictor, self.predictor.select(self.state, rows))

    def join(self, others: Sequence[Inside]) -> Inside:
        return Inside(self.predictor, self.predictor.join([self.state, *(s.state for s in others)])) if others else self

    @property
    def nbytes(self) -> int:
        return self.predictor.nbytes(self.state)


class Rowwise(Stepwise[StateT]):
    """States of arrays and lists with an entry a row, of `Part`s, and of tuples and dataclasses of these (None: nothing there)."""

    def select(self, state: StateT, rows: Int[np.ndarray, " taken"]) -> StateT:
        return _select(state, np.asarray(rows, np.int64))  # type: ignore[no-any-return]

    def join(self, states: Sequence[StateT]) -> StateT:
        return _join(list(states))  # type: ignore[no-any-return]

    def nbytes(self, state: StateT) -> int:
        sizes: list[int] = []
        _map(state, lambda leaf: sizes.append(_leaf_bytes(leaf)))
        return sum(sizes)


def _map(state: Any, leaf: Callable[[Any], Any]) -> Any:
    """The state with every array, list and part replaced by what `leaf` makes of it."""
    if state is None:
        return None
    if isinstance(state, (Part, np.ndarray, list)):
        return leaf(state)
    if isinstance(state, tuple):
        return tuple(_map(piece, leaf) for piece in state)
    assert is_dataclass(state), f"a state of {type(state).__name__}"
    make: Callable[..., Any] = type(state)
    return make(*(_map(getattr(state, f.name), leaf) for f in fields(state)))


def _select(state: Any, rows: Int[np.ndarray, " taken"]) -> Any:
    def take(leaf: Any) -> Any:
        if isinstance(leaf, Part):
            return leaf.select(rows)
        return [leaf[r] for r in rows.tolist()] if isinstance(leaf, list) else leaf[rows]

    return _map(state, take)


def _join(states: list[Any]) -> Any:
    first = states[0]
    if first is None:
        return None
    if isinstance(first, Part):
        return first.join(states[1:])
    if isinstance(first, np.ndarray):
        return np.concatenate(states)
    if isinstance(first, list):
        return [row for state in states for row in state]
    if isinstance(first, tuple):
        return tuple(_join(list(pieces)) for pieces in zip(*states, strict=True))
    return type(first)(*(_join([getattr(s, f.name) for s in states]) for f in fields(first)))


def _leaf_bytes(leaf: Any) -> int:
    return (
        sum(x.nbytes if isinstance(x, np.ndarray) else 8 * len(x) for x in leaf)
        if isinstance(leaf, list)
        else leaf.nbytes
    )
