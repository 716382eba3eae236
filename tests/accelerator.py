"""Where tests of device code run: on the processor, or, with `FREERUN_TEST_DEVICE=cuda`, on a card (`make gpu` sets it)."""

from __future__ import annotations

import os

import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.rules import Identity

DEVICE = os.environ.get("FREERUN_TEST_DEVICE", "cpu")


def random_model(
    config: PreTrainedConfig, *, end_ids: tuple[int, ...] = (), device: str = DEVICE, dtype: torch.dtype = torch.float32
) -> HuggingFacePredictor:
    """A model with random weights, made on the spot."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).to(device=device, dtype=dtype)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    )
    name = f"random {config.model_type}"
    return HuggingFacePredictor(model, tokenizer, identity=Identity(name, name), lead=(), end_ids=end_ids)
