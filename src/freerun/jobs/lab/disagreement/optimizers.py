"""The optimizers: AdamW, stochastic gradients with momentum, and Muon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from freerun.errors import UsageError, nearest
from freerun.jobs.lab.disagreement.blocks import Network

_COEFFICIENTS = ((3.4445, -4.7750, 2.0315),) * 5
_MOMENTUM = 0.95


def orthogonalised(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return about UVᵀ of the matrix USVᵀ: all singular values between 0.7 and 1.2 (Jordan et al. 2024, *Muon*).

    Five Newton–Schulz steps of the odd polynomial ax + bx³ + cx⁵, whose slope at 0 lifts small singular values fast.
    """
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for a, b, c in _COEFFICIENTS:
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, for matrices between hidden states; the rest goes by AdamW."""

    def __init__(self, matrices: Iterable[Tensor], rest: Iterable[Tensor], *, rate: float, rest_rate: float) -> None:
        super().__init__(list(matrices), {"lr": rate})
        self.rest = torch.optim.AdamW(list(rest), lr=rest_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.rest_scale = rest_rate / rate

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all parameters; Nesterov momentum, and a step whose size does not depend on the matrix's shape."""
        for group in self.param_groups:
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - _MOMENTUM)
                step = orthogonalised(p.grad.lerp(momentum, _MOMENTUM))
                p.add_(step, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        for group in self.rest.param_groups:
            group["lr"] = self.param_groups[0]["lr"] * self.rest_scale
        self.rest.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self.rest.zero_grad(set_to_none)


def _adamw(network: Network, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)


def _sgd(network: Network, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True)


def _muon(network: Network, rate: float) -> torch.optim.Optimizer:
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, p in network.named_parameters():
        inside = name.startswith("blocks.") and p.ndim == 2 and "convolution" not in name and "decay" not in name
        (matrices if inside else rest).append(p)
    return Muon(matrices, rest, rate=rate, rest_rate=rate / 5)


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer that can be named, and its greatest learning rate."""

    meaning: str
    rate: float
    build: Callable[[Network, float], torch.optim.Optimizer]


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "adamw": OptimizerEntry("AdamW (Loshchilov & Hutter 2019)", 3e-3, _adamw),
    "sgd": OptimizerEntry("stochastic gradients with Nesterov momentum 0.9", 0.3, _sgd),
    "muon": OptimizerEntry("Muon for the matrices of the blocks, AdamW for the rest (Jordan et al. 2024)", 0.02, _muon),
}


def build_optimizer(name: str, network: Network) -> torch.optim.Optimizer:
    """An optimizer of all parameters of a network.

    Raises:
        UsageError: no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"no optimizer {name!r}{nearest(name, OPTIMIZERS)}; there are {', '.join(OPTIMIZERS)}")
    entry = OPTIMIZERS[name]
    return entry.build(network, entry.rate)
