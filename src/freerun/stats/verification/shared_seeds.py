"""Were sequences drawn with one and the same seed? Then their draws at a position go together, and tokens are not replicates.

U_t of different sequences are independent under any honest sampler. With common random numbers they are not: the same uniforms give
equal U_t, the same Gumbel noise gives U_t that go together where laws are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special


@dataclass(frozen=True)
class SharedSeeds:
    """Mean correlation of U_t between sequences at one position, and the one-sided p-value of "none" (normal limit)."""

    correlation: float
    p_value: float
    n_positions: int


def shared_seeds(
    u: Float[np.ndarray, " tokens"], sequence: Int[np.ndarray, " tokens"], position: Int[np.ndarray, " tokens"]
) -> SharedSeeds:
    """Sum over positions of z_i z_j for all pairs of sequences there, z = sqrt(12) (U − mean); the null variance counts pairs.

    The mean is that of all tokens, so that a law which shifts every U alike is not taken for a seed.

    >>> once = np.random.default_rng(0).random(40)
    >>> at = np.tile(np.arange(40), 3)
    >>> shared_seeds(np.tile(once, 3), np.repeat(np.arange(3), 40), at).p_value < 1e-6
    True
    """
    z = math.sqrt(12.0) * (u - u.mean()) if u.size else u
    n = int(position.max()) + 1 if position.size else 0
    count = np.bincount(position, minlength=n)
    together = np.square(np.bincount(position, z, n)) - np.bincount(position, np.square(z), n)
    pairs = float((count * (count - 1)).sum())
    if pairs == 0:
        return SharedSeeds(0.0, 1.0, 0)
    spread = math.sqrt(2.0 * pairs)
    return SharedSeeds(
        float(together.sum()) / pairs, float(special.ndtr(-float(together.sum()) / spread)), int((count > 1).sum())
    )
