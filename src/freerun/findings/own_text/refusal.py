"""What is left of a finding where own text is refused as evidence: real text, and why the rest is not there.

A quantity says whether it speaks of own text, so that no number that rests on it can be met anywhere in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freerun.results.finding import Chart, Estimate, Finding
from freerun.results.quantity import Quantity

WHY = "own text is refused as evidence, since the sampler's law is not the scorer's"
NOT_SHOWN = f"Not shown: what rests on own text, because {WHY}."
_OWN_ROLES = ("free", "tempered", "control")


def without_own_text(
    finding: Finding, quantities: Sequence[Quantity] = (), *, sentence: bool = False, notes: bool = False
) -> Finding:
    """The finding without everything that rests on own text; as it is where nothing does, or where it saw to that itself.

    `sentence`, `notes`: whether they speak of real text alone and stay.
    """
    if finding.refused or (finding.status == "unknown" and not finding.estimates):
        return finding
    if quantities and not any(q.own_text for q in quantities):
        return finding
    estimates = of_real_text(finding.estimates, quantities)
    if not estimates or not sentence:
        return refused_finding(finding.name, finding.question, estimates)
    charts = (_of_real_text(c) for c in finding.charts)
    return replace(
        finding,
        estimates=estimates,
        charts=tuple(c for c in charts if c.series),
        tables=(),
        notes=(*(finding.notes if notes else ()), NOT_SHOWN),
        refused=True,
    )


def of_real_text(estimates: Sequence[Estimate], quantities: Sequence[Quantity]) -> tuple[Estimate, ...]:
    """The estimates that no own text enters."""
    stay = {q.name for q in quantities if not q.own_text}
    return tuple(e for e in estimates if e.name in stay)


def refused_finding(name: str, question: str, estimates: tuple[Estimate, ...] = ()) -> Finding:
    """A finding that is not made, with the estimates of it that no own text enters."""
    return Finding(
        name, question, f"Refused: {WHY}.", "unknown", estimates, licence="No inference from own text.", refused=True
    )


def _of_real_text(chart: Chart) -> Chart:
    return replace(chart, series=tuple(s for s in chart.series if s.role not in _OWN_ROLES))
