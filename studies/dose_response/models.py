"""Graded models of one process, for the dose–response picture: each family worse by a dose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError
from freerun.organisms.wrapper import Reshaped
from freerun.predictors.base import Predictor
from freerun.predictors.law import Dense, Law
from freerun.specs.spec import load_predictor

GRIDS = {"int8": 127, "int6": 31, "int4": 7, "int3": 3}
"""Largest step of the grid on either side of zero, as for rounded weights (`organisms/rounding.py`)."""


@dataclass(frozen=True)
class Dose:
    """One model: which family, how much of it in words, and the spec that builds it; `grid` rounds its law on top."""

    family: str
    amount: str
    spec: str
    grid: str | None = None

    @property
    def model(self) -> str:
        """The spec, and what it does not say."""
        return self.spec if self.grid is None else f"{self.spec}, law rounded to {self.grid}"


class RoundedLaw(Reshaped):
    """Log-probabilities of every law on a coarse grid, renormalised: what storing them in few bits does.

    A grid of n levels a side is symmetric around 0 with a step of max|ln q|/n a row, as weights are rounded; `bf16` keeps 8 bits of
    each number's fraction.
    """

    def __init__(self, inner: Predictor, *, grid: str) -> None:
        if grid not in (*GRIDS, "bf16"):
            raise UsageError(f"no grid {grid!r}; there are {', '.join(GRIDS)} and bf16")
        super().__init__(inner, name=f"{inner.identity.name}, law rounded to {grid}", kind=f"rounded_law({grid})")
        self.grid = grid

    def _reshape(self, law: Law) -> Law:
        log_probs = law.log_probs()
        return Dense(in_bf16(log_probs) if self.grid == "bf16" else on_grid(log_probs, GRIDS[self.grid]))


def on_grid(log_probs: Float[np.ndarray, "rows vocabulary"], levels: int) -> Float[np.ndarray, "rows vocabulary"]:
    """Round each row to multiples of max|row|/levels.

    >>> on_grid(np.array([[-1.0, -0.4, -0.2]]), 2).tolist()
    [[-1.0, -0.5, 0.0]]
    """
    step = np.abs(log_probs).max(axis=1, keepdims=True) / levels
    step[step == 0] = 1.0
    return np.asarray(step * np.round(log_probs / step) + 0.0)


def in_bf16(values: Float[np.ndarray, "rows vocabulary"]) -> Float[np.ndarray, "rows vocabulary"]:
    """Round to bfloat16, ties to even.

    >>> in_bf16(np.array([[1.0, 1.001, 1.006]])).tolist()
    [[1.0, 1.0, 1.0078125]]
    """
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.asarray(rounded.astype(np.uint32).view(np.float32).astype(np.float64))


def build(dose: Dose) -> Predictor:
    """The model of a dose."""
    made = load_predictor(dose.spec)
    return made if dose.grid is None else RoundedLaw(made, grid=dose.grid)


def world_doses(world: str = "world/authors") -> tuple[Dose, ...]:
    """Graded models of one world: what `freerun audit SPEC world/…` would measure, one by one."""
    counted = f"{world}+ngram,corpus={world}"
    return (
        *(Dose("absorbing ε", f"ε = {e:g}", f"{world}+absorbing,epsilon={e}") for e in (0.1, 0.03, 0.01, 0.003)),
        *(
            Dose("temperature", f"t = {t:g}", f"{world}+temperature,t={t}")
            for t in (0.4, 0.6, 0.75, 0.85, 0.92, 1.1, 1.3, 1.7)
        ),
        *(Dose("n-gram", f"order {k}", f"{counted},order={k}") for k in (1, 2, 3, 4, 5)),
        *(
            Dose("n-gram", f"order 3, counted on {n} documents", f"{counted},order=3,documents={n},tokens=100")
            for n in (4, 16, 64)
        ),
        *(Dose("short window", f"{w} tokens", f"{world}+short_window,window={w}") for w in (1, 2, 4, 8, 16, 32)),
        *(Dose("rounded law", grid, world, grid) for grid in ("int3", "int4", "int6", "int8", "bf16")),
    )
