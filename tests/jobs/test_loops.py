"""Loops of files and runs: what is read, what is left out, and that a run's numbers are its audit's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.errors import DataError, UsageError
from freerun.report.pages.loops import render_loops
from freerun.results.finding import Estimate, to_json
from freerun.results.json import from_json
from freerun.results.loops import LoopsResult
from freerun.stats.loops.stop_rules import StopRule


def write(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def estimates(result: LoopsResult) -> dict[str, Estimate]:
    return {e.name: e for e in result.finding.estimates}


def looping(n: int) -> list[int]:
    return [*range(100, 120), *([7, 8, 9] * n)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    """A cold world, which loops."""
    out = tmp_path_factory.mktemp("loops") / "run"
    return freerun.audit("world/markov+temperature,t=0.3", "world/markov", out=out, documents=40, tokens=96, prefix=8)


def test_ids_by_hand(tmp_path: Path) -> None:
    """Two of four texts loop at their 44th token: 20, then 24 tokens of period 3. One of them leaves it."""
    rows = [
        {"prompt_ids": [1, k], "completion_ids": ids, "finish_reason": "length"}
        for k, ids in enumerate([looping(20), [*looping(10), *range(200, 230)], list(range(80)), list(range(60))])
    ]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows), stop_rules=["period=8,copies=3,tokens=24"])
    assert (result.unit, result.tokenizer, result.own.format) == ("tokens", None, "freerun")
    assert (result.own.texts, result.own.independent, result.own.tokens) == (4, 4, 300)
    assert result.own.cut_off == 4
    loops = [f for f in result.first_loops if f.kind == "loop"]
    assert [(f.name, f.token, f.period, f.left) for f in loops] == [("row 0", 44, 3, False), ("row 1", 44, 3, True)]
    assert (loops[0].copies, loops[0].lasted_tokens, loops[1].lasted_tokens) == (20, 37, 7)
    assert loops[0].phrase == "ids 7 8 9"
    (rule,) = result.stop_rules
    assert (rule.texts_stopped, rule.tokens_saved, rule.texts_stopped_that_left) == (2, 36 + 36, 1)
    assert estimates(result)["tokens_saved"].value == pytest.approx(72 / 300)
    assert "counting_loop_incidence" not in estimates(result)
    assert "false_stops_per_million_tokens" not in estimates(result)


def test_a_run_has_the_numbers_of_its_audit(run: freerun.Run) -> None:
    result = freerun.loops(run.path)
    audited = {e["name"]: e for e in run.findings["loops"]["estimates"]}
    seen = estimates(result)
    assert seen["loop_incidence"].value
    for name in (
        "loop_incidence",
        "loop_incidence_real",
        "end_incidence",
        "near_loop_incidence",
        "near_loop_incidence_real",
        "counting_loop_incidence",
        "loops_per_million_tokens",
        "false_stops_per_million_tokens",
        "tokens_saved",
        "loop_log_rank_p",
        "loop_escape_per_token",
    ):
        for end in ("value", "low", "high"):
            assert getattr(seen[name], end) == pytest.approx(audited[name][end]), name
    table = {t["name"]: t for t in run.findings["loops"]["tables"]}["stop_rules"]
    assert len(table["rows"]) == len(result.stop_rules) == 3


def test_a_run_beside_other_text(run: freerun.Run, tmp_path: Path) -> None:
    real = write(tmp_path / "real.jsonl", [{"text": "abcabdaeb" * 3 + "abcdefgh"[k] * 30} for k in range(4)])
    result = freerun.loops(run.path, real=real, prompts_count=False)
    assert result.real is not None
    assert (result.real.name, result.real.tokens) == (real, 4 * 57)
    assert sum(f.side == "real" for f in result.first_loops) == 4
    assert result.own.prompt_tokens == 0
    assert "loop_log_rank_p" not in estimates(result)


def test_words_and_real_text(tmp_path: Path) -> None:
    counting = " ".join(f"Step {n}: go on, please." for n in range(12))
    near = " ".join(f"We {word} go on and on, and see what comes of it." for word in ("will", "may", "do", "can"))
    rows = [{"prompt": f"p{k}", "completion": text} for k, text in enumerate([counting, near, "ho " * 40, "Well."])]
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.txt").write_text("One two three. " * 3 + "And so it goes, said the man; " * 3)
    (real / "b.txt").write_text("| 1 | 2 | 3 |\n" * 30)
    result = freerun.loops(write(tmp_path / "a.jsonl", rows), real=str(real))
    assert (result.unit, result.tokenizer) == ("words", None)
    kinds = {(f.side, f.name): f.kind for f in result.first_loops}
    assert kinds[("own", "row 2")] == "loop"
    assert kinds[("own", "row 1")] == "near"
    assert ("own", "row 0") in kinds
    assert ("real", "b.txt:1") in kinds or ("real", "b.txt") in kinds
    found = estimates(result)
    assert found["false_stops_per_million_tokens"].unit == "per million words"
    assert found["tokens_saved"].label.startswith("Words of own text")
    assert result.stop_rules[0].real_texts_stopped == 1
    assert any("Counted in words" in note for note in result.finding.notes)


def test_json_both_ways_and_a_page(tmp_path: Path, run: freerun.Run) -> None:
    result = freerun.loops(run.path, out=tmp_path / "page")
    again = to_json(result)
    assert to_json(from_json(LoopsResult, json.loads(json.dumps(again, allow_nan=False)))) == again
    page = (tmp_path / "page" / "loops.html").read_text()
    assert page == render_loops(again)
    assert result.finding.sentence.split(" (")[0] in page


def test_a_page_shows_what_it_is_told_and_runs_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> " * 12
    rows = [{"prompt": "p", "completion": evil}, {"prompt": "q", "completion": "plain words"}]
    freerun.loops(write(tmp_path / "a.jsonl", rows), out=tmp_path)
    page = (tmp_path / "loops.html").read_text()
    assert "<script>alert" not in page


def test_a_tokenizer_gives_ids_and_numbers(tmp_path: Path) -> None:
    tokenizer = "world/markov"
    rows = [{"prompt": f"{'ab'[k]}", "completion": "ab" * 30} for k in range(2)]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows), tokenizer=tokenizer)
    assert (result.unit, result.tokenizer) == ("tokens", tokenizer)
    assert {f.phrase for f in result.first_loops if f.kind == "loop"} <= {"ab", "ba"}
    assert "counting_loop_incidence" in estimates(result)


def test_samples_of_a_prompt_and_copies_are_one_unit(tmp_path: Path) -> None:
    rows = [
        *({"prompt": "a", "completion": f"one {k}"} for k in range(3)),
        *({"completion": "the same"} for _ in range(4)),
        {"completion": "another"},
    ]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows))
    assert (result.own.texts, result.own.independent, result.own.copies) == (8, 3, 3)
    assert result.own.without_prompt == 5


def test_what_was_not_drawn_repeats_nothing(tmp_path: Path) -> None:
    rows = [
        {"prompt_ids": [1], "completion_ids": looping(20), "drawn": [1] * 20 + [0] * 60},
        {"prompt_ids": [2], "completion_ids": looping(20), "drawn": [1] * 80},
    ]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows))
    assert [f.name for f in result.first_loops] == ["row 1"]
    assert result.own.with_undrawn == 1


# ---- bad input ---------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_used_are_counted_by_name(tmp_path: Path) -> None:
    rows = [
        {"prompt_ids": [1], "completion_ids": [5] * 40},
        {"prompt_ids": [2], "completion_ids": []},
        {"prompt_ids": [3], "completion_ids": ["7", "8"]},
        {"prompt_ids": [4], "completion_ids": [-1, 2]},
        {"prompt_ids": [5], "completion_ids": None},
        {"prompt_ids": [6], "completion_ids": list(range(9))},
    ]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows))
    assert result.own.texts == 2
    assert sum(left.rows for left in result.own.left_out) == 4
    assert all(left.reason and left.first for left in result.own.left_out)


def test_no_row_at_all_and_no_usable_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="empty"):
        freerun.loops(empty)
    with pytest.raises(DataError, match=r"no text in it can be used \(2 rows left out: "):
        freerun.loops(write(tmp_path / "a.jsonl", [{"prompt": "p", "completion": ""}] * 2))
    with pytest.raises(DataError, match=r"none\.jsonl"):
        freerun.loops(tmp_path / "none.jsonl")


def test_a_file_that_is_cut_off_is_said(tmp_path: Path) -> None:
    import gzip

    data = gzip.compress("".join(json.dumps({"prompt": "p", "completion": f"x {k}"}) + "\n" for k in range(9)).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(data[:-20])
    with pytest.raises(DataError) as caught:
        freerun.loops(path)
    assert len(str(caught.value).splitlines()) == 1


def test_one_row_one_token_and_a_huge_row(tmp_path: Path) -> None:
    ids = [*range(4, 990_000), *([3] * 10_004)]
    result = freerun.loops(write(tmp_path / "a.jsonl", [{"prompt_ids": [1], "completion_ids": ids}]))
    assert result.finding.status == "unknown"
    assert estimates(result)["loop_incidence"].value is None
    assert result.first_loops[0].token == 989_996 + 24
    assert result.stop_rules[0].tokens_saved == 10_004 - 48
    alone = [{"prompt_ids": [k], "completion_ids": [3]} for k in range(2)]
    assert estimates(freerun.loops(write(tmp_path / "b.jsonl", alone)))["loop_incidence"].value == 0.0


def test_real_text_needs_a_way_to_the_same_ids(tmp_path: Path, run: freerun.Run) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt_ids": [1], "completion_ids": [k] * 40} for k in range(3)])
    with pytest.raises(UsageError, match="unknown tokenizer: name it"):
        freerun.loops(path, real="builtin/python-docs")
    with pytest.raises(UsageError, match="give one of them"):
        freerun.loops(path, words=True, tokenizer="world/markov")
    with pytest.raises(UsageError, match="is a run"):
        freerun.loops(run.path, format="text")
    with pytest.raises(UsageError, match="unknown model"):
        freerun.loops(path, tokenizer="nothing")
    with pytest.raises(UsageError, match="copies"):
        freerun.loops(path, stop_rules=["copies=1"])


def test_rules_as_values(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt_ids": [k], "completion_ids": [k] * 40} for k in range(3)])
    result = freerun.loops(path, stop_rules=[StopRule(1, 30, 30), "period=1,copies=60"])
    assert [o.texts_stopped for o in result.stop_rules] == [3, 0]
    assert "--stop-rule period=1,copies=30,tokens=30" in result.command


def test_incidence_is_the_share_of_texts_where_nothing_is_cut_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt_ids": [k],
            "completion_ids": looping(20) if k % 4 == 0 else rng.integers(0, 999, int(rng.integers(5, 200))).tolist(),
            "finish_reason": "stop",
        }
        for k in range(80)
    ]
    result = freerun.loops(write(tmp_path / "a.jsonl", rows))
    assert estimates(result)["loop_incidence"].value == pytest.approx(0.25)
    assert result.own.ended == 80
