"""Checkpoints that are damaged, incomplete or no causal models are refused with a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freerun.errors import BackendError, UsageError
from freerun.predictors.huggingface import load_pretrained
from freerun.predictors.rules import Identity

SOME = Identity("some/model", "x")


def test_missing_tensors_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(llama_folder, tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.self_attn.o_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackendError, match=r"lack 1 tensors .*o_proj"):
        load_pretrained(str(folder), identity=SOME)


def test_a_model_that_reads_both_ways_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    BertLMHeadModel(
        BertConfig(
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=16,
            initializer_range=0.5,
        )
    ).save_pretrained(folder)
    with pytest.raises(BackendError, match="not a causal model"):
        load_pretrained(str(folder), identity=SOME)


@pytest.mark.parametrize("content", [lambda b: b[:-100], lambda b: b"junk" * 100])
def test_damaged_weights_are_a_backend_error(
    llama_folder: Path, tmp_path: Path, content: Callable[[bytes], bytes]
) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    w = folder / "model.safetensors"
    w.write_bytes(content(w.read_bytes()))
    with pytest.raises(BackendError, match="cannot load some/model"):
        load_pretrained(str(folder), identity=SOME)


def test_a_damaged_config_is_a_backend_error(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    c = json.loads((folder / "config.json").read_text())
    c["max_position_embeddings"] = "x"
    (folder / "config.json").write_text(json.dumps(c))
    with pytest.raises(BackendError, match="cannot load some/model"):
        load_pretrained(str(folder), identity=SOME)


def test_gguf_into_a_full_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from freerun.predictors.weights import catalogue as weights
    from freerun.predictors.weights import gguf

    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf, "convert_gguf", full)
    with pytest.raises(BackendError, match="FREERUN_CACHE"):
        weights.converted(tmp_path / "x.gguf")


def test_another_lead_reaches_the_components_of_a_mixture(llama_folder: Path) -> None:
    from freerun.predictors.mixture import DocumentCache, Mixture

    llama = load_pretrained(str(llama_folder), identity=SOME)
    mixed = Mixture([llama, DocumentCache(llama)], [0.5, 0.5], name="m").with_lead((1,))
    assert len(mixed.log_probs([np.array([3, 4])], first=0)[0]) == 2


def test_a_lead_that_leaves_no_room_is_refused(llama_folder: Path) -> None:
    for n in (16, 20):
        with pytest.raises(UsageError):
            load_pretrained(str(llama_folder), identity=SOME, lead=tuple(range(n))).log_probs([np.arange(9)])
