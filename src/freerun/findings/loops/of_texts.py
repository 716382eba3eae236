"""Do these texts loop? The same question as an audit's, of texts that come without a model, with or without real text beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freerun.counted import counted
from freerun.findings.loops.finding import QUESTION
from freerun.findings.loops.quantities import (
    ENDS,
    ESCAPE,
    INCIDENCE,
    INCIDENCE_REAL,
    LOG_RANK,
    TIME_IN_TRAP,
)
from freerun.findings.loops.repetition import (
    CLUSTERED,
    DIFFER,
    FEW,
    in_unit,
    repetition_estimates,
    repetition_table,
    stop_table,
)
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table
from freerun.results.loops import FirstLoop, StopRuleOutcome, TextsRead
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.logrank import LogRank, stratified_log_rank
from freerun.stats.loops.repetitions import Repetitions, TrapsOfTexts, incidence, read_traps, time_to
from freerun.stats.loops.stop_rules import StopRule
from freerun.stats.loops.survival import END_OF_TEXT, CumulativeIncidence
from freerun.stats.loops.traps import time_in_trap

KINDS = {"loop": "loop", "near": "near-loop", "counting": "only numbers change"}


def loops_of_texts(
    own: Repetitions,
    real: Repetitions | None,
    *,
    rule: LoopRule,
    stop_rules: Sequence[StopRule],
    outcomes: Sequence[StopRuleOutcome],
    first: Sequence[FirstLoop],
    facts: TextsRead,
    unit: str = "tokens",
    independent_unit: str = "prompt or text",
    matched: bool = False,
    notes: Sequence[str] = (),
) -> Finding:
    """The finding; `matched`: a group of own texts and one of real texts with the same number continue the same document.

    Real text is followed no further than the longest own text, but for stop rules, which read all of it.
    """
    up_to = int(own.texts.lengths.max(initial=1))
    curve = incidence(own.texts, own.loop, every=True)
    ends = incidence(own.texts, own.loop, event=END_OF_TEXT, every=True)
    base = None if real is None else incidence(real.texts, real.loop, up_to=up_to, every=True)
    test = _log_rank(own, real, up_to) if matched and real is not None else None
    traps = {"own text": read_traps(own)} | ({} if real is None else {"real text": read_traps(real)})
    arms = {"own text": own} | ({} if real is None else {"real text": real})
    estimates = [
        *(in_unit(e, unit) for e in _incidences(curve, base, ends, real is not None)),
        *repetition_estimates(own, real, stop_rules[0], up_to=up_to, unit=unit, independent_unit=independent_unit),
        *(in_unit(e, unit) for e in _trap_estimates(traps["own text"])),
        *([] if test is None else [_test_estimate(test)]),
    ]
    return Finding(
        name="loops",
        question=QUESTION,
        sentence=_sentence(own, curve, base, ends, up_to, unit, test),
        status="unknown" if curve is None else "neutral",
        estimates=tuple(estimates),
        charts=() if curve is None or ends is None else (_chart(curve, ends, base, unit),),
        tables=(
            _counts_table(own, real, up_to, unit),
            repetition_table(arms, up_to=up_to, unit=unit),
            stop_table(outcomes, unit=unit),
            _trap_table(traps, unit),
            *_first_table(first, unit),
        ),
        licence=_licence(rule, unit, independent_unit, test is not None),
        notes=(*_notes(facts, unit, own.counting is None, real is not None), *facts.notes, *notes),
    )


def _log_rank(own: Repetitions, real: Repetitions, up_to: int) -> LogRank:
    """Own against real continuations of the same documents."""
    sides = [time_to(side.texts, side.loop, up_to=up_to) for side in (own, real)]
    time, cause = (np.concatenate([a, b]) for a, b in zip(*sides, strict=True))
    strata = np.concatenate([own.texts.groups, real.texts.groups])
    return stratified_log_rank(time, cause, np.arange(time.size) < own.texts.n, strata)


# ---- numbers -----------------------------------------------------------------------------------------------------------


def _incidences(
    curve: CumulativeIncidence | None,
    base: CumulativeIncidence | None,
    ends: CumulativeIncidence | None,
    has_real: bool,
) -> list[Estimate]:
    how = "Aalen–Johansen, end of text competing, clustered"
    chosen = [(INCIDENCE, curve, how), (ENDS, ends, "Aalen–Johansen, loops competing, clustered")]
    if has_real:
        chosen.insert(1, (INCIDENCE_REAL, base, f"{how}; up to the longest own text"))
    return [
        q.estimate(None if c is None else c.at_end, method=m, text="" if c else FEW, independent_unit="prompt or text")
        for q, c, m in chosen
    ]


def _trap_estimates(traps: TrapsOfTexts) -> list[Estimate]:
    unit = "prompt or text with a loop"
    if traps.escape is None:
        why = "no loop" if not traps.traps.n_traps else "loops in too few independent texts"
        return [q.estimate(None, text=why, independent_unit=unit) for q in (ESCAPE, TIME_IN_TRAP)]
    time = time_in_trap(traps.escape)
    mean = Estimate(
        TIME_IN_TRAP.name,
        TIME_IN_TRAP.label,
        time.tokens,
        TIME_IN_TRAP.unit,
        time.low,
        time.high,
        traps.escape.level,
        traps.escape.n,
        unit,
        "1 / chance of leaving, as if it were the same at every token",
        "" if time.tokens is not None else "none left",
    )
    return [
        ESCAPE.estimate(traps.escape, method=f"escapes per token in a loop; {CLUSTERED}", independent_unit=unit),
        mean,
    ]


def _test_estimate(test: LogRank) -> Estimate:
    return LOG_RANK.number(
        test.p_exact,
        n=test.n_informative,
        independent_unit="document with a loop",
        method="cause-specific, strata are documents; hypergeometric laws of its tables, two-sided",
    )


# ---- words -------------------------------------------------------------------------------------------------------------


def _sentence(
    own: Repetitions,
    curve: CumulativeIncidence | None,
    base: CumulativeIncidence | None,
    ends: CumulativeIncidence | None,
    up_to: int,
    unit: str,
    test: LogRank | None,
) -> str:
    n_loops = int((own.loop.token >= 0).sum())
    if curve is None or ends is None:
        return (
            f"{counted(n_loops, 'text')} of {own.texts.n:,} {'loops' if n_loops == 1 else 'loop'}; all of them are one independent "
            "unit, so nothing can be said of others."
        )
    share = curve.at_end
    said = f"{share.value:.1%} of {counted(own.texts.n, 'text')} loop within {up_to:,} {unit} (95% interval {share.low:.1%} to {share.high:.1%})"
    if base is not None:
        said += f", against {base.at_end.value:.1%} of real ones ({base.at_end.low:.1%} to {base.at_end.high:.1%})"
    if test is not None:
        p = "p < 0.0001" if test.p_exact < 1e-4 else f"p = {test.p_exact:.2g}"
        said += f", log-rank test within documents {p}"
    return f"{said}."


def _licence(rule: LoopRule, unit: str, independent_unit: str, tested: bool) -> str:
    null = (
        " Null of the log-rank test: the continuations of one document, real or own, have the same loop hazard."
        if tested
        else ""
    )
    return (
        f"A loop: a phrase of at most {rule.max_period} {unit}, at least {rule.copies} times in a row and over at least {rule.min_tokens} "
        f"{unit}. Near-loop: at most {DIFFER:.0%} of the compared {unit} differ from those a period before; {unit} put in or left out are not "
        "forgiven. The length at which a text was cut off censors, its own end competes. Independent unit of own text: "
        f"{independent_unit}; of real text: the document. 95% intervals, by position pointwise. Fixed n.{null}"
    )


def _notes(facts: TextsRead, unit: str, no_numbers: bool, has_real: bool) -> list[str]:
    notes = []
    if facts.copies:
        notes.append(
            f"{counted(facts.copies, 'text is', 'texts are')} an exact copy of one before: equal seeds, greedy sampling, or a prompt with one "
            "answer. Without a prompt or group, copies count as one independent unit."
        )
    if facts.end_unknown:
        notes.append(
            f"Nothing says how {counted(facts.end_unknown, 'text')} ended. They count as ended by themselves, so that the incidence is the share of "
            "texts that loop; if they were cut off, longer ones would loop more often."
        )
    if facts.with_undrawn:
        notes.append(
            f"{counted(facts.with_undrawn, 'text holds', 'texts hold')} tokens that were not drawn (tool output, for example); these repeat nothing."
        )
    if facts.without_prompt:
        notes.append("Where no prompt is known, a loop begins in the completion alone.")
    if unit == "words":
        notes.append(
            "Counted in words (runs of letters, numbers, single signs and line breaks), for want of a tokenizer: lengths and rates are in words, and a "
            "rule reaches further than in tokens. --tokenizer MODEL counts tokens."
        )
    if no_numbers:
        notes.append(
            "Ids alone do not say which tokens are numbers, so lists in which only the number changes are not looked for; --tokenizer MODEL says it."
        )
    notes.append(
        "Some real text has good reason to repeat itself (tables, code, verse): read its first loops before you choose a rule. A rate of false stops is "
        "one of texts like these."
        if has_real
        else "Real text repeats itself too (tables, code, verse), and loops mean little without a base rate: --real CORPUS gives it."
    )
    return notes


# ---- chart and tables --------------------------------------------------------------------------------------------------


def _chart(curve: CumulativeIncidence, ends: CumulativeIncidence, base: CumulativeIncidence | None, unit: str) -> Chart:
    def on_axis(values: np.ndarray, times: np.ndarray) -> np.ndarray:
        at = np.clip(np.searchsorted(times, curve.times, side="right") - 1, 0, None)
        return np.where(curve.times < times[0], 0.0, values[at])

    series = [Series.curve("own text, loop", "free", curve.incidence, curve.low, curve.high)]
    if base is not None:
        columns = (on_axis(v, base.times) for v in (base.incidence, base.low, base.high))
        series.insert(0, Series.curve("real text, loop", "real", *columns))
    series.append(Series.curve("own text, end of text", "other", ends.incidence, ends.low, ends.high))
    top = float(max(curve.high.max(), ends.incidence.max()))
    return Chart(
        name="loop_incidence",
        title=f"Share of texts with a loop, by {unit.rstrip('s')}",
        x_label=f"{unit} after the prompt",
        y_label="cumulative incidence",
        x=tuple(float(t) for t in curve.times),
        series=tuple(series),
        y_range=(0.0, max(0.05, min(1.0, 1.2 * top))),
    )


def _counts_table(own: Repetitions, real: Repetitions | None, up_to: int, unit: str) -> Table:
    rows: list[Row] = []
    for label, side in (("own text", own), ("real text", real)):
        if side is None:
            continue
        texts = side.texts
        curve = incidence(texts, side.loop, up_to=up_to)
        counts = (texts.n, int(np.unique(texts.groups).size), texts.n_tokens, int((side.loop.token >= 0).sum()))
        rows.append(
            (
                label,
                *(Cell.number(n, ",") for n in counts),
                Cell.of(None if curve is None else curve.at_end, 3, "share"),
            )
        )
    columns = ("text", "texts", "independent", unit, "with a loop", f"loop by {unit.rstrip('s')} {up_to:,} (95%)")
    return Table("loop_counts", "What was counted", columns, tuple(rows))


def _trap_table(traps: dict[str, TrapsOfTexts], unit: str) -> Table:
    rows: list[Row] = []
    for label, side in traps.items():
        t = side.traps
        numbers = (Cell.number(n, ",") for n in (t.n_traps, t.n_tokens, t.n_escapes, t.n_open))
        rows.append((label, *numbers, Cell.of(side.escape, 4, "per token"), Cell.number(t.n_groups, ",")))
    columns = (
        "text",
        "loops",
        f"{unit} inside",
        "left again",
        "not left",
        "chance of leaving, each (95%)",
        "independent",
    )
    return Table("loop_traps", "How loops are left", columns, tuple(rows))


def _first_table(first: Sequence[FirstLoop], unit: str) -> tuple[Table, ...]:
    if not first:
        return ()
    rows: tuple[Row, ...] = tuple(
        (
            f.side,
            f.name,
            KINDS[f.kind],
            Cell.number(f.token, ",", unit),
            f"“{f.phrase}”",
            Cell.number(f.period, ",", unit),
            Cell.number(f.copies, ","),
            "–"
            if f.lasted_tokens is None
            else f"{counted(f.lasted_tokens, unit.rstrip('s'))}, " + ("then left" if f.left else "not left"),
        )
        for f in first
    )
    columns = (
        "text",
        "row or document",
        "kind",
        f"complete at {unit.rstrip('s')}",
        "phrase",
        f"period, {unit}",
        "copies",
        "goes on for",
    )
    return (Table("first_loops", "The first loops", columns, rows),)
