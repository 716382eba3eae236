"""Layers with reordered weights give what plain ones give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from freerun.predictors.huggingface import load_pretrained
from freerun.predictors.kernels.packed import PackedLinear, pack_linears
from freerun.predictors.rules import Identity


class Two(torch.nn.Module):
    """A wide linear layer, one of GPT-2's kind, a narrow one, and one of another class."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide = torch.nn.Linear(300, 500, bias=True)
        self.conv = Conv1D(500, 300)
        self.narrow = torch.nn.Linear(4, 4)
        self.other = type("Own", (torch.nn.Linear,), {})(300, 500)


@pytest.mark.parametrize("rows", [1, 3, 64, 257])
def test_outputs_agree(rows: int) -> None:
    plain, packed = Two().eval(), Two().eval()
    assert pack_linears(packed) == 2
    x = torch.randn(2, rows, 300)
    with torch.inference_mode():
        for name in ("wide", "conv"):
            assert isinstance(getattr(packed, name), PackedLinear)
            assert (getattr(packed, name)(x) - getattr(plain, name)(x)).abs().max() < 1e-4
        assert torch.equal(packed.wide.weight, plain.wide.weight)


def test_small_layers_and_other_classes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Two()
    pack_linears(model)
    assert type(model.narrow) is torch.nn.Linear
    assert type(model.other).__name__ == "Own"
    monkeypatch.setenv("FREERUN_PLAIN", "1")
    assert pack_linears(Two()) == 0


def test_bf16_agrees_and_float16_stays() -> None:
    plain, packed = Two().eval().to(torch.bfloat16), Two().eval().to(torch.bfloat16)
    if pack_linears(packed):  # where oneDNN has kernels for it
        x = torch.randn(2, 64, 300).to(torch.bfloat16)
        with torch.inference_mode():
            got, wanted = packed.wide(x), plain.wide(x)
        assert (got - wanted).abs().max() < 0.02 * wanted.abs().max()
    assert pack_linears(Two().to(torch.float16)) == 0


@pytest.mark.parametrize("intel", [True, False])
def test_a_step_says_what_the_plain_layer_says_whatever_came_before(
    intel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One token a row, in every layout that a step may take; a layout made for other rows must leave no trace."""
    if intel and not torch.backends.mkl.is_available():
        pytest.skip("this PyTorch has no MKL")
    monkeypatch.setattr("freerun.predictors.kernels.packed._mkl_steps", lambda: intel)
    plain, packed, fresh = Two().eval(), Two().eval(), Two().eval()
    pack_linears(packed)
    pack_linears(fresh)
    assert packed.wide._steps is intel
    inputs = {rows: torch.randn(rows, 1, 300) for rows in (64, 1, 33, 32, 0, 128)}
    with torch.inference_mode():
        for name in ("wide", "conv"):
            for rows in (64, 1, 33, 64, 32, 0, 128, 64):
                x = inputs[rows]
                got = getattr(packed, name)(x)
                assert got.shape == (rows, 1, 500)
                torch.testing.assert_close(got, getattr(plain, name)(x), atol=1e-4, rtol=0)
                if rows == 64:
                    assert torch.equal(got, getattr(fresh, name)(x))


def test_a_step_whose_product_would_differ_takes_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.predictors.kernels.packed._mkl_steps", lambda: True)
    monkeypatch.setattr(PackedLinear, "_step", lambda self, x: torch.zeros(*x.shape[:-1], self.out_features))
    plain, packed = Two().eval(), Two().eval()
    assert pack_linears(packed) == 2
    x = torch.randn(64, 1, 300)
    with torch.inference_mode():
        torch.testing.assert_close(packed.wide(x), plain.wide(x), atol=1e-4, rtol=0)


def test_a_layer_whose_product_would_differ_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(*x.shape[:-1], self.out_features))
    assert pack_linears(Two()) == 0


def test_a_packed_model_says_what_the_plain_one_says(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.predictors.kernels.packed._LEAST_WEIGHTS", 1)
    plain, packed = (load_pretrained(str(llama_folder), identity=Identity("x", "x"), lead=(1,)) for _ in range(2))
    packed.pack()
    left = [m for m in packed.model.modules() if type(m) is torch.nn.Linear]
    assert not left
    assert isinstance(packed.model.get_output_embeddings(), PackedLinear)  # which was listened to
    ids = [np.arange(3, 40) % 60, np.arange(5, 20) % 50]
    for a, b in zip(plain.log_probs(ids), packed.log_probs(ids), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    scored = [np.concatenate([c.hidden for c in p.score(ids)]) for p in (plain, packed) if p.capabilities.embed]
    np.testing.assert_allclose(*scored, atol=1e-3)
