"""A linear probe: how much of a posterior can be read off hidden states by one affine map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import xlogy

from freerun.errors import DataError

_RIDGE = 1e-3
_LEAST = 1e-4
"""Predicted probabilities below this are raised to it before they are taken for a law."""


@dataclass(frozen=True)
class Probe:
    """posterior ≈ (states − centre) / scale · weights + constant."""

    centre: Float[np.ndarray, " width"]
    scale: Float[np.ndarray, " width"]
    weights: Float[np.ndarray, "width sources"]
    constant: Float[np.ndarray, " sources"]

    def read(self, states: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows sources"]:
        """What the probe says of states; rows sum to 1, but may leave [0, 1]."""
        return np.asarray((states - self.centre) / self.scale @ self.weights + self.constant)


def fit_probe(states: Float[np.ndarray, "rows width"], posteriors: Float[np.ndarray, "rows sources"]) -> Probe:
    """Fit a probe by ridge regression of standardised states, its penalty a thousandth of the number of rows.

    Raises:
        DataError: fewer than two rows, or numbers of rows that differ.
    """
    if len(states) != len(posteriors) or len(states) < 2:
        raise DataError(f"a probe needs as many states as posteriors, at least 2: {len(states)} and {len(posteriors)}")
    centre, constant = states.mean(0), posteriors.mean(0)
    scale = states.std(0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    x = (states - centre) / scale
    gram = x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1])
    return Probe(centre, scale, np.linalg.solve(gram, x.T @ (posteriors - constant)), constant)


def explained(said: Float[np.ndarray, "rows sources"], posteriors: Float[np.ndarray, "rows sources"]) -> float:
    """Return R²: 1 − squared error over the variance of the posteriors, all sources together; NaN where nothing varies."""
    variance = float(np.square(posteriors - posteriors.mean(0)).sum())
    error = float(np.square(said - posteriors).sum())
    return 1.0 - error / variance if variance > 1e-12 else float("nan")


def divergence_nats(said: Float[np.ndarray, "rows sources"], posteriors: Float[np.ndarray, "rows sources"]) -> float:
    """Return the mean KL(posterior ‖ what the probe says), made a law by raising what is below 0.0001 to it."""
    law = np.maximum(said, _LEAST)
    law /= law.sum(1, keepdims=True)
    return float((xlogy(posteriors, posteriors) - posteriors * np.log(law)).sum(1).mean())
