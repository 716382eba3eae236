"""What else makes honest files look like faults, or faults like honest files: selection, and arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Continuations
from freerun.predictors.rules import SamplingRule
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
    monkeypatch.setattr("freerun.jobs.verify.job.load_predictor", lambda *_, **__: near)
    result = verify(path, own, out=tmp_path / "out", other="near")
    assert (result.verdict.match, result.cause.kind) == ("differs", "other_law")
    again = verify(path, near, out=tmp_path / "right", other="near")
    assert again.verdict.match == "agrees"
