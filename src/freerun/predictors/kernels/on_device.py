"""The law's statistics where the logits are: on an accelerator, with nothing but a row of sums brought to the host.

Float64 is slow on most accelerators and absent on some, so exponentials are taken in float32 and summed in float32 within blocks
of `BLOCK` ids; sums over blocks run in float64, or, where a device has none, in pairs of float32 (Dekker 1971; Knuth 1997, 4.2.2).
Logarithms and quotients of the sums are taken on the host. `observation.observe_block` stays the definition: tests hold these
numbers against it, and `ERRORS` states how far they may be off.

Three ways to the same table of sums: a fused kernel where Triton is (`triton_sweep`), PyTorch's compiler on other accelerators,
plain PyTorch on those that it does not compile for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BrokenLaw
from freerun.predictors.kernels.fused import BROKEN as SAID
from freerun.predictors.kernels.sums import (
    ABOVE,
    BELOW,
    BLOCK,
    BROKEN,
    DEPTH,
    FIRST,
    LOOP,
    PEAK,
    RANK,
    SECOND,
    TOKEN,
    TOP,
    TOTAL,
)
from freerun.predictors.kernels.wide import Float64Sums, PairSums, is_pair, wide
from freerun.predictors.observation import BIN_WIDTH_NATS, N_BINS, POWERS, Observation

ERRORS = {
    "log_prob_nats": 5e-6,
    "top_log_prob_nats": 2e-6,
    "entropy_nats": 1e-5,
    "varentropy_nats2": 2e-4,
    "cdf_below": 1e-6,
    "mass_above": 1e-6,
    "log_power_sum": 1e-5,
    "loop_mass": 1e-6,
    "expected_counts": 1e-5,
}
"""Largest absolute errors against float64, for laws of up to 262,144 ids with logits within 50 of the largest."""
_TEMPORARIES = 12
"""Tables of rows × vocabulary in float32 that the plain way holds at once."""
_FEW_ELEMENTS, _MOST_ELEMENTS = 1 << 22, 1 << 27


def observe(
    logits: Any,
    ids: Int[np.ndarray, " rows"] | None,
    uniforms: Float[np.ndarray, " rows"] | None,
    watched: Int[np.ndarray, "rows k"] | None,
    *,
    scale: float = 1.0,
) -> Observation:
    """Observe one token a row of the laws softmax(scale · logits), as `fused.observe`; one transfer to the host.

    Raises:
        BackendError: logits that are NaN, or infinite upwards.
    """
    import torch

    where, n_rows = logits.device, logits.shape[0]
    chosen = np.full(n_rows, -1, np.int64) if ids is None else np.array(ids, np.int64)
    given = torch.as_tensor(chosen, device=where)
    u = wide(where).uniforms(np.zeros(n_rows) if uniforms is None else np.asarray(uniforms, np.float64))
    listed = None if watched is None or not watched.size else torch.as_tensor(np.array(watched, np.int64), device=where)
    step = rows_at_once(where, logits.shape[1])
    parts = [
        sums_of(
            logits[a : a + step],
            scale,
            given[a : a + step],
            u[a : a + step],
            None if listed is None else listed[a : a + step],
        )
        for a in range(0, n_rows, step)
    ]
    return observation_of(on_host(torch.cat(parts)))


def sums_of(logits: Any, scale: float, chosen: Any, uniforms: Any, watched: Any | None) -> Any:
    """The table of sums, rows × `N_SUMS`, float64 (or rows × `N_SUMS` × 2, the halves of pairs), on the logits' device.

    `chosen`: the token of each row, −1: to be drawn by `uniforms`. Nothing waits for the host.
    """
    table = _way(logits.device)(logits, scale, chosen, uniforms)
    if watched is not None:
        import torch

        held = torch.gather(logits, 1, watched.clamp(min=0)).float()
        peak = (table[:, PEAK, 0] if table.ndim == 3 else table[:, PEAK]).float()
        mass = torch.exp((held - peak[:, None]) * scale) * (watched >= 0)
        total = mass.sum(1)
        if table.ndim == 3:
            table[:, LOOP, 0] = total
        else:
            table[:, LOOP] = total.to(table.dtype)
    return table


def on_host(table: Any) -> Float[np.ndarray, "rows sums"]:
    """Sums in float64 where NumPy reads them."""
    held = table.cpu().numpy().astype(np.float64)
    return np.asarray(held.sum(axis=-1)) if held.ndim > 2 and held.shape[-1] == 2 else held


def observation_of(sums: Float[np.ndarray, "rows sums"]) -> Observation:
    """What records keep, from the sums. Raises BrokenLaw for a row that is not a law."""
    if sums[:, BROKEN].any() or not np.isfinite(sums[:, TOTAL]).all():
        raise BrokenLaw(SAID)
    total = sums[:, TOTAL]
    log_total = np.log(total)
    mean = sums[:, FIRST] / total
    log_prob = sums[:, DEPTH] - log_total
    powers = np.array([1.0 - p for p in POWERS])
    return Observation(
        token_id=sums[:, TOKEN].astype(np.int32),
        log_prob_nats=log_prob,
        entropy_nats=log_total - mean,
        varentropy_nats2=np.maximum(sums[:, SECOND] / total - mean * mean, 0.0),
        rank=sums[:, RANK].astype(np.int32) + 1,
        top_id=sums[:, TOP].astype(np.int32),
        top_log_prob_nats=-log_total,
        cdf_below=np.clip(sums[:, BELOW] / total, 0.0, 1.0),
        mass_above=np.clip(sums[:, ABOVE] / total, 0.0, 1.0),
        log_power_sum=np.log(sums[:, SECOND + 1 : BELOW]) - powers * log_total[:, None],
        loop_mass=sums[:, LOOP] / total,
        expected_counts=sums[:, LOOP + 1 :] / total[:, None],
    )


def rows_at_once(device: Any, n_tokens: int) -> int:
    """How many rows' temporaries a device holds easily."""
    import torch

    elements = _FEW_ELEMENTS
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        elements = max(_FEW_ELEMENTS, min(_MOST_ELEMENTS, free // (8 * 4 * _TEMPORARIES)))
    return max(1, elements // n_tokens)


@lru_cache(maxsize=4)
def _way(device: Any) -> Callable[[Any, float, Any, Any], Any]:
    """How sums are made on a device."""
    import torch

    plain = _sums_by_torch
    if device.type == "cuda" and find_spec("triton") is not None:
        from freerun.predictors.kernels.triton_sweep import sums_by_triton

        return sums_by_triton
    if device.type not in ("cpu", "mps"):
        return torch.compile(plain, dynamic=True)
    return plain


# ---- the sums, by PyTorch --------------------------------------------------------------------------------------------


def _sums_by_torch(logits: Any, scale: float, chosen: Any, uniforms: Any) -> Any:
    import torch

    sums = wide(logits.device)
    n_rows, n_tokens = logits.shape
    n_blocks = -(-n_tokens // BLOCK)
    x = torch.nn.functional.pad(logits.float(), (0, n_blocks * BLOCK - n_tokens), value=-torch.inf)
    peak = x.amax(1)
    broken = torch.isnan(x).any(1) | ~torch.isfinite(peak)
    places = torch.arange(x.shape[1], device=x.device)
    top = torch.where(x == peak[:, None], places, n_tokens - 1).amin(1)
    d = torch.nan_to_num((x - peak[:, None]) * scale, nan=-torch.inf).clamp(min=-700.0)
    possible = d > -700.0
    q = torch.exp(d) * possible
    eighth = torch.exp(d * 0.125) * possible
    quarter = eighth * eighth
    half = quarter * quarter

    def blocks(values: Any) -> Any:
        return values.view(n_rows, n_blocks, BLOCK).sum(-1)

    mass = blocks(q)
    held = sums.scan(mass)
    total = sums.total(mass)
    token = torch.where(chosen >= 0, chosen, _drawn(sums, q, held, sums.times(uniforms, total)))
    at_token = x.gather(1, token[:, None])
    ahead = (x > at_token) | ((x == at_token) & (places < token[:, None]))
    inside = token // BLOCK
    own = q.view(n_rows, n_blocks, BLOCK)[torch.arange(n_rows, device=x.device), inside]
    before = (own * (torch.arange(BLOCK, device=x.device) < (token % BLOCK)[:, None])).sum(1)
    log_total = torch.log(total[..., 0] if is_pair(total) else total).float()
    depth = (log_total[:, None] - d) * (1 / BIN_WIDTH_NATS)
    bins = torch.zeros((n_rows, n_blocks, N_BINS), dtype=torch.float32, device=x.device)
    bins.scatter_add_(
        2, depth.clamp(0, N_BINS - 1).long().view(n_rows, n_blocks, BLOCK), q.view(n_rows, n_blocks, BLOCK)
    )
    powers = (q * quarter, q * eighth, half * quarter * eighth, half * quarter, half)
    columns = [
        token,
        top,
        (x > at_token).sum(1),
        broken,
        peak,
        (at_token[:, 0] - peak) * scale,
        total,
        sums.total(blocks(q * d)),
        sums.total(blocks(q * d * d)),
        *(sums.total(blocks(p)) for p in powers),
        sums.plus(sums.at(held, inside - 1), before),
        sums.total(blocks(q * ahead)),
        torch.zeros_like(peak),
        sums.total(bins.transpose(1, 2)),
    ]
    return sums.table(columns)


def _drawn(sums: Float64Sums | PairSums, q: Any, held: Any, target: Any) -> Any:
    """The first id whose cumulative mass exceeds the target; the last possible one where rounding leaves none."""
    import torch

    n_rows, n_blocks = held.shape[:2]
    block = sums.not_above(held, target).sum(1).clamp(max=n_blocks - 1)
    rest = sums.less(target, sums.at(held, block - 1))
    inside = q.view(n_rows, n_blocks, BLOCK)[torch.arange(n_rows, device=q.device), block].cumsum(1)
    drawn = block * BLOCK + (inside <= rest[:, None]).sum(1)
    last = torch.where(q > 0, torch.arange(q.shape[1], device=q.device), 0).amax(1)
    return torch.minimum(drawn, last)
