"""Linear layers whose weights lie in memory as the CPU's matrix product wants them.

A step of 64 rows multiplies each weight 64 times only, so reading and reordering the weights is a good part of its time. oneDNN
reorders them once here (`mkldnn::_reorder_linear_weight`, the operators that PyTorch's own compiler uses), in their own number
format: sums are taken in another order, nothing is rounded. On Intel's processors a step of one token a row goes through MKL's
packed product, which wants the number of rows beforehand: a second copy, laid out for the rows last met. Which product is taken
depends on shape, format and processor alone, never on what came before. Where PyTorch lacks the operators, layers stay as they are.
"""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

_LEAST_WEIGHTS = 1 << 14
_TYPICAL_ROWS = 64
_ROWS_OF_A_STEP = 32
"""Steps of a multiple of so many rows are worth a layout of their own."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest difference from the plain product that is put down to the order of sums, relative to the largest output."""


class PackedLinear(torch.nn.Module):
    """y = x Wᵀ + b with W [out, in] reordered; shapes as torch.nn.Linear."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)
        self._shape_only = weight.new_zeros(1).expand(weight.shape)  # what MKL's product asks for and does not read
        self._steps = weight.dtype == torch.float32 and _mkl_steps()
        self._rows = 0
        self._for_rows: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """[out, in], laid out plainly again: a copy."""
        return self._packed.to_dense()  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._steps and x.dim() == 3 and x.shape[1] == 1 and x.shape[0] % _ROWS_OF_A_STEP == 0 and x.shape[0]:
            return self._step(x)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")  # type: ignore[no-any-return]

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, 1, in] → [rows, 1, out] by MKL's product for so many rows."""
        rows = x.shape[0]
        if self._rows != rows:
            self._for_rows = torch.ops.mkl._mkl_reorder_linear_weight(self.weight, rows)
            self._rows = rows
        y = torch.ops.mkl._mkl_linear(x[:, 0], self._for_rows, self._shape_only, self._bias, rows)
        return y[:, None]  # type: ignore[no-any-return]


@torch.no_grad()
def pack_linears(model: Any) -> int:
    """Replace the large CPU layers of a model in place; how many were. Weights that nothing else uses are let go.

    Each replaced layer is tried against the plain one first; FREERUN_PLAIN=1 leaves all as they are.
    """
    if os.environ.get("FREERUN_PLAIN") or not _operators():
        return 0
    n = 0
    tried: dict[tuple[Any, ...], bool] = {}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            found = _weight_and_bias(layer)
            if found is None:
                continue
            packed = _packed(layer, *found, tried)
            if packed is not None:
                setattr(parent, name, packed)
                n += 1
    return n


def _operators() -> bool:
    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


@lru_cache(maxsize=1)
def _mkl_steps() -> bool:
    """Whether steps go through MKL: it is there, and the processor is one that it was written for."""
    return (
        bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
        and _intel()
        and all(hasattr(torch.ops.mkl, name) for name in ("_mkl_reorder_linear_weight", "_mkl_linear"))
    )


def _intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "GenuineIntel" in platform.processor()


def _weight_and_bias(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """[out, in] and bias of a layer that can be packed: a plain Linear, or the Conv1D of GPT-2 (a Linear stored transposed)."""
    if type(layer) is torch.nn.Linear:
        weight = layer.weight
    elif type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):
        weight = layer.weight.t().contiguous()
    else:
        return None
    if weight.device.type != "cpu" or weight.dtype not in _TOLERANCE or weight.numel() < _LEAST_WEIGHTS:
        return None
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    return weight.detach(), None if layer.bias is None else layer.bias.detach()


def _packed(
    plain: Any, weight: torch.Tensor, bias: torch.Tensor | None, tried: dict[tuple[Any, ...], bool]
) -> PackedLinear | None:
    """The layer with its weights reordered; None where this machine cannot, or where its product differs from the plain one.

    Products for steps are tried once a shape (`tried`): laying every layer out twice would double the time to load.
    """
    width = weight.shape[1]
    one = torch.linspace(-1, 1, 3 * width, dtype=weight.dtype).reshape(1, 3, width)
    try:
        packed = PackedLinear(weight, bias)
        if not _same(packed(one), plain(one)):
            return None
        shape = (*weight.shape, bias is None)
        if packed._steps and shape not in tried:
            step = torch.linspace(1, -1, _ROWS_OF_A_STEP * width, dtype=weight.dtype).reshape(-1, 1, width)
            tried[shape] = _same(packed(step), plain(step))
            packed._rows, packed._for_rows = 0, None
        packed._steps = packed._steps and tried[shape]
    except RuntimeError:
        return None
    return packed


def _same(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    apart, size = (got - wanted).abs().max().float(), wanted.abs().max().float()
    return bool(apart <= _TOLERANCE[wanted.dtype] * size.clamp_min(1e-6))
