"""Does it fall into loops, and does it end?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence
from freerun.findings.loops.charts import (
    Comparison,
    comparison_table,
    counts_table,
    hazard_chart,
    incidence_chart,
    onset_table,
    tokens,
    trap_table,
)
from freerun.findings.loops.evidence import (
    Arm,
    LoopEvidence,
    compare_hazards,
    counts_by_document,
    first_onsets,
    loop_evidence,
    read_arm,
)
from freerun.findings.loops.quantities import (
    ENDS,
    ESCAPE,
    ESCAPE_BY_MASS,
    HAZARD,
    HAZARD_BY_MASS,
    INCIDENCE,
    INCIDENCE_REAL,
    LOG_RANK,
    PROVEN_KL,
    QUANTITIES,
    TIME_IN_TRAP,
)
from freerun.findings.loops.repetition import (
    DIFFER,
    STOP_RULES,
    repetition_estimates,
    repetition_table,
    stop_outcomes,
    stop_table,
)
from freerun.findings.loops.texts_of_records import texts_of_rows
from freerun.findings.question import Question
from freerun.records.schema import ARMS, ArmName
from freerun.results.finding import Estimate, Finding
from freerun.results.quantity import Sums
from freerun.stats.bounds.certificates import ProvenKl, kl_proven_of_counts
from freerun.stats.loops.logrank import LogRank
from freerun.stats.loops.near_loops import NearRule
from freerun.stats.loops.repetitions import Repetitions, find_repetitions
from freerun.stats.loops.survival import END_OF_TEXT, LOOP
from freerun.stats.loops.traps import time_in_trap
from freerun.stats.position import log_spaced_edges

QUESTION = "Does it fall into loops, and does it end?"
N_ONSETS, N_OWN_ONSETS = 5, 3
TELLS_APART = 0.01
"""p-value of the log-rank test below which more loops than in real text count as found."""
FEW = 0.05
"""Share of looping texts below which, with confidence, a model is said to loop rarely."""


def loops(evidence: Evidence) -> Finding:
    """Incidence and hazard of the first loop with end-of-text competing, traps, and the real continuations beside them."""
    found = evidence.once(loop_evidence)
    edges = log_spaced_edges(evidence.length, per_octave=1)
    try:
        read = [read_arm(found, arm, edges) for arm in ARMS]
    except TooFewDocuments as error:
        unknown = INCIDENCE.estimate(None, text="unknown")
        return Finding.unknown("loops", QUESTION, f"Loops are not known: {error}.", unknown)
    arms = {arm.name: arm for arm in read if arm is not None}
    comparisons = _comparisons(found)
    test = comparisons[0].test
    proven = kl_proven_of_counts(*counts_by_document(found, "real"), *counts_by_document(found, "free"))
    own, base = (evidence.once(made) for made in (own_repetitions, real_repetitions))
    outcomes = stop_outcomes(STOP_RULES, own, base)
    onsets = first_onsets(found, "free", N_ONSETS)
    real_onsets = first_onsets(found, "real", N_ONSETS)
    kept = onsets[: max(N_OWN_ONSETS, N_ONSETS - len(real_onsets))]
    return Finding(
        name="loops",
        question=QUESTION,
        sentence=_sentence(evidence, arms, test),
        status=_status(arms, test),
        estimates=(*_estimates(evidence, arms, test, proven), *repetition_estimates(own, base, STOP_RULES[0])),
        charts=(incidence_chart(evidence, arms), hazard_chart(arms, edges)),
        tables=(
            counts_table(evidence, arms),
            trap_table(evidence, arms),
            comparison_table(comparisons),
            *onset_table([*kept, *real_onsets][:N_ONSETS]),
            repetition_table({"real text": base, "own text": own}),
            stop_table(outcomes),
        ),
        licence=_licence(found),
        notes=_notes(evidence, found, proven),
    )


def own_repetitions(evidence: Evidence) -> Repetitions:
    """What repeats in own text; ask for it by `evidence.once`."""
    return _repetitions(evidence, "free")


def real_repetitions(evidence: Evidence) -> Repetitions:
    """What repeats in real text; ask for it by `evidence.once`."""
    return _repetitions(evidence, "real")


def _repetitions(evidence: Evidence, arm: ArmName) -> Repetitions:
    found = evidence.once(loop_evidence)
    return find_repetitions(texts_of_rows(evidence, found.rows(arm)), NearRule(found.rule, DIFFER), STOP_RULES)


def loop_sums(evidence: Evidence) -> Iterator[Sums]:
    """Loops, ends and tokens at risk document by document."""
    found = evidence.once(loop_evidence)
    rows = found.rows("free")
    if not rows.size:
        return
    time, cause = found.times(rows)
    texts = evidence.sequence_sums(rows, 1.0)
    looped, ended = (evidence.sequence_sums(rows, cause == event) for event in (LOOP, END_OF_TEXT))
    yield Sums(INCIDENCE, looped, texts)
    yield Sums(ENDS, ended, texts)
    risk = evidence.sequence_sums(rows, time)
    yield Sums(HAZARD, looped, risk)
    if found.own_law and evidence.whole_laws:
        first = evidence.records.starts[rows]
        mass = np.minimum(evidence.records.tokens["loop_mass"].astype(np.float64), 1.0)
        total = np.concatenate([[0.0], np.cumsum(mass)])
        yield Sums(HAZARD_BY_MASS, evidence.sequence_sums(rows, total[first + time] - total[first]), risk)


def _comparisons(found: LoopEvidence) -> list[Comparison]:
    cold = f"t = {found.evidence.plan.control_temperature:g}"
    tests = {
        "own text against real text": compare_hazards(found, ("free", None), ("real", None)),
        "control: one own continuation against the other": compare_hazards(found, ("free", 0), ("free", 1)),
        f"control: own text at {cold} against own text": compare_hazards(found, ("tempered", None), ("free", None)),
    }
    return [Comparison(label, test) for label, test in tests.items() if test is not None]


# ---- what is said ------------------------------------------------------------------------------------------------------


def _sentence(evidence: Evidence, arms: dict[ArmName, Arm], test: LogRank) -> str:
    free, real, at = arms["free"], arms["real"], evidence.length
    range_ = f"95% interval {float(free.loop.low[-1]):.1%} to {float(free.loop.high[-1]):.1%}"
    ending = f"{float(free.end.incidence[-1]):.1%} end by themselves"
    if not free.loop.n_events:
        share = f"while {float(real.loop.incidence[-1]):.1%} of the real ones do ({_log_rank(test)})"
        beside = share if real.loop.n_events else "nor does a real one"
        return f"None of its {free.loop.n_sequences} texts loops within {at} tokens ({range_}), {beside}; {ending}."
    said = (
        f"Within {at} tokens {float(free.loop.incidence[-1]):.1%} of its texts loop ({range_}), against "
        f"{float(real.loop.incidence[-1]):.1%} of the real ones ({_log_rank(test)}); {ending}."
    )
    escape = free.escape_by_mass or free.escape
    if escape is None:
        return said
    time = time_in_trap(escape)
    if time.tokens is None:
        return f"{said} Of {counted(free.traps.n_tokens, 'token')} inside a loop none left it: the expected time in a trap is at least {time.low:.0f} tokens."
    return f"{said} A token inside a loop leaves it with probability {_chance(escape.value)}: about {tokens(time.tokens)} tokens in a trap."


def _status(arms: dict[ArmName, Arm], test: LogRank) -> str:
    if test.p_exact < TELLS_APART and test.observed > test.expected:
        return "bad"
    return "good" if arms["free"].loop.high[-1] <= FEW else "neutral"


def _estimates(evidence: Evidence, arms: dict[ArmName, Arm], test: LogRank, proven: ProvenKl) -> tuple[Estimate, ...]:
    free, real, at = arms["free"], arms["real"], evidence.length
    clustered = "Korn–Graubard: exact binomial limits at the effective number of tokens, document-clustered"
    incidences = (
        (INCIDENCE, free.loop, "Aalen–Johansen, end of text competing, document-clustered"),
        (INCIDENCE_REAL, real.loop, "the same on the matched real continuations"),
        (ENDS, free.end, "Aalen–Johansen, loops competing"),
    )
    out = [
        quantity.estimate(curve.at_end, method=how, label=quantity.label.replace(",", f" by token {at},"))
        for quantity, curve, how in incidences
    ]
    out.append(HAZARD.estimate(free.hazard, method=f"loops per token at risk; {clustered}"))
    if free.hazard_by_mass is not None:
        how = f"mean mass on loop-completing tokens while no loop is complete (Rao–Blackwell); {clustered}"
        out.append(HAZARD_BY_MASS.estimate(free.hazard_by_mass, method=how))
    out.append(
        LOG_RANK.number(
            test.p_exact,
            n=test.n_informative,
            independent_unit="document with a loop",
            method="cause-specific, strata are documents; hypergeometric laws of its tables, two-sided",
        )
    )
    out += _trap_estimates(free, clustered)
    how = "kl(a‖q) at Clopper–Pearson limits, one text a document: a the largest rate in real text, q the smallest in its own"
    kl = PROVEN_KL.number(
        proven.kl_nats,
        n=proven.n_observed,
        method=how,
        label=f"KL over {at} tokens that the share of looping texts proves",
    )
    out.append(replace(kl, low=proven.kl_nats, level=proven.level))
    return tuple(out)


def _trap_estimates(free: Arm, clustered: str) -> list[Estimate]:
    unit = "document with a loop"
    escape = free.escape_by_mass or free.escape
    if escape is None:
        why = "no loop seen" if not free.traps.n_traps else "loops in one document only"
        return [q.estimate(None, text=why) for q in (ESCAPE, TIME_IN_TRAP)]
    out = []
    if free.escape is not None:
        how, label = f"escapes per token in a loop; {clustered}", f"{ESCAPE.label}, counted"
        out.append(ESCAPE.estimate(free.escape, method=how, label=label, independent_unit=unit))
    if free.escape_by_mass is not None:
        how = f"mean mass off the loop while one is complete (Rao–Blackwell); {clustered}"
        out.append(ESCAPE_BY_MASS.estimate(free.escape_by_mass, method=how, independent_unit=unit))
    time = time_in_trap(escape)
    how = "1 / chance of leaving, as if it were the same at every token"
    text = "" if time.tokens is not None else "none left"
    mean = TIME_IN_TRAP.number(time.tokens, n=escape.n, independent_unit=unit, method=how, text=text)
    out.append(replace(mean, low=time.low, high=time.high, level=escape.level))
    return out


def _licence(found: LoopEvidence) -> str:
    rule = found.rule
    return (
        f"A loop: a suffix of period p ≤ {rule.max_period} repeated at least {rule.copies} times over at least {rule.min_tokens} tokens, "
        f"the prefix counting as history. Near-loop: at most {DIFFER:.0%} of the compared tokens differ from those a period before. The cap censors, end of text competes. Unit: the document; 95% intervals, by position pointwise. Null of "
        "the log-rank test: at every token the continuations of one prefix, real or own, have the same loop hazard; an end of text only stops "
        "the counting. Fixed n."
    )


def _notes(evidence: Evidence, found: LoopEvidence, proven: ProvenKl) -> tuple[str, ...]:
    records = evidence.records
    n_ended, n_risk = (
        int(records.manifest["counts"][k]) for k in ("documents_ended_in_window", "documents_at_risk_of_ending")
    )
    rates = f"at most {proven.base_high:.1%} of real texts and at least {proven.observed_low:.1%} of its own loop (both limits hold together at 95%)"
    whose = "excess loss" if found.own_law else "excess loss of the law that was sampled, not of the model's own"
    notes = [
        f"{n_ended} of {n_risk} real responses end inside the window; an end of text competes on both sides."
        if evidence.own_lengths
        else f"Real documents were chosen long enough not to end inside the window; of all {n_risk} documents longer than the prefix, "
        f"{n_ended} end inside it.",
        f"A result about {evidence.length} tokens is not a result about thousands: loops at temperature 1 are a matter of length.",
        (
            f"What the loops cost: {rates}, so KL(real‖own) over {evidence.length} tokens is at least {proven.kl_nats:.2g} nats, which is "
            f"{proven.kl_nats / evidence.length:.1g} nats a token of {whose}. Even frequent loops cost little, so a loss says little about them."
            if proven.kl_nats > 0
            else f"What the loops cost: {rates}, which proves no excess loss."
        ),
        (
            "No trap is called absorbing: a softmax gives every token some mass, so a loop of such a model is left at some time."
            if found.own_law
            else "A rule of sampling that leaves tokens out may make a loop absorbing; records cannot show that, only that none was left."
        )
        + " The chance of leaving is a mean over the tokens in loops, and long traps weigh most; where chances differ or fall with every copy, the "
        "mean time is longer than 1 / chance. Where none was seen to leave, the limit takes the chance to be the same in every trap.",
    ]
    if found.deterministic:
        notes.append(
            "The rule of sampling leaves nothing to chance: of the continuations of a prefix, which are one text, one is counted."
        )
    if not found.own_law:
        notes.append(
            f"The free text was sampled with {evidence.plan.sampling.describe()}, while the recorded masses are the model's own: nothing is said by mass here."
        )
    return tuple(notes)


# ---- printing ----------------------------------------------------------------------------------------------------------


def _log_rank(test: LogRank) -> str:
    p = "p < 0.0001" if test.p_exact < 1e-4 else f"p = {test.p_exact:.2g}"
    return f"log-rank test within documents, {p}"


def _chance(p: float) -> str:
    return f"{p:.1%}" if p >= 0.001 else f"{p:.1e}"


ENTRY = Question("loops", QUESTION, loops, QUANTITIES, loop_sums, place=50)
