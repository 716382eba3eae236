"""The differences of a comparison by the question that they answer: a card for each."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.findings.registry import QUESTIONS
from freerun.results.compare import Difference, QuestionCompared
from freerun.results.verdict import Card, Status


def questions_compared(differences: Sequence[Difference], kind: str = "") -> tuple[QuestionCompared, ...]:
    """The questions that differences belong to, in the order of an audit's page; `kind`: what they are, where not differences."""
    asked = [(q, [d for d in differences if d.finding == q.name]) for q in QUESTIONS]
    return tuple(_compared(q.name, q.question, own, kind) for q, own in asked if own)


def _compared(name: str, question: str, own: Sequence[Difference], kind: str) -> QuestionCompared:
    tested = [d for d in own if d.p_value is not None]
    n_found = sum(d.found for d in tested)
    status: Status = "bad" if n_found else "neutral" if tested or all(d.identical for d in own) else "unknown"
    cards = [_number(min(own, key=_clarity), name, kind)]
    if len(tested) > 1:
        cards.append(Card("numbers that differ", f"{n_found} of {len(tested)}", finding=name))
    return QuestionCompared(name, question, status, tuple(cards), len(tested), n_found)


def _clarity(d: Difference) -> tuple[bool, bool, float]:
    """Primary questions first, then what differs, then by the p-value."""
    return not d.primary, not d.found, 2.0 if d.adjusted_p is None else d.adjusted_p


def _number(d: Difference, finding: str, kind: str) -> Card:
    ends = "" if d.low is None and d.high is None else f"{signed(d.low)} to {signed(d.high)}"
    return Card(", ".join(filter(None, (d.label, kind))), signed(d.value), d.unit, ends, finding=finding)


def signed(value: float | None) -> str:
    """A difference with its sign; None is an end that is open.

    >>> signed(0.2089), signed(-22.6), signed(None)
    ('+0.209', '−22.6', 'open')
    """
    return "open" if value is None else format(value, "+.3g").replace("-", "−")
