"""How far apart two engines are that compute one law."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineGap:
    """How far apart a server's and a checkpoint's log-probabilities of the same tokens are: the server's own text, scored by both."""

    n_tokens: int
    mean_absolute_nats: float
    root_mean_square_nats: float
    largest_nats: float | None
    """None: infinite."""
    most_nats: float
    """Two computations of one law differ by no more than this, root mean square; what lies beyond counts as another law."""

    @property
    def floor_nats(self) -> float:
        """What is granted to the engines' arithmetic, root mean square."""
        return min(self.root_mean_square_nats, self.most_nats)

    @property
    def beyond(self) -> bool:
        """Whether the two are farther apart than arithmetic explains."""
        return self.root_mean_square_nats > self.most_nats
