"""Pass, fail, inconclusive: by the interval alone, censoring undecided."""

from __future__ import annotations

import pytest

from freerun.findings.outcome import judge
from freerun.stats.horizon import HorizonResult


def h(value: float | None, low: float | None, high: float | None, side: str = "inside") -> HorizonResult:
    return HorizonResult(value, side, low, high, 0.95, 0.75, 1000, 0.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "at_least", "verdict", "code"),
    [
        (h(17, 8, 22), 128, "fail", 1),
        (h(17, 8, 22), 8, "pass", 0),
        (h(17, 8, 22), 16, "inconclusive", 3),
        (h(None, 128, None, "above"), 128, "pass", 0),  # reached in no resample up to 128
        (h(None, 128, None, "above"), 256, "inconclusive", 3),  # censored below the gate
        (h(None, 90, None, "above"), 128, "inconclusive", 3),
        (h(None, None, 1.0, "below"), 2, "fail", 1),
        (h(None, None, None, "below"), 2, "fail", 1),
        (h(40, None, None), 16, "inconclusive", 3),
    ],
)
def test_judged(result: HorizonResult, at_least: float, verdict: str, code: int) -> None:
    found = judge(result, at_least=at_least, longest=128)
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert "H75" in found.words
