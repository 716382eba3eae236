"""What a search for loops measured, what came out and how sure that is, for somebody who knows none of the words."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.counted import counted
from freerun.findings.loops.repetition import number
from freerun.results.finding import Estimate
from freerun.results.loops import LoopDefinition, StopRuleOutcome, TextsRead
from freerun.results.verdict import NextStep, Point, three_points


def loops_points(
    definition: LoopDefinition,
    own: TextsRead,
    real: TextsRead | None,
    outcomes: Sequence[StopRuleOutcome],
    unit: str,
    *,
    known: bool,
) -> tuple[Point, ...]:
    """Under the answer. `known`: whether anything can be said of other texts."""
    beside = "" if real is None else f", and {counted(real.texts, 'real text')} beside them"
    measured = (
        f"{counted(own.texts, 'text')} of {own.name}, {own.tokens:,} {unit}{beside}. A loop is a phrase that stands at least "
        f"{definition.copies} times in a row, over at least {definition.tokens} {unit}. A stop rule ends a text as soon as a phrase has come "
        "back often enough."
    )
    sure = (
        f"{counted(own.independent, 'text')} of these count as independent. Intervals are 95%, for other texts of this kind; texts that were cut off "
        "count up to there."
    )
    return three_points(measured, " ".join(_stopped(o, own, real, unit) for o in outcomes), sure if known else "")


def _stopped(o: StopRuleOutcome, own: TextsRead, real: TextsRead | None, unit: str) -> str:
    """What one stop rule would have done."""
    found = {e.name: e for e in o.estimates}
    saved = _of(found["tokens_saved"], percent=True)
    said = f"The rule {o.rule} would have ended {o.texts_stopped:,} of {counted(own.texts, 'text')} and saved {saved} of the {unit}"
    if real is None or o.real_texts_stopped is None:
        return f"{said}."
    stops = _of(found["false_stops_per_million_tokens"])
    return f"{said}; of {counted(real.texts, 'real text')} it would have ended {o.real_texts_stopped:,} by mistake, {stops} per million {unit}."


def _of(estimate: Estimate, *, percent: bool = False) -> str:
    def shown(x: float | None) -> str:
        return "?" if x is None else f"{x:.1%}" if percent else number(x)

    if estimate.value is None:
        return "an unknown share" if percent else "an unknown number"
    if estimate.low is None:
        return shown(estimate.value)
    return f"{shown(estimate.value)} ({shown(estimate.low)} to {shown(estimate.high)})"


def loops_next(real: TextsRead | None, *, known: bool) -> NextStep | None:
    """What would answer what is left open."""
    if not known:
        return NextStep("Give it texts of more prompts or documents", "freerun loops MORE_TEXTS")
    if real is None:
        return NextStep(
            "See how often real text does it, and what a stop rule costs there: the same command with", "--real CORPUS"
        )
    return None
