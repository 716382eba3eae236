"""Where these samples end, and whether they loop."""

from __future__ import annotations

import numpy as np

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.results.finding import Chart, Finding, Series
from freerun.stats.loops.survival import CENSORED, END_OF_TEXT, LOOP, CumulativeIncidence, cumulative_incidence
from freerun.stats.proportions import clustered_rate

NAME, QUESTION = "ends_and_loops", "Do these samples end as the law says, and do they loop?"


def ends_finding(evidence: VerifyEvidence) -> Finding:
    """Ends over those that the law expects, and loops with the end of a text as a competing risk."""
    facts = evidence.facts
    loops = _incidence(evidence)
    rate = None
    if facts.ends == "present":
        t = evidence.tokens
        n = int(t.sequence.max()) + 1 if t.n_tokens else 0
        expected = np.bincount(t.sequence, t.end_mass, n)
        seen = np.bincount(t.sequence, t.is_end, n)
        known = expected > 0
        try:
            rate = clustered_rate(seen[known], expected[known])
        except TooFewDocuments:
            rate = None
    n_loops = int((evidence.loop_at >= 0).sum())
    said = f"{counted(n_loops, 'completion')} of {len(evidence.loop_at):,} {'loops' if n_loops == 1 else 'loop'}"
    if rate is not None:
        said = f"{said}; texts end {rate.value:.3g} times as often as the law says ({rate.low:.3g} to {rate.high:.3g})"
    elif facts.ends == "missing":
        said = f"{said}; whether texts end as the law says cannot be told, since end tokens are missing"
    estimates = [
        quantities.END_RATE.estimate(
            rate,
            independent_unit="completion",
            method="observed over expected, clustered",
            text="end tokens are missing" if rate is None else "",
        )
    ]
    if loops is not None:
        estimates.append(
            quantities.LOOP_SHARE.estimate(
                loops.at_end,
                label=f"Completions with a loop within {int(loops.times[-1])} tokens",
                independent_unit="completion",
                method="Aalen–Johansen, end of text competing",
            )
        )
    return Finding(
        NAME,
        QUESTION,
        f"{said}.",
        "neutral",
        estimates=tuple(estimates),
        charts=() if loops is None else (_chart(loops),),
        licence="Loops: a suffix of period at most 512 in at least 3 copies and 24 tokens, the prompt counted as history; the unit is the "
        "completion. Ends: given the past an end comes with the mass that the law gives it.",
    )


def _incidence(evidence: VerifyEvidence) -> CumulativeIncidence | None:
    looped = evidence.loop_at >= 0
    time = np.where(looped, evidence.loop_at, evidence.n_tokens)
    cause = np.where(looped, LOOP, np.where(evidence.ended, END_OF_TEXT, CENSORED))
    try:
        return cumulative_incidence(np.maximum(time, 1), cause)
    except TooFewDocuments:
        return None


def _chart(loops: CumulativeIncidence) -> Chart:
    at = np.unique(np.round(np.geomspace(1, len(loops.times), min(len(loops.times), 48))).astype(int)) - 1
    return Chart(
        name="loops_by_tokens",
        title="Share of completions that have fallen into a loop",
        x_label="tokens of the completion",
        y_label="cumulative incidence",
        x=tuple(loops.times[at].astype(float).tolist()),
        x_scale="log2",
        series=(Series.curve("these samples", "free", loops.incidence[at], loops.low[at], loops.high[at]),),
        y_range=(0.0, float(max(0.1, loops.high[at].max()))),
        caption="End of text competes. Intervals: 95%, pointwise, by completion.",
    )
