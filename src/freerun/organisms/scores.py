"""Running self-scores: how much a text looks like the predictor's own, token by token, from its laws alone.

All are large where the predictor suspects itself, and −inf while too little has been read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Scored:
    """What the laws said of one token a row, nats; `reference_nats` is its log-probability under a reference, if there is one."""

    log_prob_nats: Float[np.ndarray, " rows"]
    entropy_nats: Float[np.ndarray, " rows"]
    varentropy_nats2: Float[np.ndarray, " rows"]
    reference_nats: Float[np.ndarray, " rows"] | None = None


@dataclass(frozen=True)
class RunningScore(ABC):
    """A statistic of the tokens so far; its memory is one line of numbers a row."""

    name: ClassVar[str]
    needs_reference: ClassVar[bool] = False
    span: int = 0
    """Tokens of its window, or before it counts."""

    @property
    def width(self) -> int:
        """Numbers to remember a row."""
        return 1

    def begin(self, n_rows: int) -> Float[np.ndarray, "rows width"]:
        """The memory of texts without a scored token."""
        return np.zeros((n_rows, self.width))

    @abstractmethod
    def push(self, memory: Float[np.ndarray, "rows width"], seen: Scored) -> Float[np.ndarray, "rows width"]:
        """The memory after one more token a row."""

    @abstractmethod
    def value(self, memory: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, " rows"]:
        """The score now."""

    def describe(self) -> str:
        """All that its values depend on, for the fingerprint."""
        return f"{self.name},{self.span}" if self.span else self.name


@dataclass(frozen=True)
class WindowedEntropy(RunningScore):
    """Mean entropy of the last `span` laws, nats.

    Sees predictors whose laws widen on their own text (the 135M model: 3.5 rising to 4.1 nats, 3.1 on real text); blind where
    they do not (270M), and on any exact world.
    """

    name: ClassVar[str] = "entropy"

    @property
    def width(self) -> int:
        return self.span

    def begin(self, n_rows: int) -> Float[np.ndarray, "rows width"]:
        return np.full((n_rows, self.span), np.nan)

    def push(self, memory: Float[np.ndarray, "rows width"], seen: Scored) -> Float[np.ndarray, "rows width"]:
        return np.concatenate([memory[:, 1:], seen.entropy_nats[:, None]], axis=1)

    def value(self, memory: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, " rows"]:
        mean = memory.sum(1) / self.span
        return np.where(np.isnan(mean), -np.inf, mean)


@dataclass(frozen=True)
class SurpriseScore(RunningScore):
    """−z, z = Σ(−ln q(x) − H)/√ΣV; −inf for the first `span` tokens.

    The predictor's own text has z near 0. Sees text on which it is overconfident (z rising); blind to a
    temperature-optimal predictor.
    """

    name: ClassVar[str] = "z"

    @property
    def width(self) -> int:
        return 3

    def push(self, memory: Float[np.ndarray, "rows width"], seen: Scored) -> Float[np.ndarray, "rows width"]:
        surprise = np.maximum(seen.log_prob_nats, -1e4)
        more = np.stack([-surprise - seen.entropy_nats, seen.varentropy_nats2, np.ones(len(memory))], axis=1)
        return np.asarray(memory + more)

    def value(self, memory: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, " rows"]:
        enough = (memory[:, 2] >= self.span) & (memory[:, 1] > 1e-9)
        return np.where(enough, -memory[:, 0] / np.sqrt(np.where(enough, memory[:, 1], 1.0)), -np.inf)


@dataclass(frozen=True)
class LikelihoodRatio(RunningScore):
    """Σ ln q(x) − ln r(x) against a reference r, nats: sees all that r knows better.

    On text that r wrote its exponential is a martingale, so it passes ln 1/α with probability ≤ α (Ville).
    """

    name: ClassVar[str] = "lr"
    needs_reference: ClassVar[bool] = True

    def push(self, memory: Float[np.ndarray, "rows width"], seen: Scored) -> Float[np.ndarray, "rows width"]:
        assert seen.reference_nats is not None
        floor = -1e4  # what one of the two holds impossible decides, but stays a number
        return np.asarray(
            memory + (np.maximum(seen.log_prob_nats, floor) - np.maximum(seen.reference_nats, floor))[:, None]
        )

    def value(self, memory: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, " rows"]:
        return memory[:, 0]
