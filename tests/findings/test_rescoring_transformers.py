"""The second look at real kernels: tiny transformers in float32 and bf16, right ones and one whose cache is stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from freerun.findings.evidence import Evidence
from freerun.findings.own_text.rescoring import Rescoring, rescoring
from freerun.predictors.arithmetic import is_rounded
from freerun.predictors.huggingface import HuggingFacePredictor
from freerun.predictors.mixture import Mixture
from freerun.predictors.reference import default_reference
from freerun.predictors.rules import Identity
from freerun.records.measure import MeasurePlan, measure
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import RunFolder, load_records
from freerun.text.pairs import Pair
from tests.plans import plan_json

WORDS, PREFIX, TOKENS = 64, 8, 24
LOGIT_SCALE = 8.0
"""Logits of the size that trained models have: those of random weights are too small for bf16 to show."""


class Stale(HuggingFacePredictor):
    """The rows of a state are taken from the first ones on, whichever were asked for."""

    def select(self, state: Any, rows: Any) -> Any:
        return super().select(state, np.arange(len(rows)) // 2)


def tiny(seed: int, dtype: torch.dtype, kind: type[HuggingFacePredictor] = HuggingFacePredictor) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(LOGIT_SCALE)
        for weight in model.model.parameters():
            if weight.ndim == 2:
                weight.mul_(4.0)
    words = {"<unk>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    return kind(model.to(dtype), fast, identity=Identity("tiny", "tiny"), lead=(), end_ids=(1,))


def looked_at_again(predictor: Any, folder: Path, seed: int = 0) -> Rescoring:
    ids = np.random.default_rng(seed).integers(2, WORDS, (12, PREFIX + TOKENS)).astype(np.int32)
    pairs = [Pair(f"d{i}", f"d{i}", "test", row[:PREFIX], row[PREFIX:]) for i, row in enumerate(ids)]
    plan = MeasurePlan(TOKENS, 12, seed, queue=2, rounded=is_rounded(predictor))
    run = RunFolder(folder)
    settings = plan_json(tokens=TOKENS, batch=12, rounded_arithmetic=plan.rounded)
    run.open({"schema_version": SCHEMA_VERSION, "kind": "audit", "plan": settings, "plan_hash": "h"})
    reference = default_reference(predictor, {p.unit: [p.continuation.astype(np.int64)] for p in pairs}, order=1)
    measure(predictor, pairs, plan=plan, plan_hash="h", folder=run, reference=reference)
    return rescoring(Evidence(load_records(run)))


def test_arithmetic_is_told_from_the_weights_wherever_they_are() -> None:
    exact, rounded = tiny(0, torch.float32), tiny(0, torch.bfloat16)
    assert not is_rounded(exact)
    assert is_rounded(rounded)
    assert is_rounded(Mixture([exact, rounded], [0.5, 0.5], name="both"))
    assert is_rounded(tiny(0, torch.float16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_right_models_are_not_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    """Four models. In float32 the largest difference is far below what is allowed; in bf16 no quantile uses half of its room."""
    for seed in range(4):
        found = looked_at_again(tiny(seed, dtype), tmp_path / str(seed), seed)
        assert found.outcome == "passed"
        assert max(b.value / b.limit for b in found.bounds) < 0.5
        assert (found.floor is None) == (dtype == torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_stale_cache_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    found = looked_at_again(tiny(0, dtype, Stale), tmp_path / "run")
    assert found.outcome == "failed"
    assert found.gap is not None
    assert found.gap.largest > 1.0
