"""Bounds on the entropy rate of a hidden Markov model, by enumeration."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError
from freerun.worlds.chain import row_entropy
from freerun.worlds.hmm import HiddenMarkovWorld


def entropy_rate_bounds(world: HiddenMarkovWorld, length: int = 10) -> tuple[float, float]:
    """H(X_L | X_1 … X_{L−1}, S_0) ≤ h ≤ H(X_L | X_1 … X_{L−1}) from the stationary start, by enumeration; both tend to h.

    Cover & Thomas 2006, theorem 4.5.1, for L = `length`.

    Raises:
        UsageError: a length below 1 or too many words.
    """
    n = world.n_tokens
    if length < 1 or n**length > 1 << 20:
        raise UsageError(f"length={length} gives {n}^{length} words; it must be at least 1 and give at most {1 << 20}")
    each = np.diag(world.stationary)  # each[w, s, j] = P(start in s, write w, now in j)
    forward = each[None]
    for _ in range(length - 1):
        forward = np.einsum("wsi,xij->wxsj", forward, world.matrices).reshape(-1, *each.shape)
    last = np.einsum("wsi,ix->wsx", forward, world.emission)
    known, unknown = last, last.sum(1)
    return _conditional_entropy(known), _conditional_entropy(unknown)


def _conditional_entropy(joint: Float[np.ndarray, "*context symbols"]) -> float:
    """H(symbol | context) of a joint law, nats."""
    weight = joint.sum(-1)
    rows = np.divide(joint, weight[..., None], out=np.zeros_like(joint), where=weight[..., None] > 0)
    return float((weight * row_entropy(rows)).sum())
