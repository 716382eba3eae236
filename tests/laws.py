"""Laws for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from freerun.errors import UsageError
from freerun.predictors.law import Dense
from freerun.predictors.observation import host, log


def from_probs(probs: Any) -> Dense:
    """A law from probabilities, rows × vocabulary; rows that sum to less than 1 have the rest missing."""
    xp = array_namespace(probs)
    table = xp.astype(probs, xp.float64)
    missing = 1 - host(xp.sum(table, axis=1))
    tolerance = 1e-9 if probs.dtype == xp.float64 else 1e-5
    if (missing < -tolerance).any():
        raise UsageError(f"the probabilities of a row sum to {1 - missing.min():.9g}, more than 1")
    missing = np.where(missing > tolerance, missing, 0.0)
    logs = log(xp, table)
    return Dense(logs, missing=missing) if missing.any() else Dense(logs)
