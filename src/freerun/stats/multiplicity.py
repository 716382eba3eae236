"""Many tests at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control

from freerun.errors import DataError


def holm(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return Holm's (1979) adjusted p-values, of any shape: reject those at most alpha, and any is false with at most that chance.

    Raises DataError for values outside [0, 1].

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _checked(p_values)
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    adjusted = np.empty_like(flat)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, flat[order] * (flat.size - np.arange(flat.size))))
    return adjusted.reshape(p.shape)


def benjamini_yekutieli(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return Benjamini & Yekutieli's (2001) adjusted p-values: the false-discovery rate of rejecting those at most q is at most q.

    Holds under any dependence of the tests; the price is the factor 1 + 1/2 + … + 1/m.

    Raises DataError for values outside [0, 1].

    >>> benjamini_yekutieli(np.array([0.01, 0.5])).round(4).tolist()
    [0.03, 0.75]
    """
    p = _checked(p_values)
    return np.asarray(false_discovery_control(p.ravel(), method="by")).reshape(p.shape)


def _checked(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("p-values must lie between 0 and 1")
    return p
