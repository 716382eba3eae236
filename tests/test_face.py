"""The library's face: every verb by its name, typed and documented."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

import freerun
from freerun.jobs.audit.options import AuditKeywords, AuditOptions

NAMES = [name for name in freerun.__all__ if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented_and_typed(name: str) -> None:
    thing = getattr(freerun, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
        assert f"`freerun.{name}" in (Path(__file__).parents[1] / "docs" / "python.md").read_text()


def test_keywords_of_an_audit_are_its_options() -> None:
    assert set(AuditKeywords.__annotations__) == {f.name for f in dataclasses.fields(AuditOptions)}


def test_verbs_take_a_name_in_the_place_of_a_predictor() -> None:
    assert len(freerun.predict("world/markov", "abba", top=2).tokens) == 4
    assert freerun.certify(0.01, 64).kind == "certify"
    result = freerun.source("world/authors", "abacab")
    assert result.kind == "source"


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        freerun.nothing  # noqa: B018
