"""Finite chains: the law that stays, and the entropy of a row."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from freerun.errors import UsageError


def stationary_law(transitions: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """The law π with πP = π; exactly zero on states that are left for good.

    Raises:
        UsageError: there is more than one, because the chain falls apart.
    """
    n_parts, part = connected_components(csr_array((transitions > 0).astype(np.int8)), connection="strong")
    leaves = (transitions > 0) & (part[:, None] != part)
    closed = sorted(set(range(n_parts)) - set(part[leaves.any(1)]))
    if len(closed) > 1:
        raise UsageError(
            f"this chain falls into {len(closed)} parts that are never left: it has no single stationary law"
        )
    stays = np.flatnonzero(part == closed[0])
    inner = transitions[np.ix_(stays, stays)]
    system = np.vstack([inner.T - np.eye(len(stays)), np.ones(len(stays))])
    found = np.linalg.lstsq(system, np.append(np.zeros(len(stays)), 1.0), rcond=None)[0]
    law = np.zeros(len(transitions))
    law[stays] = np.maximum(found, 0)
    return law


def row_entropy(table: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows"]:
    """Entropy of the last axis, nats; 0 · ln 0 is 0."""
    table = np.asarray(table, np.float64)
    logs = np.log(table, out=np.zeros_like(table), where=table > 0)
    return np.asarray(-(table * logs).sum(-1))
