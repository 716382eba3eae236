"""Layers with reordered weights give what plain ones give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from freerun.predictors.base import Identity
from freerun.predictors.huggingface import load_pretrained
from freerun.predictors.packed import PackedLinear, pack_linears


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


def test_half_precision_stays() -> None:
    assert pack_linears(Two().to(torch.bfloat16)) == 0


def test_a_layer_whose_product_would_differ_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(*x.shape[:-1], self.out_features))
    assert pack_linears(Two()) == 0


def test_a_packed_model_says_what_the_plain_one_says(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.predictors.packed._LEAST_WEIGHTS", 1)
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
