"""The registry: every number of a result is a quantity that stands there, once."""

from __future__ import annotations

from pathlib import Path

import pytest

import freerun
from freerun.findings.registry import GATES, QUESTIONS

SPOKEN_FOR = {(q.finding, q.name) for question in QUESTIONS for q in question.quantities}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    out = tmp_path_factory.mktemp("registry") / "run"
    return freerun.audit("ngram/3@builtin/python-docs", "builtin/python-docs", out=out, documents=40, tokens=32)


def test_every_estimate_is_a_quantity(run: freerun.Run) -> None:
    asked = {question.name for question in QUESTIONS if question.quantities}
    made = {(f["name"], e["name"]) for f in run.result["findings"] if f["name"] in asked for e in f["estimates"]}
    assert len(made) > 40
    assert made <= SPOKEN_FOR


def test_units_are_those_of_the_quantity(run: freerun.Run) -> None:
    units = {(q.finding, q.name): q.unit for question in QUESTIONS for q in question.quantities}
    for f in run.result["findings"]:
        for e in f["estimates"]:
            assert e["unit"] == units.get((f["name"], e["name"]), e["unit"]), e["name"]


def test_names_are_given_once() -> None:
    assert len(SPOKEN_FOR) == sum(len(question.quantities) for question in QUESTIONS)
    assert all(q.finding == question.name for question in QUESTIONS for q in question.quantities)
    names = [name for question in QUESTIONS for q in question.quantities for name in q.gates]
    assert len(set(names)) == len(names) == len(GATES)
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS)


OF_OTHER_RUNS = ("verbal", "entropy_rate", "requests")
"""Findings of models that are asked, and of served ones."""


def test_order_is_that_of_the_result(run: freerun.Run) -> None:
    names = [question.name for question in QUESTIONS]
    assert [f["name"] for f in run.result["findings"]] == [n for n in names if n not in OF_OTHER_RUNS]
    assert Path(QUESTIONS[0].page).name == "loss.md"
