"""Sums that are wider than float32, on a device: in float64, or in pairs of float32 where it has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.predictors.observation import is_torch


def has_float64(device: Any) -> bool:
    """Whether a device computes in float64 at all."""
    return bool(device.type != "mps")


def where_float64_is(logits: Any) -> Any:
    """Logits as they are, or on the host where their device has no float64."""
    return logits.cpu() if is_torch(logits) and not has_float64(logits.device) else logits


def wide(device: Any) -> Float64Sums | PairSums:
    """How sums over blocks are carried on a device."""
    return Float64Sums(device) if has_float64(device) else PairSums(device)


class Float64Sums:
    """Sums over blocks in float64; a number is a tensor."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def uniforms(self, u: Float[np.ndarray, " rows"]) -> Any:
        import torch

        return torch.as_tensor(u, device=self.device)

    def scan(self, blocks: Any) -> Any:
        """Running sums of float32 numbers along the last axis."""
        return blocks.double().cumsum(-1)

    def total(self, blocks: Any) -> Any:
        return blocks.double().sum(-1)

    def times(self, u: Any, total: Any) -> Any:
        return u * total

    def at(self, held: Any, index: Any) -> Any:
        """Entries of a scan, one a row; index −1: zero."""
        import torch

        taken = torch.gather(held, 1, index.clamp(min=0)[:, None])[:, 0]
        return torch.where(index >= 0, taken, torch.zeros_like(taken))

    def not_above(self, held: Any, target: Any) -> Any:
        """Where entries of a scan are at most a number a row."""
        return held <= target[:, None]

    def less(self, target: Any, held: Any) -> Any:
        """A difference, float32."""
        return (target - held).float()

    def plus(self, held: Any, more: Any) -> Any:
        return held + more.double()

    def table(self, columns: list[Any]) -> Any:
        """Columns, numbers or float32, as one table."""
        import torch

        return torch.cat([(c if c.ndim == 2 else c[:, None]).double() for c in columns], dim=1)


class PairSums:
    """Sums over blocks in pairs of float32 (high, low), stacked in a last axis of two."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def uniforms(self, u: Float[np.ndarray, " rows"]) -> Any:
        import torch

        high = u.astype(np.float32)
        low = (u - high).astype(np.float32)
        return torch.as_tensor(np.stack([high, low], axis=-1), device=self.device)

    def scan(self, blocks: Any) -> Any:
        """Hillis & Steele (1986): log₂ n rounds, each adds what stands so many places before."""
        import torch

        held = torch.stack([blocks, torch.zeros_like(blocks)], dim=-1)
        reach = 1
        while reach < blocks.shape[-1]:
            moved = _sum_of_pairs(held[..., reach:, :], held[..., :-reach, :])
            held = torch.cat([held[..., :reach, :], moved], dim=-2)
            reach *= 2
        return held

    def total(self, blocks: Any) -> Any:
        return self.scan(blocks)[..., -1, :]

    def times(self, u: Any, total: Any) -> Any:
        high, low = _product(u[..., 0], total[..., 0])
        low = low + (u[..., 0] * total[..., 1] + u[..., 1] * total[..., 0])
        return _renormalised(high, low)

    def at(self, held: Any, index: Any) -> Any:
        import torch

        rows = torch.arange(len(index), device=index.device)
        taken = held[rows, index.clamp(min=0)]
        return torch.where((index >= 0)[:, None], taken, torch.zeros_like(taken))

    def not_above(self, held: Any, target: Any) -> Any:
        high, low = held[..., 0], held[..., 1]
        return (high < target[:, None, 0]) | ((high == target[:, None, 0]) & (low <= target[:, None, 1]))

    def less(self, target: Any, held: Any) -> Any:
        return _sum_of_pairs(target, -held).sum(-1)

    def plus(self, held: Any, more: Any) -> Any:
        import torch

        return _sum_of_pairs(held, torch.stack([more, torch.zeros_like(more)], dim=-1))

    def table(self, columns: list[Any]) -> Any:
        import torch

        out = []
        for column in columns:
            pair = (
                column if is_pair(column) else torch.stack([column.float(), torch.zeros_like(column.float())], dim=-1)
            )
            out.append(pair if pair.ndim == 3 else pair[:, None])
        return torch.cat(out, dim=1)


def is_pair(column: Any) -> bool:
    """Whether a column of numbers is one of pairs."""
    return bool(column.shape[-1] == 2 and column.ndim > 1)


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """A sum and what its rounding lost."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


def _renormalised(high: Any, low: Any) -> Any:
    import torch

    total = high + low
    return torch.stack([total, low - (total - high)], dim=-1)


def _sum_of_pairs(a: Any, b: Any) -> Any:
    high, low = _two_sum(a[..., 0], b[..., 0])
    return _renormalised(high, low + (a[..., 1] + b[..., 1]))


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """A product and what its rounding lost, by splitting each factor in halves of 12 bits."""
    high = a * b
    a1, a2 = _halves(a)
    b1, b2 = _halves(b)
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(x: Any) -> tuple[Any, Any]:
    big = x * 4097.0
    first = big - (big - x)
    return first, x - first
