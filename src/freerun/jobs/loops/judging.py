"""Texts that were read, judged: what repeats in them, what stop rules would do, and the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freerun.findings.loops.of_texts import loops_of_texts
from freerun.findings.loops.repetition import DIFFER, STOP_RULES, stop_outcomes
from freerun.jobs.loops.first import first_of
from freerun.jobs.loops.reading import Sides
from freerun.results.finding import Finding
from freerun.results.loops import FirstLoop, StopRuleOutcome
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.near_loops import NearRule
from freerun.stats.loops.repetitions import find_repetitions
from freerun.stats.loops.stop_rules import StopRule

RULE = LoopRule()


@dataclass(frozen=True)
class LoopsOfSides:
    """The finding, with what it was made from."""

    finding: Finding
    outcomes: tuple[StopRuleOutcome, ...]
    first: tuple[FirstLoop, ...]


def judge_loops(sides: Sides, rules: Sequence[StopRule] = STOP_RULES) -> LoopsOfSides:
    """Look for loops in both sides, and apply the stop rules."""
    own, base, spelling = sides.own, sides.real, sides.own.spelling
    near = NearRule(RULE, DIFFER)
    mine = find_repetitions(own.texts, near, rules)
    theirs = None if base is None else find_repetitions(base.texts, near, rules)
    unit = "document" if sides.matched else "prompt or text"
    outcomes = stop_outcomes(rules, mine, theirs, unit=spelling.unit, independent_unit=unit)
    first = (
        *first_of(mine, own.names, spelling, RULE, side="own"),
        *(() if base is None or theirs is None else first_of(theirs, base.names, base.spelling, RULE, side="real")),
    )
    finding = loops_of_texts(
        mine,
        theirs,
        rule=RULE,
        stop_rules=rules,
        outcomes=outcomes,
        first=first,
        unit=spelling.unit,
        independent_unit=unit,
        matched=sides.matched,
        facts=own.facts,
        notes=() if base is None else base.facts.notes,
    )
    return LoopsOfSides(finding, tuple(outcomes), first)
