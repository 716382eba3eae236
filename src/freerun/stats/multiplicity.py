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


def benjamini_hochberg(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return Benjamini & Hochberg's (1995) adjusted p-values: the false-discovery rate of rejecting those at most q is at most q.

    Holds for independent tests and for positive dependence (PRDS); see `benjamini_yekutieli` for any other.

    Raises DataError for values outside [0, 1].

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    return _stepped_up(p_values, 1.0)


def benjamini_yekutieli(p_values: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return Benjamini & Yekutieli's (2001) adjusted p-values: as `benjamini_hochberg`, under any dependence of the tests.

    The price is the factor 1 + 1/2 + … + 1/m.

    Raises DataError for values outside [0, 1].

    >>> benjamini_yekutieli(np.array([0.01, 0.5])).round(4).tolist()
    [0.03, 0.75]
    """
    return _stepped_up(p_values, float((1.0 / np.arange(1, np.size(p_values) + 1)).sum()))


def _stepped_up(p_values: Float[np.ndarray, " ..."], factor: float) -> Float[np.ndarray, " ..."]:
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("p-values must lie between 0 and 1")
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] * factor * flat.size / np.arange(1, flat.size + 1)
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted.reshape(p.shape)
