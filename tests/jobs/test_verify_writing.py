"""What verified samples do apart from the law: loops as `freerun loops` finds them, drift, and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.jobs.verify import repetition
from freerun.jobs.verify.verify import verify
from freerun.results.finding import Estimate, Finding
from freerun.results.verify import VerifyResult
from tests.jobs.test_verify import ENDING, MODEL, TOKENS, WORLD, Row, drawn, ended, verified, written


def finding(result: VerifyResult, name: str) -> Finding:
    return next(f for f in result.findings if f.name == name)


def looping(rows: list[Row]) -> list[Row]:
    """Some completions repeat a phrase; one of those phrases stands half in the prompt, and one is tool output."""
    rows = [dict(row) for row in rows]
    for row, phrase in zip(rows[:4], ([3, 4], [5, 6, 7], [1], [2, 6, 7, 4]), strict=True):
        row["completion_ids"] = row["completion_ids"][:10] + (phrase * TOKENS)[: TOKENS - 10]
        row.pop("logprobs")
    rows[3]["drawn"] = [1] * 10 + [0] * (TOKENS - 10)
    return rows


def without_names(estimates: tuple[Estimate, ...]) -> list[tuple[Any, ...]]:
    return [(e.name, e.value, e.low, e.high, e.n) for e in estimates]


def test_loops_are_those_of_the_verb_loops(tmp_path: Path) -> None:
    rows = looping(drawn())
    mine = finding(verified(tmp_path, rows), "loops")
    theirs = freerun.loops(written(tmp_path, rows), tokenizer=WORLD).finding
    assert mine.sentence == theirs.sentence
    assert without_names(mine.estimates) == without_names(theirs.estimates)
    assert mine.tables == theirs.tables
    assert mine.sentence.startswith(f"5.0% of 60 texts loop within {TOKENS} tokens")  # the tool's output is not a loop


def test_a_long_file_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "MOST_TOKENS", 20 * TOKENS)
    found = finding(verified(tmp_path, drawn()), "loops")
    assert any("in 20 of 60 completions, spread evenly" in note for note in found.notes)


def test_drift_is_the_slope_of_each_completion(tmp_path: Path) -> None:
    """All completions are equally long, so that the slope is the mean of `np.polyfit`'s over them."""
    rows = [row for row in drawn(n=12) if len(row["completion_ids"]) == TOKENS]
    found = finding(verified(tmp_path, rows), "drift")
    slopes = []
    for row in rows:
        text = np.array(row["prompt_ids"] + row["completion_ids"], np.int64)
        laws = [c.law.log_probs() for c in MODEL.laws([text], first=len(row["prompt_ids"]))]
        log_p = np.concatenate(laws)
        p = np.exp(log_p)
        entropy = -(p * np.where(p > 0, log_p, 0.0)).sum(axis=1)
        slopes.append(np.polyfit(np.log2(1 + np.arange(TOKENS)), entropy, 1)[0])
    slope = found.estimates[0]
    assert slope.value == pytest.approx(np.mean(slopes), abs=1e-6)
    assert slope.low is not None
    assert slope.low < slope.value < (slope.high or -9)
    one = tmp_path / "one"
    one.mkdir()
    assert finding(verified(one, rows[:1]), "drift").status == "unknown"


def test_ends_over_those_expected(tmp_path: Path) -> None:
    """The organism ends with a hazard of 0.04 at each token; a file of finished texts ends too often."""
    rows = ended(40, n=200)
    (rate,) = finding(verify(written(tmp_path, rows), ENDING, out=tmp_path / "all"), "ends").estimates
    n_ends = sum(row["finish_reason"] == "stop" for row in rows)
    assert rate.value == pytest.approx(n_ends / (0.04 * sum(len(row["completion_ids"]) for row in rows)))
    finished = [row for row in ended(14, n=300) if row["finish_reason"] == "stop"]
    (rate,) = finding(verify(written(tmp_path, finished), ENDING, out=tmp_path / "some"), "ends").estimates
    assert rate.low is not None
    assert rate.low > 1


def test_what_the_file_says_of_its_sampling_and_of_its_weights(tmp_path: Path) -> None:
    """A rule that was asked for and not declared is the next thing to try; several versions of the weights have no one law."""
    rows: list[Row] = [{**row, "sampling": {"temperature": 0.5, "stop": ["x"]}} for row in drawn("t=0.5")]
    found = verified(tmp_path, rows)
    (asked,) = found.samples.asked
    assert (asked.words, asked.n, asked.is_declared) == ("temperature=0.5", 60, False)
    assert any("60 completions that temperature=0.5 was asked for" in note for note in finding(found, "samples").notes)
    assert found.verdict.next_step is not None
    assert found.verdict.next_step.type == "--declared temperature=0.5"
    (tmp_path / "right").mkdir()
    right = verified(tmp_path / "right", rows, declared="t=0.5")
    assert right.samples.asked[0].is_declared
    assert not any("asked for" in note for note in finding(right, "samples").notes)
    assert right.samples.n_weight_versions == 0
    (tmp_path / "versions").mkdir()
    several = [
        {**row, "weight_version": ["3"] * 10 + ["4"] * (TOKENS - 10) if i else "3"} for i, row in enumerate(drawn())
    ]
    mixed = verified(tmp_path / "versions", several)
    assert [(v.name, v.n) for v in mixed.samples.weight_versions] == [("3", 60), ("4", 59)]
    assert any("by 2 versions of the weights: 3 (60), 4 (59)." in note for note in finding(mixed, "samples").notes)
