# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-not-found,import-untyped,operator,attr-defined"
"""The sums of `on_device` in one fused kernel, one program a row.

Only this module imports Triton, which comes with PyTorch for cards.

A row is read four times, from the card's cache after the first: its largest logit; the sums; the place of the draw; what stands
around the token. Sums over a block of ids run in float32, those over blocks in float64. Every number is made by one program in one
order, so that the same logits give the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from freerun.predictors.kernels.sums import BLOCK, N_SUMS
from freerun.predictors.observation import N_BINS

_LANES = 128
_WARPS = 8


def sums_by_triton(logits: Any, scale: float, chosen: Any, uniforms: Any) -> Any:
    """As `on_device.sums_of`: rows × `N_SUMS`, float64."""
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    n_rows, n_tokens = logits.shape
    out = torch.zeros((n_rows, N_SUMS), dtype=torch.float64, device=logits.device)
    _sweep[(n_rows,)](
        logits,
        logits.stride(0),
        n_tokens,
        scale,
        chosen,
        uniforms,
        out,
        BLOCK=BLOCK,
        LANES=_LANES,
        BINS=N_BINS,
        WIDTH=N_SUMS,
        BINS_UP=triton.next_power_of_2(N_BINS),
        num_warps=_WARPS,
    )
    return out


@triton.jit
def _sweep(
    logits,
    stride,
    n_tokens,
    scale,
    chosen,
    uniforms,
    out,
    BLOCK: tl.constexpr,
    LANES: tl.constexpr,
    BINS: tl.constexpr,
    WIDTH: tl.constexpr,
    BINS_UP: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_at = logits + row * stride
    places = tl.arange(0, BLOCK)

    peak = -float("inf")
    unlike = 0
    for start in range(0, n_tokens, BLOCK):
        x = tl.load(x_at + start + places, mask=start + places < n_tokens, other=-float("inf")).to(tl.float32)
        unlike += tl.sum((x != x).to(tl.int32), axis=0)
        peak = tl.maximum(peak, tl.max(tl.where(x == x, x, -float("inf")), axis=0))
    broken = (unlike > 0) | (peak == float("inf")) | (peak == -float("inf"))
    safe = tl.where(broken, 0.0, peak)

    zero = tl.zeros((1,), tl.float64)
    s0, s1, s2 = zero, zero, zero
    p0, p1, p2, p3, p4 = zero, zero, zero, zero, zero
    top = n_tokens - 1
    last = 0
    for start in range(0, n_tokens, BLOCK):
        at = start + places
        x = tl.load(x_at + at, mask=at < n_tokens, other=-float("inf")).to(tl.float32)
        d = (x - safe) * scale
        possible = d > -700.0
        d = tl.where(possible, d, -700.0)
        q = tl.where(possible, tl.exp(d), 0.0)
        e = tl.where(possible, tl.exp(d * 0.125), 0.0)
        e2 = e * e
        e4 = e2 * e2
        s0 += tl.sum(q, axis=0).to(tl.float64)
        s1 += tl.sum(q * d, axis=0).to(tl.float64)
        s2 += tl.sum(q * d * d, axis=0).to(tl.float64)
        p0 += tl.sum(q * e2, axis=0).to(tl.float64)
        p1 += tl.sum(q * e, axis=0).to(tl.float64)
        p2 += tl.sum(e4 * e2 * e, axis=0).to(tl.float64)
        p3 += tl.sum(e4 * e2, axis=0).to(tl.float64)
        p4 += tl.sum(e4, axis=0).to(tl.float64)
        top = tl.minimum(top, tl.min(tl.where(x == peak, at, n_tokens - 1), axis=0))
        last = tl.maximum(last, tl.max(tl.where(q > 0, at, 0), axis=0))
    log_total = tl.log(tl.sum(s0, axis=0)).to(tl.float32)

    token = tl.load(chosen + row).to(tl.int32)
    if token < 0:
        target = tl.load(uniforms + row).to(tl.float64) * tl.sum(s0, axis=0)
        held = tl.sum(zero, axis=0)
        drawn = n_tokens
        for start in range(0, n_tokens, BLOCK):
            at = start + places
            x = tl.load(x_at + at, mask=at < n_tokens, other=-float("inf")).to(tl.float32)
            d = (x - safe) * scale
            q = tl.where(d > -700.0, tl.exp(tl.where(d > -700.0, d, -700.0)), 0.0)
            more = tl.sum(q, axis=0).to(tl.float64)
            rest = (target - held).to(tl.float32)
            here = start + tl.sum((tl.cumsum(q, axis=0) <= rest).to(tl.int32), axis=0)
            drawn = tl.where((drawn == n_tokens) & (held + more > target), here, drawn)
            held += more
        token = tl.minimum(drawn, last)

    x_token = tl.load(x_at + token).to(tl.float32)
    small = tl.arange(0, LANES)
    bin_of = tl.arange(0, BINS_UP)
    below, above = zero, zero
    rank = 0
    bins = tl.zeros((BINS_UP, LANES), tl.float32)
    for start in range(0, n_tokens, LANES):
        at = start + small
        inside = at < n_tokens
        x = tl.load(x_at + at, mask=inside, other=-float("inf")).to(tl.float32)
        d = (x - safe) * scale
        possible = d > -700.0
        d = tl.where(possible, d, -700.0)
        q = tl.where(possible, tl.exp(d), 0.0)
        ahead = (x > x_token) | ((x == x_token) & (at < token))
        below += tl.sum(tl.where(at < token, q, 0.0), axis=0).to(tl.float64)
        above += tl.sum(tl.where(ahead, q, 0.0), axis=0).to(tl.float64)
        rank += tl.sum(((x > x_token) & inside).to(tl.int32), axis=0)
        depth = tl.minimum(tl.maximum((log_total - d) * 2.0, 0.0), BINS - 1.0).to(tl.int32)
        bins += tl.where(depth[None, :] == bin_of[:, None], q[None, :], 0.0)

    to = out + row * WIDTH
    tl.store(to + 0, token.to(tl.float64))
    tl.store(to + 1, top.to(tl.float64))
    tl.store(to + 2, rank.to(tl.float64))
    tl.store(to + 3, tl.where(broken, 1.0, 0.0))
    tl.store(to + 4, safe.to(tl.float64))
    tl.store(to + 5, ((x_token - safe) * scale).to(tl.float64))
    tl.store(to + 6, tl.sum(s0, axis=0))
    tl.store(to + 7, tl.sum(s1, axis=0))
    tl.store(to + 8, tl.sum(s2, axis=0))
    tl.store(to + 9, tl.sum(p0, axis=0))
    tl.store(to + 10, tl.sum(p1, axis=0))
    tl.store(to + 11, tl.sum(p2, axis=0))
    tl.store(to + 12, tl.sum(p3, axis=0))
    tl.store(to + 13, tl.sum(p4, axis=0))
    tl.store(to + 14, tl.sum(below, axis=0))
    tl.store(to + 15, tl.sum(above, axis=0))
    tl.store(to + 17 + bin_of, tl.sum(bins, axis=1).to(tl.float64), mask=bin_of < BINS)
