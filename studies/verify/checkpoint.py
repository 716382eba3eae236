"""A second checkpoint of the 135M model: some steps of training away from it, as an older policy is from a newer one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from freerun.predictors.base import Predictor
from freerun.predictors.weights.catalogue import CATALOGUE, cached
from freerun.specs.spec import load_predictor
from freerun.text.corpora import read_corpus

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
STEPS, RATE, TEXTS, TOKENS = 12, 2e-5, 4, 128
_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def checkpoint_at(folder: Path) -> str:
    """Its name as a model; trained and saved on the first call."""
    if not (folder / "model.safetensors").exists():
        from transformers import AutoModelForCausalLM

        weights = cached(CATALOGUE[MODEL])
        assert weights is not None
        model = AutoModelForCausalLM.from_pretrained(weights)
        _train(model, _batches(load_predictor(MODEL)))
        model.save_pretrained(folder)
        for name in _FILES:
            shutil.copy(weights / name, folder / name)
    return f"hf/./{folder}"


def _batches(model: Predictor) -> np.ndarray:
    """Ids of the last documents of the corpus, from their middle: steps × texts × tokens."""
    texts = []
    for document in reversed(list(read_corpus(CORPUS).documents)):
        ids = np.asarray(list(model.encode(document.text[len(document.text) // 2 :])), np.int64)
        if len(ids) >= TOKENS:
            texts.append(ids[:TOKENS])
        if len(texts) == STEPS * TEXTS:
            return np.stack(texts).reshape(STEPS, TEXTS, TOKENS)
    raise ValueError(f"{CORPUS} has fewer than {STEPS * TEXTS} documents of {TOKENS} tokens")


def _train(model: object, batches: np.ndarray) -> None:
    import torch

    assert isinstance(model, torch.nn.Module)
    model.eval()
    steps = torch.optim.AdamW(model.parameters(), lr=RATE)
    with torch.enable_grad():
        for batch in batches:
            ids = torch.as_tensor(batch)
            loss = model(input_ids=ids, labels=ids).loss
            steps.zero_grad()
            loss.backward()
            steps.step()
            print(f"checkpoint: loss {loss.item():.3f}", flush=True)
