"""Conformal thresholds: how high a running statistic may rise before a document counts as suspect.

The threshold is the k-th largest of the running maxima of n real documents, k = ⌊α(n + 1)⌋; a new one, exchangeable with them,
passes it with probability ≤ α (Vovk, Gammerman & Shafer 2005, *Algorithmic Learning in a Random World*).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError


@dataclass(frozen=True)
class Threshold:
    """A conformal threshold: a new document's running maximum up to `armed_tokens` passes it with probability ≤ `alpha`."""

    value: float
    alpha: float
    armed_tokens: int
    n_documents: int
    rank: int
    """k: the threshold is the k-th largest maximum."""


def conformal_threshold(maxima: Float[np.ndarray, " documents"], *, alpha: float, armed_tokens: int) -> Threshold:
    """The k-th largest of the maxima, k = ⌊α(n + 1)⌋.

    Raises:
        UsageError: α < 1/(n + 1), with the number of documents that would do.
    """
    n = len(maxima)
    rank = math.floor(alpha * (n + 1) + 1e-9)
    if rank < 1:
        raise UsageError(
            f"alpha={alpha:g} needs at least {math.ceil(1 / alpha - 1e-9) - 1} calibration documents of {armed_tokens} "
            f"tokens or more, and there are {n}: raise alpha or documents, lower tokens, or give another corpus"
        )
    return Threshold(float(np.sort(maxima)[-rank]), alpha, armed_tokens, n, rank)
