"""Statistics in float32 on a device against float64 on the host.

The device is the processor here; `make gpu` runs these on a card.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float

from freerun.errors import BrokenLaw
from freerun.predictors.kernels import on_device, wide
from freerun.predictors.law import Dense
from freerun.predictors.observation import Observation
from tests.accelerator import DEVICE

ROWS = 24


def logits_of(n_tokens: int, seed: int = 0, spread: float = 3.0) -> Float[np.ndarray, "rows vocabulary"]:
    """Like a language model's: a few ids high, a long tail, some ties, some ids impossible."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, spread, (ROWS, n_tokens)).astype(np.float32)
    logits[:, :20] += rng.gumbel(8.0, 4.0, (ROWS, 20)).astype(np.float32)
    logits[::3] = np.round(logits[::3] * 8) / 8
    logits[1::4, 5:50] = -np.inf
    return logits


def truth(logits: np.ndarray, *args: Any) -> Observation:
    return Dense(logits.astype(np.float64))._observed(*args)


def on(logits: np.ndarray) -> Any:
    return torch.as_tensor(logits, device=DEVICE)


def watched_ids(n_tokens: int) -> np.ndarray:
    out = np.full((ROWS, 4), -1, np.int64)
    out[::2, 0], out[::2, 2] = 3, n_tokens - 1
    return out


@pytest.fixture(params=["float64 between blocks", "pairs of float32"])
def sums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pairs of float32":
        monkeypatch.setattr(wide, "has_float64", lambda device: False)
        monkeypatch.setattr(on_device, "_way", lambda device: on_device._sums_by_torch)
    return str(request.param)


def check(seen: Observation, right: Observation) -> None:
    assert seen.token_id.tolist() == right.token_id.tolist()
    assert seen.top_id.tolist() == right.top_id.tolist()
    assert seen.rank.tolist() == right.rank.tolist()
    for name, most in on_device.ERRORS.items():
        mine, theirs = getattr(seen, name), getattr(right, name)
        assert np.array_equal(np.isfinite(mine), np.isfinite(theirs)), name
        known = np.isfinite(theirs)
        assert np.abs(mine[known] - theirs[known]).max(initial=0.0) <= most, name


@pytest.mark.parametrize("n_tokens", [1024, 1500, 50_257, 151_936])
def test_statistics_equal_float64_within_the_stated_errors(n_tokens: int, sums: str) -> None:
    logits = logits_of(n_tokens)
    ids = np.random.default_rng(1).integers(0, n_tokens, ROWS)
    ids[:8] = np.arange(8)
    watched = watched_ids(n_tokens)
    check(on_device.observe(on(logits), ids, None, watched), truth(logits, ids, None, watched))


def test_a_scale_is_a_temperature(sums: str) -> None:
    logits, ids = logits_of(4096), np.arange(ROWS) * 150
    check(on_device.observe(on(logits), ids, None, None, scale=0.5), truth(logits * np.float32(0.5), ids, None, None))


@pytest.mark.parametrize("n_tokens", [1500, 151_936])
def test_draws_are_those_of_float64_but_at_edges(n_tokens: int, sums: str) -> None:
    """A draw may differ where the uniform lies within rounding of an edge between two ids."""
    logits = np.repeat(logits_of(n_tokens), 40, axis=0)
    u = np.random.default_rng(2).random(len(logits))
    u[:3] = 0.0, 1.0 - 2.0**-53, 2.0**-40
    seen, right = on_device.observe(on(logits), None, u, None), truth(logits, None, u, None)
    away = np.flatnonzero(seen.token_id != right.token_id)
    assert len(away) <= 4
    for i in away:
        edge = right.cdf_below[i] + np.array([0.0, np.exp(right.log_prob_nats[i])])
        assert np.abs(edge - u[i]).min() < 2e-7
    assert np.isfinite(seen.log_prob_nats).all()  # never a token that cannot come
    inside = (seen.cdf_below - 2e-7 <= u) & (u <= seen.cdf_below + np.exp(seen.log_prob_nats) + 2e-7)
    assert inside.all()


def test_given_and_drawn_rows_together(sums: str) -> None:
    logits = logits_of(2048)
    ids = np.where(np.arange(ROWS) % 2 == 0, 7, -1)
    u = np.random.default_rng(3).random(ROWS)
    check(on_device.observe(on(logits), ids, u, None), truth(logits, ids, u, None))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_logits_are_read_as_they_are(dtype: str) -> None:
    narrow = on(logits_of(5000)).to(getattr(torch, dtype))
    ids = np.arange(ROWS)
    as_float32 = narrow.float().cpu().numpy()
    check(on_device.observe(narrow, ids, None, None), truth(as_float32, ids, None, None))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_row_is_an_error(bad: float, sums: str) -> None:
    logits = logits_of(2000)
    logits[5, 1234] = bad
    with pytest.raises(BrokenLaw, match="NaN or infinite"):
        on_device.observe(on(logits), np.zeros(ROWS, np.int64), None, None)


def test_rows_are_cut_into_what_a_device_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ids = logits_of(3000), np.arange(ROWS)
    whole = on_device.observe(on(logits), ids, None, None)
    monkeypatch.setattr(on_device, "rows_at_once", lambda device, n_tokens: 5)
    cut = on_device.observe(on(logits), ids, None, None)
    assert whole.log_prob_nats.tolist() == cut.log_prob_nats.tolist()
    assert whole.expected_counts.tolist() == cut.expected_counts.tolist()


def test_pairs_hold_what_float32_loses() -> None:
    """Running sums of a million like numbers, and a product, against integers and 60-digit arithmetic."""
    pairs = wide.PairSums(torch.device(DEVICE))
    blocks = torch.full((1, 4096), 1.0 / 3.0, dtype=torch.float32, device=DEVICE)
    third = float(np.float32(1.0 / 3.0))
    held = pairs.scan(blocks)[0].cpu().numpy().astype(np.float64).sum(-1)
    right = third * np.arange(1, 4097)
    assert np.abs(held / right - 1).max() < 1e-13
    assert (
        np.abs(np.cumsum(blocks[0].cpu().numpy(), dtype=np.float32) / right - 1).max() > 1e-7
    )  # what plain float32 does
    u = np.random.default_rng(4).random(100)
    total = pairs.scan(blocks)[:, -1].expand(100, 2)
    product = pairs.times(pairs.uniforms(u), total).cpu().numpy().astype(np.float64).sum(-1)
    assert np.abs(product / (u * right[-1]) - 1).max() < 1e-13
