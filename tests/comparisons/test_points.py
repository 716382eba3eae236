"""What stands on the first screens of comparisons, by typed values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freerun.findings.outcome import measured
from freerun.results.horizons import HorizonSummary
from freerun.results.verdict import found_a_difference, horizon_beside
from freerun.stats.detection.horizon import End, HorizonResult

LENGTHS = np.array([1, 8, 64])
OPEN = HorizonResult(End("inside", 22.0), End("inside", 8.0), End("beyond", 64.0), 0.95, 0.75)


@pytest.mark.parametrize(
    ("detected", "words"),
    [
        (True, "22 (8 to later than 64)"),
        (False, "no difference found (8 or later)"),
        (None, "not judged"),
    ],
)
def test_a_table_states_a_horizon_only_where_a_difference_was_found(detected: bool | None, words: str) -> None:
    summary = HorizonSummary.of(OPEN, LENGTHS, detected=detected)
    assert (summary.detected, summary.words) == (detected, words)


def test_an_open_horizon_of_a_difference_that_was_found_is_stated_once() -> None:
    outcome, words = measured(OPEN, detected=True)
    verdict: dict[str, Any] = {"status": "bad", "outcome": outcome, "outcome_words": words}
    assert outcome == "open"
    assert "is uncertain: about 22 (95% interval 8 to later than 64 tokens)" in words
    assert horizon_beside(verdict) == "", "the sentence of the verdict has said it"
    outcome, words = measured(OPEN, detected=False)
    assert "22" not in words
    assert horizon_beside({"status": "neutral", "outcome": outcome, "outcome_words": words})
    assert found_a_difference("neutral", outcome) is False
