"""Pooled hidden states and the pass without the prefix, with a tiny transformer: records against its own forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from freerun.predictors.base import Pool
from freerun.predictors.huggingface import HuggingFacePredictor
from freerun.predictors.reference import Alone
from freerun.predictors.rules import Identity
from freerun.records.measure import MeasurePlan, measure, units_of
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import Records, RunFolder, load_records
from freerun.text.pairs import Pair

WORDS, TOKENS, PREFIX, DOCUMENTS = 24, 7, 5, 6


def tiny(lead: tuple[int, ...] = ()) -> HuggingFacePredictor:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.4,
    )
    words = {"<unk>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    model = LlamaForCausalLM(config)
    return HuggingFacePredictor(model, fast, identity=Identity("tiny", "tiny"), lead=lead, end_ids=(1,))


def pairs(prefix: int = PREFIX) -> list[Pair]:
    rng = np.random.default_rng(3)
    out = []
    for i in range(DOCUMENTS):
        ids = rng.integers(2, WORDS, prefix + TOKENS)
        out.append(Pair(f"d{i}", f"d{i}", "train" if i % 2 else "test", ids[:prefix], ids[prefix:]))
    return out


def run(path: Path, predictor: Any, *, prefix: int = PREFIX, batch: int = 4, **options: Any) -> RunFolder:
    folder = RunFolder(path)
    folder.open({"schema_version": SCHEMA_VERSION, "plan": {}, "plan_hash": "h"})
    plan = MeasurePlan(TOKENS, batch, 7)
    some = pairs(prefix)
    measure(predictor, some, plan=plan, plan_hash="h", folder=folder, reference=Alone(predictor), **options)
    return folder


@pytest.fixture(scope="module")
def predictor() -> HuggingFacePredictor:
    return tiny()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, predictor: HuggingFacePredictor) -> RunFolder:
    return run(tmp_path_factory.mktemp("runs") / "run", predictor)


@pytest.fixture(scope="module")
def records(whole: RunFolder) -> Records:
    return load_records(whole)


def text(records: Records, index: int) -> np.ndarray:
    ids = records.tokens["token_id"][records.rows(index)]
    return np.concatenate([np.asarray(records.sequences["prefix_ids"][index], np.int64), ids]).astype(np.int64)


def test_every_arm_has_the_mean_of_the_states_that_predicted_its_tokens(
    records: Records, whole: RunFolder, predictor: HuggingFacePredictor
) -> None:
    assert whole.read("sequences").schema.field("embedding").type == pa.list_(pa.float32(), 12)
    assert set(records.sequences["arm"]) == {"real", "free", "tempered"}
    for i in range(records.n_sequences):
        ids = torch.as_tensor(text(records, i))[None]
        with torch.no_grad():
            last = predictor.model(ids, output_hidden_states=True).hidden_states[-1][0].numpy()
        np.testing.assert_allclose(records.sequences["embedding"][i], last[PREFIX - 1 : -1].mean(0), atol=1e-5)


def test_without_its_prefix_a_text_begins_at_the_cut(records: Records, predictor: HuggingFacePredictor) -> None:
    for i in range(records.n_sequences):
        alone = records.tokens["without_prefix_log_prob_nats"][records.rows(i)]
        if records.sequences["arm"][i] != "real":
            assert np.isnan(alone).all()
            continue
        ids = torch.as_tensor(text(records, i)[PREFIX:])[None]
        with torch.no_grad():
            laws = torch.log_softmax(predictor.model(ids).logits[0].double(), -1)
        assert np.isnan(alone[0])  # nothing is put first: there is no law to begin with
        wanted = laws[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
        np.testing.assert_allclose(alone[1:], wanted, atol=1e-5)
        with_prefix = records.tokens["log_prob_nats"][records.rows(i)]
        assert np.abs(alone[1:] - with_prefix[1:]).max() > 1e-3


def test_with_a_lead_the_first_token_has_a_law_and_without_a_prefix_nothing_is_measured(tmp_path: Path) -> None:
    led = tiny(lead=(1,))
    held = load_records(run(tmp_path / "lead", led))
    real = [held.tokens["without_prefix_log_prob_nats"][held.rows(i)] for i in held.chosen(arm="real")]
    assert np.isfinite(real).all()
    phases: list[str] = []
    bare = load_records(run(tmp_path / "bare", led, prefix=0, on_phase=phases.append))
    assert np.isnan(bare.tokens["without_prefix_log_prob_nats"]).all()
    assert "without its prefix" not in phases
    assert np.isfinite(bare.sequences["embedding"]).all()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


@pytest.mark.parametrize("after", [3, 40, 90])
def test_resumed_records_are_equal_to_the_bit_and_totals_stay_right(
    whole: RunFolder, predictor: HuggingFacePredictor, tmp_path: Path, after: int
) -> None:
    done = 0

    def until(n: int) -> None:
        nonlocal done
        done += n
        if done > after:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(tmp_path / "run", predictor, on_tokens=until)
    told: list[int] = []
    again = run(tmp_path / "run", predictor, on_tokens=told.append)
    assert (
        sum(told) == sum(u.n_tokens for u in units_of(DOCUMENTS, MeasurePlan(TOKENS, 4, 7))) == DOCUMENTS * 4 * TOKENS
    )
    for kind in ("sequences", "tokens"):
        assert again.read(kind).equals(whole.read(kind))


def test_another_batch_moves_embeddings_by_rounding_only(
    records: Records, predictor: HuggingFacePredictor, tmp_path: Path
) -> None:
    other = load_records(run(tmp_path / "run", predictor, batch=1))
    same = [
        np.array_equal(records.tokens["token_id"][records.rows(i)], other.tokens["token_id"][other.rows(i)])
        for i in range(records.n_sequences)
    ]
    assert np.mean(same) > 0.9
    a, b = (r.sequences["embedding"][same] for r in (records, other))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_pooled_sums_do_not_depend_on_how_they_are_cut() -> None:
    rng = np.random.default_rng(0)
    rows, hidden = rng.integers(0, 3, 50), rng.normal(size=(50, 4)).astype(np.float32) * 1e3
    whole, parts = Pool(4), Pool(4)
    whole.add(rows, hidden)
    for i in range(50):
        parts.add(rows[i : i + 1], hidden[i : i + 1])
    for row in range(3):
        np.testing.assert_array_equal(whole.mean(row), parts.mean(row))
        np.testing.assert_allclose(whole.mean(row), hidden[rows == row].mean(0, dtype=np.float64), rtol=1e-6)
    assert whole.mean(3) is None
    assert Pool(2).mean(0) is None
