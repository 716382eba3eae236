"""The one place where a horizon is compared with a length. Gates ask for a length; a verdict only says what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freerun.results.horizons import at_least, interval_words, outside, spoken
from freerun.results.verdict import Measured
from freerun.stats.detection.horizon import HorizonResult

Ruling = Literal["pass", "fail", "inconclusive"]
EXIT_CODES: dict[Ruling, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


@dataclass(frozen=True)
class Outcome:
    """What became of a requirement, and why."""

    verdict: Ruling
    words: str

    @property
    def exit_code(self) -> int:
        """What a gate on this verdict exits with."""
        return EXIT_CODES[self.verdict]


def judge(h: HorizonResult, *, at_least: float, longest: int, detected: bool = True) -> Outcome:
    """Is the horizon at least so many tokens? Decided by its interval alone; what lies beyond `longest` was not measured.

    `detected`: whether a difference between own and real text was found. A horizon is where they are told apart: without that none
    is too short.
    """
    name, sure = f"H{round(100 * h.level_auc)}", f"{h.level:.0%} interval"
    if h.high.is_below(at_least) and not detected:
        return Outcome(
            "inconclusive",
            f"{name} would be below {at_least:.0f} tokens ({sure} {interval_words(h)}), but no difference was found over all "
            "detectors and lengths together",
        )
    if h.high.is_below(at_least):
        ends = f"ends at {h.high.tokens:.0f}" if h.high.where == "inside" else f"is {outside(h.high)}"
        return Outcome("fail", f"{name} is below {at_least:.0f} tokens: its {sure} {ends}")
    if h.low.is_at_least(at_least):
        begins = f"begins at {h.low.tokens:.0f}" if h.low.where == "inside" else f"is {outside(h.low)}"
        return Outcome("pass", f"{name} is at least {at_least:.0f} tokens: its {sure} {begins}")
    if cut_short(h, at_least=at_least, longest=longest):
        return Outcome(
            "inconclusive",
            f"{name} was measured up to {longest} tokens only, so {at_least:.0f} cannot be decided: more tokens would",
        )
    return Outcome(
        "inconclusive",
        f"{name}, {sure} {interval_words(h)} tokens, may lie on both sides of {at_least:.0f}",
    )


def cut_short(h: HorizonResult, *, at_least: float, longest: int) -> bool:
    """Whether longer texts are what a decision lacks."""
    return at_least > longest and (h.high.where == "beyond" or h.high.tokens >= longest)


def measured(h: HorizonResult, *, detected: bool) -> tuple[Measured, str]:
    """What was measured, for a run of which nothing was required."""
    right, longest = (
        f"{round(100 * h.level_auc)} times in 100",
        round(h.low.tokens if h.low.where == "beyond" else h.high.tokens),
    )
    if detected and h.high.where != "beyond":
        return "told_apart", f"told apart {right} {spoken(h)}"
    if h.low.where == "beyond":
        return (
            "not_reached",
            f"told apart {right} at no length up to {longest} tokens ({h.level:.0%} interval {outside(h.low)})",
        )
    ends = f"{h.level:.0%} interval {interval_words(h)} tokens"
    if detected:
        best = outside(h.estimate) or f"about {h.estimate.tokens:.0f}"
        return "open", f"from which length on they are told apart {right} is uncertain: {best} ({ends})"
    known = at_least(h.low)
    return (
        "open",
        f"whether they can be told apart {right} at some length is open{f'; if so, the length is {known}' if known else ''}",
    )
