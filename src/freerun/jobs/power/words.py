"""What a power table says in words: its sentence, the three points of its page and the next step, all from its values."""

from __future__ import annotations

from dataclasses import replace

from freerun.counted import counted
from freerun.jobs.power.organisms import NULL
from freerun.results.power import PowerResult
from freerun.results.verdict import NextStep, Point, three_points

NOTICED = 0.8
"""Power from which on a defect counts as noticed."""
LONGEST = 256
"""Tokens of the longest texts of the full table."""


def with_words(result: PowerResult) -> PowerResult:
    """The result with the words that its values give; what words it had is put away."""
    return replace(
        result,
        sentence=_outcome(result) if result.null.all_inside else null_words(result),
        points=_points(result),
        next_step=NextStep("Longer texts and more reruns", "freerun power --full")
        if result.plan.lengths[-1] < LONGEST
        else None,
    )


def null_words(result: PowerResult) -> str:
    """How the rates with nothing planted lie to their band."""
    plan, null = result.plan, result.null
    band = f"{null.low:.1%} to {null.high:.1%}"
    if null.all_inside:
        return (
            f"Nothing planted: all {null.cells} null rates, {plan.null_reruns:,} reruns each, lie in one simultaneous band "
            f"around {plan.alpha:.0%} ({band}; tests that are conservative by construction not above it)."
        )
    lie = "lies" if len(null.outside) == 1 else "lie"
    return f"{len(null.outside)} of {null.cells} null rates {lie} outside the simultaneous band ({band}): {null.outside[0]}."


def _points(result: PowerResult) -> tuple[Point, ...]:
    """What was measured, what came out and how sure that is."""
    plan = result.plan
    measured = (
        "Texts of models with a planted defect were held against texts without it, and every metric had to say whether "
        f"they differ: {plan.reruns:,} times a cell, with new texts each time. Power is how often a defect is noticed; "
        f"size is how often one is “noticed” where none is (it should be about {plan.alpha:.0%})."
    )
    came_out = (
        f"With {plan.texts[-1]} texts a side of {plan.lengths[-1]} tokens, a defect counts as noticed where some metric rejects "
        f"in {NOTICED:.0%} of reruns or more on some base. {_outcome(result)}"
    )
    sure = f"{null_words(result)} Rates have Clopper–Pearson intervals ({plan.level:.0%})."
    return three_points(measured, came_out, sure)


def _outcome(result: PowerResult) -> str:
    """How many defects are noticed, first by what can be had for a real model."""
    planted = counted(sum(o != NULL for o in result.plan.organisms), "planted defect is", "planted defects are")
    usual, knowing = (_seen(result, knows_truth=knows) for knows in (False, True))
    words = f"{_number(usual)} of {planted} noticed by metrics that can be had for a real model{_most(usual)}"
    if knowing:
        words += f"; {_number(knowing)} by metrics that know the true law{_most(knowing)}, an upper limit"
    return f"{words}."


def _number(seen: dict[str, set[str]]) -> int:
    return len(set().union(*seen.values()))


def _seen(result: PowerResult, *, knows_truth: bool) -> dict[str, set[str]]:
    """The defects that each such metric notices, at the most texts and tokens; by the metric's label."""
    plan = result.plan
    label = {m.name: m.label for m in result.metrics if not m.control and m.knows_truth == knows_truth}
    seen: dict[str, set[str]] = {name: set() for name in label.values()}
    for c in result.cells:
        at_most = (c.tokens, c.texts) == (plan.lengths[-1], plan.texts[-1])
        if c.organism != NULL and c.metric in label and at_most and c.rate >= NOTICED:
            seen[label[c.metric]].add(c.organism)
    return seen


def _most(seen: dict[str, set[str]]) -> str:
    """The metric that notices most, in brackets after a space; empty where none notices any."""
    best = max(seen, key=lambda m: len(seen[m]), default=None)
    return "" if best is None or not seen[best] else f" (most by {best}: {len(seen[best])})"
