"""Linear layers whose weights lie in memory as the CPU's matrix product wants them.

A step of 64 rows multiplies each weight 64 times only, so reading and reordering the weights is a good part of its time. oneDNN
reorders them once here (`mkldnn::_reorder_linear_weight`, the operators that PyTorch's own compiler uses), float32 as before: sums
are taken in another order, nothing is rounded. Where PyTorch lacks the operators, layers stay as they are.
"""

from __future__ import annotations

import os
from typing import Any

import torch

_LEAST_WEIGHTS = 1 << 14
_TYPICAL_ROWS = 64
_TOLERANCE = 1e-4
"""Largest difference from the plain product that is put down to the order of sums, relative to the largest output."""


class PackedLinear(torch.nn.Module):
    """y = x Wᵀ + b with W [out, in] reordered; shapes as torch.nn.Linear."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)

    @property
    def weight(self) -> torch.Tensor:
        """[out, in], laid out plainly again: a copy."""
        return self._packed.to_dense()  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")  # type: ignore[no-any-return]


@torch.no_grad()
def pack_linears(model: Any) -> int:
    """Replace the large float32 CPU layers of a model in place; how many were. Weights that nothing else uses are let go.

    Each replaced layer is tried against the plain one first; FREERUN_PLAIN=1 leaves all as they are.
    """
    if os.environ.get("FREERUN_PLAIN") or not _operators():
        return 0
    n = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            found = _weight_and_bias(layer)
            if found is None:
                continue
            packed = PackedLinear(*found)
            if _same(packed, layer, found[0].shape[1]):
                setattr(parent, name, packed)
                n += 1
    return n


def _operators() -> bool:
    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _weight_and_bias(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """[out, in] and bias of a layer that can be packed: a plain Linear, or the Conv1D of GPT-2 (a Linear stored transposed)."""
    if type(layer) is torch.nn.Linear:
        weight = layer.weight
    elif type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):
        weight = layer.weight.t().contiguous()
    else:
        return None
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() < _LEAST_WEIGHTS:
        return None
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    return weight.detach(), None if layer.bias is None else layer.bias.detach()


def _same(packed: PackedLinear, plain: Any, width: int) -> bool:
    x = torch.linspace(-1, 1, 3 * width).reshape(1, 3, width)
    try:
        got, wanted = packed(x), plain(x)
    except RuntimeError:
        return False
    return bool((got - wanted).abs().max() <= _TOLERANCE * wanted.abs().max().clamp_min(1e-6))
