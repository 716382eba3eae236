"""What cannot be planted is refused by its plan alone: nothing is loaded, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import freerun
from freerun.errors import UsageError
from freerun.jobs.lab.organism.plan import check_plan
from tests.jobs.lab.planting import plan_of


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("self_detector", "a score of all text so far.*freerun power --organisms self_detector"),
        ("hash", "check a hash"),
        ("absorbin", "did you mean 'absorbing'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_reason(tmp_path: Path, kind: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_plan(plan_of(tmp_path, kind))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"learning_rate": float("nan")}, "--learning-rate must lie above 0"),
        ({"learning_rate": -1.0}, "--learning-rate must lie above 0"),
        ({"own_tokens": -5}, "--own-tokens must be at least 256"),
        ({"payload": "text="}, "--text is empty"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_loaded(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        check_plan(plan_of(tmp_path, "payload", **changed))


def test_a_name_that_is_no_model_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        freerun.organism("absorbing", "nosuch", tmp_path / "out")
    assert not (tmp_path / "out").exists()
