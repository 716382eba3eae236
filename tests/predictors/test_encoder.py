"""Encoders: padding changes nothing, cut at the window, refused with a reason; and their vectors in the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freerun.errors import BackendError, UsageError
from freerun.predictors.encoder import load_encoder
from freerun.specs.providers import AS_IT_IS, load_named_encoder

TEXTS = ["one two", "three", "", "four five six seven eight nine ten eleven twelve " * 9]


def test_a_batch_is_its_texts_one_by_one(llama_folder: Path) -> None:
    encoder = load_encoder(str(llama_folder), name="hf/./x")
    together = encoder(TEXTS)
    assert together.shape == (4, 32)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder([text])[0], vector, atol=1e-5)
    assert np.isfinite(together).all()
    assert encoder([]).shape == (0, 32)


def test_the_mean_by_hand(llama_folder: Path) -> None:
    import torch

    encoder = load_encoder(str(llama_folder), name="hf/./x")
    read = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        states = encoder.model(input_ids=read["input_ids"]).last_hidden_state[0]
    np.testing.assert_allclose(encoder([TEXTS[0]])[0], states.mean(0).numpy(), atol=1e-5)


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an encoder is hf/ORG/NAME"):
        load_named_encoder("world/markov", AS_IT_IS, lambda _: None)
    with pytest.raises(BackendError, match=r"cannot load the encoder hf/\./nothing"):
        load_encoder(str(tmp_path), name="hf/./nothing")


def test_its_vectors_stand_in_the_records(llama_folder: Path, tmp_path: Path) -> None:
    """A world shows no hidden states; an encoder of its texts does, for every arm."""
    import freerun
    from freerun.records.store import RunFolder, load_records

    run = freerun.audit(
        "world/markov",
        "world/markov",
        documents=32,
        tokens=8,
        prefix=2,
        out=tmp_path / "run",
        embed_with=f"hf/{llama_folder}",
    )
    records = load_records(RunFolder(run.path))
    texts = [str(t) for t in records.sequences["text"]]
    encoder = load_encoder(str(llama_folder), name="hf/./x")
    np.testing.assert_allclose(records.sequences["embedding"], encoder(texts), atol=1e-5)
    assert run.findings["divergences"]["status"] == "neutral"
    assert run.result["plan"]["embed_with"] == f"hf/{llama_folder}"
