"""What is said of a sweep: the axis, the outcome of a trend, and no causal split."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from freerun.comparisons.sweeps.axis import Axis
from freerun.comparisons.sweeps.result import axis_sentence, direction_of
from freerun.results.sweep import Contrast, Direction
from freerun.stats.intervals import Interval
from freerun.stats.paired import PairedDifference


def test_a_slope_is_per_doubling() -> None:
    assert Axis("prefix", (0, 1, 7), (0, 1, 2)).x == (0.0, 1.0, 3.0)
    assert Axis("exemplars", (0, 3), (0, 1)).x == (0.0, 2.0)


def test_settings_in_words() -> None:
    prefix, exemplars = Axis("prefix", (0, 8), (0, 1)), Axis("exemplars", (0, 1, 4), (0, 1, 2))
    assert [prefix.after(v) for v in prefix.values] == ["from nothing", "after 8 tokens"]
    assert [exemplars.after(v) for v in exemplars.values] == ["with 0 exemplars", "with 1 exemplar", "with 4 exemplars"]


def trend(value: float = -0.02, adjusted_p: float | None = None) -> Contrast:
    d = PairedDifference(value, -0.03, -0.01, 0.95, 40, 0.005, 0.01)
    return Contrast.of(d, "AUC a doubling", adjusted_p)


@pytest.mark.parametrize(
    ("value", "p", "outcome"), [(-0.1, 0.01, "falls"), (0.1, 0.05, "grows"), (-0.1, 0.051, "none")]
)
def test_outcomes(value: float, p: float, outcome: str) -> None:
    assert direction_of(trend(value=value, adjusted_p=p)) == outcome


class Found:
    """Two settings with these mean AUCs, and an AUC with an interval at the last of 64 tokens."""

    def __init__(self, first: float, last: float, low: float) -> None:
        self.lengths = np.array([1, 64])
        end = SimpleNamespace(auc=Interval(last, low, 0.99, 0.95, 20))
        self.curves = tuple(
            SimpleNamespace(mean_auc=mean, curve=SimpleNamespace(detections=(end,))) for mean in (first, last)
        )


def said(outcome: Direction, swept: Any) -> str:
    return axis_sentence(trend(), outcome, Axis("prefix", (8, 512), (0, 1)), swept)


def test_the_sentence_says_how_much_falls_and_what_is_left() -> None:
    fell = said("falls", Found(0.71, 0.58, 0.55))
    assert fell == (
        "The gap falls with this much context: mean AUC over 1 to 64 tokens 0.71 after 8 tokens, 0.58 after 512 tokens (−0.020 a "
        "doubling, 95% interval −0.030 to −0.010). What is left after 512 tokens: AUC 0.58 (0.55 to 0.99) at 64 tokens."
    )
    none = said("none", Found(0.6, 0.58, 0.41))
    assert none.startswith("No fall of the gap with this much context was found:")
    assert "a slope of 0.014 is found with 80% power" in none
    assert none.endswith(
        "After 512 tokens no difference was found at 64 tokens at this n (AUC 0.58 (0.41 to 0.99) at 64 tokens)."
    )
    assert said("grows", Found(0.6, 0.7, 0.6)).startswith("The gap grows with this much context:")
