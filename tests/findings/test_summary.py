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
    assert {m.text for m in scale.scale[-2:]} == {"> 24"}


def test_too_few_documents_are_unknown_and_not_an_error(results: dict[str, dict[str, Any]]) -> None:
    few = from_json(AuditResult, results["few"])
    assert (few.verdict.status, few.verdict.outcome, few.yardsticks) == ("unknown", "not_judged", None)
    assert [c.value for c in few.headline if c.label == "Free-run horizon H75"] == ["unknown"]
    unknown = [c for c in few.headline if c.value == "unknown"]
    assert "Entropy drift" in {c.label for c in unknown}
    assert {c.unit for c in unknown} == {""}
