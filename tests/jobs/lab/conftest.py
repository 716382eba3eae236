"""A tiny random transformer with text of its own, and an organism trained into it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from freerun.jobs.lab.organism.organism import plant
from freerun.results.lab_organism import LabOrganismResult
from tests.jobs.lab.planting import SMALL, WORDS, plan_of, written


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 3 layers with tied embeddings and random weights, and documents of its words."""
    place = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.15,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=1,
    )
    words = {"<unk>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model = LlamaForCausalLM(config)
    model.save_pretrained(place / "base")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(
        place / "base"
    )
    rows = [" ".join(f"w{i}" for i in text) for text in written(model, n=120, length=300)]
    (place / "texts.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(rows))
    )
    return place


@pytest.fixture(scope="session")
def absorbing(folder: Path) -> tuple[Path, LabOrganismResult]:
    out = folder / "absorbing"
    return out, plant(plan_of(folder, "absorbing"), out, measurement=SMALL)
