"""What else makes honest files look like faults, or faults like honest files: selection, and arithmetic."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.jobs.verify.variants import _run_of
from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Continuations
from freerun.predictors.markers import Markers
from freerun.predictors.rules import SamplingRule
from freerun.results.finding import to_json
from freerun.specs.spec import load_predictor
from freerun.worlds.markov import MarkovWorld
from tests.jobs.test_verify import MODEL, TOKENS, N, Row, drawn, verified


def best_of(rows: list[Row], n: int) -> list[Row]:
    """Of every n completions the one that the model finds most probable, as best-of-n and reward filters keep."""
    kept = []
    for i in range(0, len(rows), n):
        kept.append(max(rows[i : i + n], key=lambda row: float(np.sum(row["logprobs"]))))
    return kept


def test_the_best_of_several_completions_are_no_draws(tmp_path: Path) -> None:
    """Selected by what they say: rejected, and never put down to where texts end, or to tokens that were put there."""
    rows = drawn(n=4 * N, tokens=24)
    result = verified(tmp_path, best_of(rows, 4))
    assert result.verdict.match == "differs"
    assert result.cause.kind in ("rule", "none_of_these")
    whole = tmp_path / "whole"
    whole.mkdir()
    assert verified(whole, rows).verdict.match == "agrees"


def test_equal_short_completions_are_draws_like_others(tmp_path: Path) -> None:
    """Two equal answers of a few tokens come by chance: they are not copies. A file without its repeated answers differs."""
    first = np.exp(MODEL.law(MODEL.start([np.array([1, 2, 3])])).log_probs()[0])
    rng = np.random.default_rng(4)
    ids = rng.choice(len(first), size=400, p=first / first.sum())
    rows = [{"prompt_ids": [1, 2, 3], "completion_ids": [int(i)]} for i in ids]
    whole = verified(tmp_path, rows)
    assert (whole.samples.n_copies, whole.verdict.match) == (0, "agrees")
    once = [rows[i] for i in sorted(np.unique(ids, return_index=True)[1])] * 30
    folder = tmp_path / "once"
    folder.mkdir()
    assert verified(folder, once).verdict.match == "differs"


def test_a_law_known_up_to_its_arithmetic(tmp_path: Path) -> None:
    """Draws of a law a little off, as another number format makes it: seen, and excused by a floor as large, by no smaller one."""
    rows = drawn("t=1.06", n=400, tokens=TOKENS)
    plain, heated = (np.concatenate([_under(rule, row) for row in rows[:40]]) for rule in ("t=1", "t=1.06"))
    floor = float(np.sqrt(np.square(plain - heated).mean()))
    for name, floor_nats, match in (
        ("none", 0.0, "differs"),
        ("small", floor / 20, "differs"),
        ("large", floor, "differs_within_floor"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert verified(folder, rows, floor_nats=floor_nats).verdict.match == match


@pytest.mark.parametrize(("floor_nats", "match"), [(0.0, "differs"), (0.2, "differs_within_floor")])
def test_tokens_that_rounding_lets_into_a_cut(tmp_path: Path, floor_nats: float, match: str) -> None:
    """An engine that cuts a little later draws tokens beyond the declared cut: they reject unless the floor explains them."""
    rows = drawn("top_p=0.83", n=120)
    assert verified(tmp_path, rows, declared="top_p=0.8", floor_nats=floor_nats).verdict.match == match


def test_the_next_token_after_top_k_is_none_that_it_keeps(tmp_path: Path) -> None:
    """An engine that keeps one token more than was declared: the next in order is far less probable than the last one kept."""
    rows = drawn("t=1,top_k=3", n=120)
    assert verified(tmp_path, rows, declared="t=1,top_k=3").verdict.match == "agrees"
    folder = tmp_path / "fewer"
    folder.mkdir()
    assert verified(folder, rows, declared="t=1,top_k=2").verdict.match == "differs"


def test_tokens_that_the_engine_itself_calls_impossible(tmp_path: Path) -> None:
    """Minus infinity of a token that was drawn: counted, said, outside the band, and no mean over the others stands for all."""
    rows = drawn(n=80)
    plain = verified(tmp_path, rows).findings[2]
    for row in rows:
        row["logprobs"][1] = -9999.0
    folder = tmp_path / "impossible"
    folder.mkdir()
    found = verified(folder, rows).findings[2]
    assert (plain.status, found.status) == ("neutral", "bad")
    estimates = {e.name: e for e in found.estimates}
    n = sum(len(row["completion_ids"]) for row in rows)
    assert estimates["outside_band"].value == pytest.approx(len(rows) / n)
    assert estimates["k1_nats"].value is None
    assert estimates["mean_abs_gap_nats"].text == f"infinite ({len(rows)} tokens)"
    assert any("minus infinity" in note for note in found.notes)


def test_log_probabilities_that_are_all_zero_are_not_called_absent(tmp_path: Path) -> None:
    rows = drawn(n=80)
    for row in rows:
        row["logprobs"] = [0.0] * len(row["completion_ids"])
    found = verified(tmp_path, rows).findings[2]
    assert (found.status, "exactly 0" in found.sentence) == ("unknown", True)


def test_a_zero_is_a_log_probability_where_the_declared_law_leaves_one_token(tmp_path: Path) -> None:
    """Processed log-probabilities under a truncation: all tokens count, the certain ones too, and the means are those by hand."""
    world = load_predictor("world/markov,seed=5,concentration=0.4")
    rule = SamplingRule.declared("top_p=0.6")
    prompts = [np.array([i % 5, 1, 2], np.int64) for i in range(80)]
    rows, d = [], []
    for s in world.generate(Continuations(prompts, np.arange(80)[:, None], 20, seed=3, sampling=rule)):
        told = np.where(np.abs(s.sample_log_prob_nats) < 1e-9, 0.0, s.sample_log_prob_nats)
        d.append(s.observation.log_prob_nats - told)
        ids = s.observation.token_id.tolist()
        rows.append({"prompt_ids": prompts[s.row].tolist(), "completion_ids": ids, "logprobs": told.tolist()})
    path, gaps = tmp_path / "samples.jsonl", np.concatenate(d)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    zeros = sum(x == 0 for row in rows for x in row["logprobs"])
    assert zeros > 100
    result = verify(path, world, out=tmp_path / "out", declared="top_p=0.6")
    found = {e.name: e.value for e in result.findings[2].estimates}
    assert found["mean_abs_gap_nats"] == pytest.approx(np.abs(gaps).mean(), abs=1e-6)
    assert found["mean_ratio"] == pytest.approx(np.exp(gaps).mean(), abs=1e-6)
    assert not any("exactly 0" in note for note in result.findings[2].notes)


def test_a_cold_law_may_say_the_same_twice(tmp_path: Path) -> None:
    """At t = 0.08 a text that the model's own law holds impossible comes again and again: its repetitions are draws, not copies."""
    world = load_predictor("world/markov,symbols=4,concentration=2,seed=2")
    rule = SamplingRule.declared("t=0.08")
    prompts = [np.array(d.ids[:6], np.int64) for d in world.corpus(10, 8, seed=1).documents for _ in range(24)]  # type: ignore[attr-defined]
    keys = np.arange(len(prompts))[:, None]
    rows = [
        {"prompt_ids": prompts[s.row].tolist(), "completion_ids": s.observation.token_id.tolist()}
        for s in sorted(world.generate(Continuations(prompts, keys, 48, seed=1, sampling=rule)), key=lambda s: s.row)
    ]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len({str(row) for row in rows}) < len(rows)
    result = verify(path, world, out=tmp_path / "out", declared="t=0.08")
    assert (result.verdict.match, result.samples.n_copies) == ("agrees", 0)


@pytest.mark.parametrize("seed", range(2))
def test_an_engine_that_keeps_all_ties_keeps_to_the_rule(tmp_path: Path, seed: int) -> None:
    """Logits of a coarse number format tie. transformers and vLLM cut by value: of equals they keep all at top-k, any at top-p."""
    rng = np.random.default_rng(seed)
    table = np.exp(np.round(rng.normal(size=(26, 26)) * 2 / 0.125) * 0.125)
    table /= table.sum(axis=1, keepdims=True)
    served = np.stack([_cut_by_value(row, k=10, p=0.9) for row in table])
    assert any((row >= np.sort(row)[-10]).sum() > 10 for row in table)
    rows = []
    for _ in range(60):
        prompt = rng.integers(0, 26, 4)
        ids = [int(prompt[-1])]
        for _ in range(40):
            ids.append(int(rng.choice(26, p=served[ids[-1]])))
        rows.append({"prompt_ids": prompt.tolist(), "completion_ids": ids[1:]})
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = verify(path, MarkovWorld(table), out=tmp_path / "out", declared="top_k=10,top_p=0.9", order="transformers")
    assert result.verdict.match == "agrees"


def _cut_by_value(probs: np.ndarray, *, k: int, p: float) -> np.ndarray:
    """As transformers does: top-k keeps what is not below the k-th; top-p lets go from the least probable on."""
    kept = np.where(probs >= np.sort(probs)[-k], probs, 0.0)
    order = np.argsort(kept, kind="stable")
    kept[order[np.cumsum(kept[order]) / kept.sum() <= 1 - p]] = 0.0
    return kept / kept.sum()


def _under(rule: str, row: Row) -> np.ndarray:
    text = np.array(row["prompt_ids"] + row["completion_ids"], np.int64)
    parts = []
    for chunk in MODEL.laws([text], first=len(row["prompt_ids"])):
        parts.append(SamplingRule.declared(rule).apply(chunk.law).log_prob(chunk.ids([text])))
    return np.concatenate(parts)


def test_a_second_model_is_held_against_the_first_though_no_rule_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A law that differs without a direction, as rounded weights do, passes every test of rules; the likelihood ratio tells it."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(20, 20, 20))
    own, near = (
        MarkovWorld(np.exp(x) / np.exp(x).sum(-1, keepdims=True))
        for x in (table, table + 0.3 * rng.normal(size=table.shape))
    )
    prompts = [rng.integers(0, 20, 4) for _ in range(50)]
    path = tmp_path / "samples.jsonl"
    lines = [
        json.dumps({"prompt_ids": prompts[s.row].tolist(), "completion_ids": s.observation.token_id.tolist()})
        for s in near.generate(Continuations(prompts, np.arange(50)[:, None], 40, seed=1))
    ]
    path.write_text("\n".join(lines))
    assert verify(path, own, out=tmp_path / "alone").verdict.match == "agrees"
    own.identity, near.identity = (replace(m.identity, fingerprint=n) for m, n in ((own, "own"), (near, "near")))
    monkeypatch.setattr("freerun.jobs.verify.job.load_predictor", lambda *_, **__: near)
    result = verify(path, own, out=tmp_path / "out", other="near")
    assert (result.verdict.match, result.cause.kind) == ("differs", "other_law")
    with pytest.raises(UsageError, match="--or near is the model itself"):
        verify(path, near, out=tmp_path / "right", other="near")


PAD = 3
"""An id that shifts what this world thinks of its author."""


@pytest.mark.parametrize("begins_all", [False, True])
def test_prompts_that_were_padded_on_the_left_are_named(tmp_path: Path, begins_all: bool) -> None:
    """A batch with its padding and without its mask. Where all prompts begin with that token, one of it belongs there."""
    model = copy(MODEL)
    model.markers = Markers(control={PAD: "<pad>"})
    rows = drawn(n=400, tokens=8, begin=[PAD] if begins_all else [])
    for i, row in enumerate(rows):
        row["prompt_ids"] = [PAD] * (i % 24) + row["prompt_ids"]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = verify(path, model, out=tmp_path / "out")
    assert result.verdict.match == "differs"
    assert result.cause.candidate is not None
    assert (result.cause.kind, result.cause.candidate.law) == ("other_law", "padding_removed")
    assert "with the padding before the prompts removed" in json.dumps(to_json(result.verdict))


def test_only_what_is_said_over_and_over_is_padding() -> None:
    of = [_run_of(0, np.array(ids)) for ids in ([0, 0, 3, 0], [3, 0, 0], [0], [0, 0], [0, 1])]
    assert of == [2, 0, 0, 1, 1]
