"""Tiny predictors of every kind: random weights, a vocabulary of 64 words, no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from freerun.predictors.base import Predictor
from freerun.predictors.huggingface import HuggingFacePredictor, load_pretrained
from freerun.predictors.mixture import DocumentCache, Mixture
from freerun.predictors.ngram import NGramCounts, NGramPredictor, byte_ngram
from freerun.predictors.rules import Identity
from freerun.worlds.markov import random_chain
from tests.predictors.vllm_engine.fake import engine_over

WORDS = 64
WINDOW = 16
"""Positions of the tiny Llama: short, so that the context rule has to let tokens go."""


@dataclass(frozen=True)
class Kind:
    """A predictor under the contract. `ids` draws sequences that it can score; `atol_nats` is how exactly it repeats itself."""

    predictor: Predictor
    n_ids: int
    atol_nats: float

    def sequences(self, seed: int, lengths: tuple[int, ...]) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.integers(0, self.n_ids, n) for n in lengths]


def _save_tokenizer(folder: Path, *, bos: bool) -> None:
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(str(folder))


def _save(model: Any, folder: Path, *, bos: bool) -> Path:
    transformers_logging.disable_progress_bar()
    model.save_pretrained(str(folder))
    _save_tokenizer(folder, bos=bos)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _save(LlamaForCausalLM(config), tmp_path_factory.mktemp("llama"), bos=False)


@pytest.fixture(scope="session")
def gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers, the last one with full attention, the others with a sliding window of 8."""
    torch.manual_seed(2)
    config = Gemma3TextConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=32,
        sliding_window=8,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _save(Gemma3ForCausalLM(config), tmp_path_factory.mktemp("gemma"), bos=True)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned positions: one too many is an error, not a longer rotation."""
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=WORDS,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=WINDOW,
        initializer_range=0.2,
        eos_token_id=2,
        bos_token_id=1,
    )
    return _save(GPT2LMHeadModel(config), tmp_path_factory.mktemp("gpt2"), bos=False)


def _load(folder: Path, name: str, **options: Any) -> HuggingFacePredictor:
    return load_pretrained(str(folder), identity=Identity(name, name), **options)


def _word_ngram(order: int) -> NGramPredictor:
    rng = np.random.default_rng(order)
    documents = [np.minimum(rng.geometric(0.3, size=60) - 1, 11) for _ in range(5)]
    return NGramPredictor(
        NGramCounts(documents, order=order, n_tokens=12),
        name=f"ngram/{order}",
        encode=lambda text: [ord(c) - 97 for c in text],
        token_bytes=lambda i: bytes([97 + i]),
        end_ids=(11,),
    )


@pytest.fixture(scope="session")
def kinds(llama_folder: Path, gemma_folder: Path, gpt2_folder: Path) -> dict[str, Callable[[], Kind]]:
    """Every kind of predictor, by name."""
    llama = _load(llama_folder, "llama")
    plain = {
        "markov": Kind(random_chain(6, seed=3), 6, 1e-12),
        "byte ngram": Kind(byte_ngram(["abra cadabra", "a bar", "crab"], order=4, name="ngram/4@x"), 257, 1e-12),
        "ngram of order 1": Kind(_word_ngram(1), 12, 1e-12),
        "mixture": Kind(
            Mixture([_word_ngram(3), _word_ngram(2), _word_ngram(1)], [0.5, 0.3, 0.2], name="mix"), 12, 1e-12
        ),
        "document cache": Kind(DocumentCache(_word_ngram(1)), 12, 1e-12),
        "llama": Kind(llama, WORDS, 1e-4),
        "llama with a lead": Kind(_load(llama_folder, "llama", lead=(1,)), WORDS, 1e-4),
        "gemma": Kind(_load(gemma_folder, "gemma"), WORDS, 1e-4),
        "gpt2": Kind(_load(gpt2_folder, "gpt2"), WORDS, 1e-4),
        "vllm engine": Kind(engine_over(llama, preempt_every=7), WORDS, 1e-4),
        "vllm engine, runner V2": Kind(engine_over(_load(gemma_folder, "gemma"), v2=True, reads=False), WORDS, 1e-4),
        "mixture with llama": Kind(Mixture([llama, DocumentCache(llama)], [0.75, 0.25], name="mix"), WORDS, 1e-4),
    }
    return {name: (lambda kind=kind: kind) for name, kind in plain.items()}


KINDS = (
    "markov",
    "byte ngram",
    "ngram of order 1",
    "mixture",
    "document cache",
    "llama",
    "llama with a lead",
    "gemma",
    "gpt2",
    "vllm engine",
    "vllm engine, runner V2",
    "mixture with llama",
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, kinds: dict[str, Callable[[], Kind]]) -> Kind:
    """One kind of predictor after another."""
    return kinds[request.param]()


@pytest.fixture(params=[k for k in KINDS if k in ("llama", "llama with a lead", "gemma", "gpt2")])
def model(request: pytest.FixtureRequest, kinds: dict[str, Callable[[], Kind]]) -> HuggingFacePredictor:
    """One transformers model after another."""
    return kinds[request.param]().predictor
