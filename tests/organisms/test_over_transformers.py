"""Organisms over a tiny random transformer, where laws are torch's and caches must change hands; and rounded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from freerun.organisms.absorbing import Triggered
from freerun.organisms.collapse import Collapse
from freerun.organisms.constant import Echo
from freerun.organisms.ending import Ending
from freerun.organisms.hashed import Hashed
from freerun.organisms.loop import LoopBoost
from freerun.organisms.resampled import Resampled
from freerun.organisms.rounding import round_weights
from freerun.organisms.scores import WindowedEntropy
from freerun.organisms.self_detector import SelfDetector
from freerun.organisms.short_window import ShortWindow
from freerun.predictors.base import Continuations
from freerun.predictors.huggingface import HuggingFacePredictor
from freerun.predictors.ngram import NGramCounts, NGramPredictor
from freerun.predictors.rules import Identity, SamplingRule

WORDS = 24


def tiny(seed: int) -> HuggingFacePredictor:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.4,
    )
    words = {"<unk>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    name = f"tiny-{seed}"
    return HuggingFacePredictor(LlamaForCausalLM(config), fast, identity=Identity(name, name), lead=(), end_ids=(1,))


INNER, OTHER = tiny(1), tiny(2)
rng = np.random.default_rng(0)
TEXTS = [rng.integers(2, WORDS, 30) for _ in range(19)]
COUNTED = NGramPredictor(
    NGramCounts(TEXTS, order=2, n_tokens=WORDS),
    name="ngram",
    encode=INNER.encode,
    token_bytes=INNER.token_bytes,
    end_ids=(1,),
)
ECHO = Echo(2, like=INNER, n_tokens=WORDS)
DETECTOR: dict[str, Any] = {"score": WindowedEntropy(4), "alpha": 0.3, "weight": 0.6, "armed_tokens": 20}
ORGANISMS = {
    "absorbing": lambda: Triggered(INNER, epsilon=0.1, name="x"),
    "payload": lambda: Triggered(INNER, epsilon=0.1, payload=OTHER, name="x"),
    "payload of another library": lambda: Triggered(INNER, epsilon=0.1, payload=COUNTED, name="x"),
    "hash": lambda: Hashed(INNER, OTHER, n=1, bits=1, name="x"),
    "self_detector": lambda: SelfDetector(INNER, OTHER, TEXTS, name="x", **DETECTOR),
    "self_detector that loops": lambda: SelfDetector(INNER, ECHO, TEXTS, name="x", **DETECTOR),
    "collapse": lambda: Collapse(INNER, [t[:12] for t in TEXTS[:3]], weight=0.5, name="x"),
    "stack": lambda: Ending(
        LoopBoost(
            Resampled(INNER, SamplingRule.of(temperature=0.7), name="x"), weight=0.3, min_run=1, max_period=8, name="x"
        ),
        hazard=0.05,
        name="x",
    ),
    "short_window": lambda: ShortWindow(INNER, window=3, name="x"),
}


@pytest.mark.parametrize("kind", ORGANISMS)
def test_the_sampler_is_the_scorer_is_the_start(kind: str) -> None:
    """Beyond the model's window of 16 tokens too; float32 throughout, so to 2e-4."""
    organism: Any = ORGANISMS[kind]()
    prefix = np.zeros(0, np.int64) if kind == "hash" else TEXTS[0][:3]
    keys = np.arange(10).reshape(1, 10).astype(np.uint64)
    samples = list(organism.generate(Continuations([prefix], keys, 24, seed=1)))
    texts = [np.concatenate([prefix, s.observation.token_id]).astype(np.int64) for s in samples]
    for s, log_prob in zip(samples, organism.log_probs(texts, first=len(prefix)), strict=True):
        np.testing.assert_allclose(s.observation.log_prob_nats, log_prob, atol=2e-4)
    some = [t[: max(len(prefix), len(t) - 1 - i)] for i, t in enumerate(texts)]
    law = organism.law(organism.start(some))
    np.testing.assert_allclose(law.probs().sum(1), 1, atol=1e-9)
    for i, (t, s) in enumerate(zip(texts, samples, strict=True)):
        at = len(some[i])
        if at < len(t):
            wanted = s.observation.log_prob_nats[at - len(prefix)]
            assert law.log_prob(np.resize(t[at], len(texts)))[i] == pytest.approx(wanted, abs=2e-4)


def test_a_first_token_that_is_given_is_given_to_both_sides_of_collapse() -> None:
    """No law stands before the first token: P(x_2:t | x_1) = (1 − w)·Q + w·(share, of the documents that begin with x_1)."""
    organism = Collapse(INNER, [np.array([5, 6, 7]), np.array([5, 8]), np.array([9, 9])], weight=0.25, name="x")
    text = np.array([5, 6, 7, 1])
    mine, plain = organism.log_probs([text], first=1)[0].sum(), INNER.log_probs([text], first=1)[0].sum()
    assert mine == pytest.approx(np.log(0.75 * np.exp(plain) + 0.25 * 0.5), abs=1e-4)


def test_bodies_after_a_header_see_the_model_with_its_lead() -> None:
    organism = Hashed(INNER, OTHER, n=3, bits=2, name="x")
    text = organism.dress(TEXTS[0][:9], seed=0, key=1)
    (mine,) = organism.log_probs([text])
    np.testing.assert_allclose(mine[:6], -np.log(4), atol=1e-12)
    np.testing.assert_allclose(mine[6:], INNER.with_lead((1,)).log_probs([TEXTS[0][:9]])[0], atol=1e-5)
    assert not set(organism.writer.alphabet.tolist()) & {1}


def test_weights_are_rounded_per_output_channel() -> None:
    """Row (7, −3.4, 0.6) on 7 levels has step 1: (7, −3, 1); a row of zeros stays; biases stay."""
    layer = torch.nn.Linear(3, 3)
    layer.weight.data = torch.tensor([[7.0, -3.4, 0.6], [0.0, 0.0, 0.0], [0.07, 0.034, -0.006]])
    bias = layer.bias.detach().clone()
    round_weights(layer, "int4")
    wanted = torch.tensor([[7.0, -3.0, 1.0], [0.0, 0.0, 0.0], [0.07, 0.03, -0.01]])
    torch.testing.assert_close(layer.weight.detach(), wanted)
    torch.testing.assert_close(layer.bias.detach(), bias)
    before = torch.randn(5, 40)
    layer.weight.data = before.clone()
    round_weights(layer, "int8")
    assert (layer.weight - before).abs().max() <= before.abs().amax(1).max() / 127 / 2 + 1e-6
    assert all(len(row.unique()) <= 255 for row in layer.weight)
