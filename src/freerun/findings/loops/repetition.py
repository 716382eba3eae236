"""Near-loops, lists that only count, and stop rules: the numbers and tables that audits and texts without a model share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.findings.loops.quantities import (
    BEGUN,
    BEGUN_REAL,
    COUNTING,
    COUNTING_REAL,
    FALSE_STOPS,
    NEAR,
    NEAR_REAL,
    TOKENS_SAVED,
)
from freerun.results.finding import Cell, Estimate, Row, Table
from freerun.results.loops import StopRuleOutcome
from freerun.results.quantity import Quantity
from freerun.stats.intervals import Interval
from freerun.stats.loops.recurrences import FirstLoops
from freerun.stats.loops.repetitions import Repetitions, incidence, read_traps
from freerun.stats.loops.stop_rules import StopRule, Stops, share_left, share_saved, share_stopped, stops_per_token

DIFFER = 0.1
"""Share of the compared tokens that may differ in a near-loop."""
STOP_RULES = (StopRule(128, 3, 48), StopRule(512, 3, 24), StopRule(128, 6, 128))
"""Tried where none is named: the first is the one that numbers are given of; the second is the definition of a loop."""
MILLION = 1e6
CLUSTERED = "Korn–Graubard: exact binomial limits at the effective number, clustered by independent unit"
FEW = "too few independent texts for an interval"


def per_million(interval: Interval | None) -> Interval | None:
    """A rate per token as one per million."""
    if interval is None:
        return None
    value, low, high = (MILLION * x for x in (interval.value, interval.low, interval.high))
    return Interval(value, low, high, interval.level, interval.n)


def attempt(interval: Callable[[Stops], Interval], stops: Stops) -> Interval | None:
    """The interval; None where too few units are there."""
    try:
        return interval(stops)
    except TooFewDocuments:
        return None


def at_end(found: Repetitions, first: FirstLoops | None, *, up_to: int | None) -> Interval | None:
    """The incidence of a kind of loop by the last token."""
    curve = None if first is None else incidence(found.texts, first, up_to=up_to)
    return None if curve is None else curve.at_end


def repetition_estimates(
    own: Repetitions,
    real: Repetitions | None,
    rule: StopRule,
    *,
    up_to: int | None = None,
    unit: str = "tokens",
    independent_unit: str = "document",
) -> tuple[Estimate, ...]:
    """Numbers of near-loops, counting lists, loops begun, and of one stop rule; `up_to`: tokens after which real text is not followed."""
    out: list[Estimate] = []
    sides = ((own, NEAR, COUNTING, BEGUN), (real, NEAR_REAL, COUNTING_REAL, BEGUN_REAL))

    def add(quantity: Quantity, interval: Interval | None, how: str, label: str = "") -> None:
        estimate = quantity.estimate(
            interval, method=how, label=label, text="" if interval else FEW, independent_unit=independent_unit
        )
        out.append(in_unit(estimate, unit))

    for found, near, counting, begun in sides:
        if found is None:
            continue
        how = "Aalen–Johansen, end of text competing, clustered"
        add(near, at_end(found, found.near, up_to=up_to), f"{how}; at most {DIFFER:.0%} of the compared {unit} differ")
        if found.counting is not None:
            add(counting, at_end(found, found.counting, up_to=up_to), f"{how}; every number counts as the same sign")
        add(begun, per_million(read_traps(found).begun), f"every loop, per token that is not in one; {CLUSTERED}")
    if real is not None:
        how = f"texts ended per {unit.rstrip('s')} read up to there; {CLUSTERED}"
        add(FALSE_STOPS, per_million(attempt(stops_per_token, real.stops[0])), how, f"{FALSE_STOPS.label} ({rule})")
    how = "tokens not written / all tokens; Clopper–Pearson limits at the effective number of units"
    add(TOKENS_SAVED, attempt(share_saved, own.stops[0]), how, f"{TOKENS_SAVED.label} ({rule})")
    return tuple(out)


def in_unit(estimate: Estimate, unit: str) -> Estimate:
    """The estimate with its words for another unit than tokens."""
    if unit == "tokens":
        return estimate
    names = {"tokens": unit, "token": unit.rstrip("s"), "Tokens": unit.capitalize()}
    words = {field: getattr(estimate, field) for field in ("label", "unit", "method")}
    for field, text in words.items():
        words[field] = " ".join(names.get(word, word) for word in text.split(" "))
    return replace(estimate, **words)


def stop_outcomes(
    rules: Sequence[StopRule],
    own: Repetitions,
    real: Repetitions | None,
    *,
    unit: str = "tokens",
    independent_unit: str = "document",
) -> tuple[StopRuleOutcome, ...]:
    """What each rule does to both kinds of text."""
    out = []
    for k, rule in enumerate(rules):
        mine, theirs = own.stops[k], None if real is None else real.stops[k]
        named: list[tuple[str, str, str, Interval | None]] = [
            ("stopped", "Own texts that it ends", "share", attempt(share_stopped, mine)),
            ("tokens_saved", TOKENS_SAVED.label, "share", attempt(share_saved, mine)),
            (
                "left_of_stopped",
                "Own texts that it ends and that would have left their loop",
                "share",
                attempt(share_left, mine),
            ),
        ]
        if theirs is not None:
            named += [
                (FALSE_STOPS.name, FALSE_STOPS.label, FALSE_STOPS.unit, per_million(attempt(stops_per_token, theirs))),
                ("real_stopped", "Real texts that it ends", "share", attempt(share_stopped, theirs)),
                ("real_tokens_lost", "Tokens of real text that it loses", "share", attempt(share_saved, theirs)),
            ]
        estimates = tuple(
            in_unit(
                Estimate.of(name, label, interval, of, text="" if interval else FEW, independent_unit=independent_unit),
                unit,
            )
            for name, label, of, interval in named
        )
        out.append(
            StopRuleOutcome(
                rule=str(rule),
                period=rule.period,
                copies=rule.copies,
                tokens=rule.tokens,
                texts_stopped=int(mine.stopped.sum()),
                tokens_saved=mine.n_saved,
                texts_stopped_that_left=int(mine.left.sum()),
                real_texts_stopped=None if theirs is None else int(theirs.stopped.sum()),
                estimates=estimates,
            )
        )
    return tuple(out)


# ---- tables ------------------------------------------------------------------------------------------------------------


def repetition_table(arms: dict[str, Repetitions], *, up_to: int | None = None, unit: str = "tokens") -> Table:
    """Loops, near-loops and lists that only count, each with the texts that have no loop but it."""
    rows: list[Row] = []
    for label, found in arms.items():
        looped = found.loop.token >= 0
        near, counting = found.near.token >= 0, None if found.counting is None else found.counting.token >= 0
        rows.append(
            (
                label,
                *(Cell.number(n, ",") for n in (found.texts.n, int(looped.sum()), int((near & ~looped).sum()))),
                _rate(at_end(found, found.near, up_to=up_to)),
                Cell.number(None if counting is None else int((counting & ~looped).sum()), ","),
                _rate(at_end(found, found.counting, up_to=up_to)),
                _rate(per_million(read_traps(found).begun)),
            )
        )
    columns = (
        "text",
        "texts",
        "with a loop",
        "with a near-loop only",
        "near-loop or loop (95%)",
        "with a loop but for numbers only",
        "with or without numbers (95%)",
        f"loops begun per million {unit} (95%)",
    )
    return Table("loop_kinds", "Near-loops, and loops in which only numbers change", columns, tuple(rows))


def stop_table(outcomes: Sequence[StopRuleOutcome], *, unit: str = "tokens") -> Table:
    """What each stop rule would cost and save."""
    rows: list[Row] = []
    for o in outcomes:
        estimates = {e.name: e for e in o.estimates}
        rows.append(
            (
                o.rule,
                Cell.number(o.texts_stopped, ","),
                _share(estimates["tokens_saved"]),
                _of_those(o.texts_stopped_that_left, estimates["left_of_stopped"]),
                Cell.number(o.real_texts_stopped, ","),
                _share(estimates.get(FALSE_STOPS.name)),
                _share(estimates.get("real_tokens_lost")),
            )
        )
    columns = (
        "stop rule",
        "own texts ended",
        f"{unit} saved (95%)",
        "of those ended, left their loop (95% of the share)",
        "real texts ended",
        f"false stops per million {unit} (95%)",
        f"{unit} of real text lost (95%)",
    )
    return Table(
        "stop_rules", "Stop rules: what ending a text at its first loop would cost and save", columns, tuple(rows)
    )


def _of_those(n: int, share: Estimate) -> Cell:
    """A count, and what share of the stopped texts it is."""
    if share.value is None or share.low is None or share.high is None:
        return Cell.number(n, ",")
    return Cell(f"{n:,} ({share.low:.1%} to {share.high:.1%})", float(n), "", None, None)


def _share(estimate: Estimate | None) -> Cell:
    if estimate is None or estimate.value is None:
        return Cell("–", None)
    if estimate.low is None or estimate.high is None or estimate.level is None:
        return Cell.number(estimate.value, ".3g")
    return _rate(Interval(estimate.value, estimate.low, estimate.high, estimate.level, estimate.n or 0))


def _rate(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("–", None)
    value, low, high = (number(x) for x in (interval.value, interval.low, interval.high))
    return Cell(f"{value} ({low} to {high})", interval.value, "", interval.low, interval.high)


def number(x: float) -> str:
    """A share or a rate in few digits.

    >>> [number(x) for x in (0.0, 1e-9, 0.00012, 0.0312, 0.5, 12.34, 1234.5)]
    ['0', '<0.0001', '0.00012', '0.031', '0.500', '12', '1,234']
    """
    if x < 1e-4:
        return "0" if x == 0 else "<0.0001"
    if x < 0.1:
        return np.format_float_positional(float(f"{x:.2g}"), trim="-")
    return f"{x:.3f}" if x < 1 else f"{x:.1f}" if x < 10 else f"{x:,.0f}"
