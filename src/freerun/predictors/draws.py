"""Randomness by counter: the draw for a token depends on the run's seed, its sequence and its position, and on nothing else.

So samples do not depend on batch size, order, resume or worker. Philox 4×64-10 (Salmon et al. 2011), 53-bit uniforms.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float, UInt64


def sequence_key(*parts: str | int) -> int:
    """A 64-bit key for one sequence from what names it.

    >>> sequence_key("doc 1", "free", 0) == sequence_key("doc 1", "free", 0)
    True
    """
    text = "\x1f".join(str(p) for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def uniforms(seed: int, key: int, length: int) -> Float[np.ndarray, " length"]:
    """The uniforms in [0, 1) of positions 0 to `length − 1` of one sequence; a longer call begins with the same values."""
    # arrays of uint64: NumPy turns a list that holds an integer above 2^63 into float64
    word = np.array([seed & (2**64 - 1), 0], np.uint64)
    bits = np.random.Philox(key=word, counter=np.array([0, 0, key, 0], np.uint64))
    raw: UInt64[np.ndarray, " length"] = np.asarray(bits.random_raw(length), np.uint64)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
