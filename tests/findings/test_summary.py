"""The result of an audit as a typed value: both ways through JSON, and its head from facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import freerun
from freerun.results.audit import AuditResult
from freerun.results.finding import Cell, to_json
from freerun.results.json import from_json

SMALL: dict[str, Any] = {"documents": 40, "tokens": 24, "prefix": 8}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "perfect": ("world/markov", "world/markov", {}),
    "cold": ("world/markov+temperature,t=0.5", "world/markov", {}),
    "redacted": ("world/markov", "world/markov", {"redact_text": True, "prefix": 16}),
    "few": ("world/markov+end,hazard=0.9", "world/markov", {}),  # ends nearly every text at its first token
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        name: freerun.audit(model, corpus, out=folder / name, **(SMALL | options))
        for name, (model, corpus, options) in RUNS.items()
    }
    return {name: json.loads(Path(run.path, "result.json").read_text()) for name, run in runs.items()}


@pytest.mark.parametrize("name", RUNS)
def test_a_result_comes_back_from_json_as_it_was(results: dict[str, dict[str, Any]], name: str) -> None:
    result = from_json(AuditResult, results[name])
    assert json.loads(json.dumps(to_json(result))) == results[name]


def test_the_yardsticks_table_says_what_the_scale_shows(results: dict[str, dict[str, Any]]) -> None:
    scale = from_json(AuditResult, results["cold"]).yardsticks
    assert scale is not None
    assert [row[0] for row in scale.rows] == [mark.label for mark in scale.scale]
    for row, mark in zip(scale.rows, scale.scale, strict=True):
        assert isinstance(row[1], Cell)
        assert (row[1].value, row[1].low, row[1].high) == (mark.value, mark.low, mark.high)
        assert row[1].text == (mark.text or f"{mark.value:.0f}")
    assert [m.value for m in scale.scale[-2:]] == [None, None]
    assert {m.text for m in scale.scale[-2:]} == {"later than 24"}


def test_too_few_documents_are_unknown_and_not_an_error(results: dict[str, dict[str, Any]]) -> None:
    few = from_json(AuditResult, results["few"])
    assert (few.verdict.status, few.verdict.outcome, few.yardsticks) == ("unknown", "not_judged", None)
    assert [c.value for c in few.headline if c.label == "Free-run horizon H75"] == ["unknown"]
    unknown = [c for c in few.headline if c.value == "unknown"]
    assert "Entropy drift" in {c.label for c in unknown}
    assert {c.unit for c in unknown} == {""}


def test_a_verdict_says_what_was_measured_what_came_out_and_how_sure(results: dict[str, dict[str, Any]]) -> None:
    verdict = from_json(AuditResult, results["cold"]).verdict
    assert [p.label for p in verdict.points] == ["What was measured", "What came out", "How sure"]
    measured, came_out, sure = (p.text for p in verdict.points)
    assert "40 texts of world/markov,symbols=8,seed=0 were cut after 8 tokens" in measured
    assert "continued each twice for 24 tokens" in measured
    assert "(guessing: 50)" in came_out
    assert "95% intervals, for other texts of this kind" in sure
    assert "one token in" in sure


def test_what_gives_a_cold_law_away_is_said_in_words(results: dict[str, dict[str, Any]]) -> None:
    """At t = 0.5 the law that is audited is cold itself: the author surprises it, its own text does not."""
    came_out = from_json(AuditResult, results["cold"]).verdict.points[1].text
    assert "What gives it away first: the author surprises it more than it expects, its own text does not." in came_out


@pytest.mark.parametrize(
    ("name", "step"), [("perfect", "--documents 80"), ("few", "--documents 80"), ("redacted", "--documents 80")]
)
def test_few_documents_look_like_few_and_the_next_step_is_to_take_more(
    results: dict[str, dict[str, Any]], name: str, step: str
) -> None:
    verdict = from_json(AuditResult, results[name]).verdict
    assert verdict.strength == "slight"
    assert verdict.next_step is not None
    assert verdict.next_step.type == step


def test_every_card_belongs_to_a_finding(results: dict[str, dict[str, Any]]) -> None:
    for result in results.values():
        names = {f["name"] for f in result["findings"]}
        assert {card["finding"] for card in result["headline"]} <= names
