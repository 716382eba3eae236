"""Files and folders of models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.predictors.weights.catalogue import converted
from tests.fuzz.anything import JSON, harmless, quick


@given(data=st.binary(max_size=200), magic=st.booleans())
@settings(quick, max_examples=12)
def test_gguf(tmp_path: Path, data: bytes, magic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.gguf").write_bytes((b"GGUF" if magic else b"") + data)
    assert not harmless(lambda: converted(tmp_path / "x.gguf"))
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


@given(
    file=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]),
    content=JSON.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=60),
)
@settings(quick, max_examples=12)
def test_folders_of_models(tmp_path: Path, file: str, content: bytes) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    whole = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"", "tokenizer.json": b"{}"}
    for name, data in {**whole, file: content}.items():
        (folder / name).write_bytes(data)
    from freerun.specs.spec import load_predictor

    harmless(lambda: load_predictor(f"hf/{folder}"))
    shutil.rmtree(folder)
