"""Rounded weights, simulated: every output channel of every matrix on a symmetric grid, arithmetic as before."""

from __future__ import annotations

from typing import Any

LEVELS = {"int8": 127, "int4": 7, "int3": 3}
"""Largest step of the grid on either side of zero."""


def round_weights(model: Any, kind: str) -> None:
    """Round all weights of two or more dimensions of a torch model in place, w ← s·round(w/s), s = max|w|/levels per row.

    Embeddings count as matrices; biases and norms stay. Weights that two layers share are rounded once.
    """
    levels = LEVELS[kind]
    for weight in model.parameters():
        if weight.ndim < 2:
            continue
        table = weight.data.float().reshape(weight.shape[0], -1)
        step = table.abs().amax(dim=1, keepdim=True) / levels
        step[step == 0] = 1.0
        weight.data.copy_((step * (table / step).round()).reshape(weight.shape))
