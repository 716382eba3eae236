"""Many tests at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError


def holm(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return Holm's (1979) adjusted p-values, of any shape: reject those at most alpha, and any is false with at most that chance.

    Raises DataError for values outside [0, 1].

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("p-values must lie between 0 and 1")
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    scaled = np.minimum(1.0, flat[order] * (flat.size - np.arange(flat.size)))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.maximum.accumulate(scaled) if flat.size else scaled
    return adjusted.reshape(p.shape)
