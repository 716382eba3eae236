from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from freerun.findings.drift import CONTEXT
from freerun.findings.points import _drifted
from freerun.results.finding import Finding
from freerun.stats.intervals import Interval


@pytest.mark.parametrize(
    ("gap", "detected", "said"),
    [(-0.06, False, "it is surer of"), (0.06, False, "it is less sure of"), (-0.06, True, None), (None, False, None)],
    ids=["surer", "less_sure", "the_detector_found_it", "not_known"],
)
def test_a_drift_is_named_where_the_detector_found_nothing(gap: float | None, detected: bool, said: str | None) -> None:
    status: Any = "neutral" if gap is None else "bad"
    interval = None if gap is None else Interval(gap, gap - 0.02, gap + 0.02, 0.95, 20)
    drift = replace(Finding.unknown("drift", "?", "…", CONTEXT.estimate(interval, text="…")), status=status)
    comparison: Any = SimpleNamespace(detected=detected)
    words = " ".join(_drifted({"drift": drift}, comparison))
    assert words == "" if said is None else f"point to a difference: {said} the next token" in words
