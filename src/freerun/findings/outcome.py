"""Pass, fail or inconclusive: the one place where a horizon is held against a length. Verdicts and gates use the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freerun.stats.horizon import HorizonResult

Verdict = Literal["pass", "fail", "inconclusive"]
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


@dataclass(frozen=True)
class Outcome:
    """A verdict and why."""

    verdict: Verdict
    words: str

    @property
    def exit_code(self) -> int:
        """What a gate on this verdict exits with."""
        return EXIT_CODES[self.verdict]


def judge(h: HorizonResult, *, at_least: float, longest: int) -> Outcome:
    """Is the horizon at least so many tokens? Decided by its interval alone; what lies beyond `longest` was not measured."""
    name = f"H{round(100 * h.level_auc)}"
    sure = f"{h.level:.0%} interval"
    if h.high is not None and h.high < at_least:
        return Outcome("fail", f"{name} is below {at_least:.0f} tokens: its {sure} ends at {h.high:.0f}")
    if h.side == "below" and h.high is None:
        return Outcome("fail", f"{name} is below {at_least:.0f} tokens: it is reached at the first token")
    if h.low is not None and h.low >= at_least:
        return Outcome("pass", f"{name} is at least {at_least:.0f} tokens: its {sure} begins at {h.low:.0f}")
    if at_least > longest and (h.high is None or h.high >= longest):
        return Outcome(
            "inconclusive",
            f"{name} was measured up to {longest} tokens only, so {at_least:.0f} cannot be decided: more tokens would",
        )
    low = "the first token" if h.low is None else f"{h.low:.0f}"
    high = f"beyond {longest}" if h.high is None else f"{h.high:.0f}"
    return Outcome(
        "inconclusive",
        f"{name} lies between {low} and {high} tokens ({sure}), on both sides of {at_least:.0f}: more documents would decide",
    )
