"""Every question that an audit asks, with the numbers that answer it.

A finding, the comparison of two runs, gates, exports, cards and the docs are made from the same quantities. A new finding is a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from freerun.errors import TooFewDocuments
from freerun.findings import calibration, certificates, divergences, drift, loss, memory
from freerun.findings.detectability import finding as detectability
from freerun.findings.detectability import quantities as detectability_quantities
from freerun.findings.detectability.comparison import Comparison, compare
from freerun.findings.evidence import Evidence
from freerun.findings.loops import finding as loops
from freerun.findings.own_text.refusal import refused_finding
from freerun.findings.own_text.standing import audit_own_text, own_text_of
from freerun.findings.recognition import finding as recognition
from freerun.findings.recognition import quantities as recognition_quantities
from freerun.findings.recognition import verbal
from freerun.findings.redacted import is_redacted, without_copies
from freerun.findings.sources import finding as sources
from freerun.results.finding import Finding
from freerun.results.quantity import Quantity, Sums


def no_sums(evidence: Evidence) -> Iterator[Sums]:
    """Of questions whose numbers are no ratios of sums over documents."""
    return iter(())


@dataclass(frozen=True)
class Question:
    """One question: how its finding is derived from the records, and the numbers in it."""

    name: str
    question: str
    derive: Callable[[Evidence], Finding | None]
    """None: it was not asked in this run."""
    quantities: tuple[Quantity, ...] = ()
    """Its numbers; those of sources depend on what is asked, and stand in the finding alone."""
    sums: Callable[[Evidence], Iterator[Sums]] = no_sums
    """The numbers that are ratios of sums over documents, document by document."""
    needs_text: bool = False
    """It reads text, which a redacted run does not have."""

    @property
    def page(self) -> str:
        """Its page in the docs."""
        return f"docs/findings/{self.name}.md"


def compared(evidence: Evidence) -> Comparison | TooFewDocuments:
    """Own text held against real text; ask for it by `evidence.once`."""
    try:
        comparison = compare(evidence)
    except TooFewDocuments as error:
        return error
    return without_copies(comparison) if is_redacted(evidence.records) else comparison


def _detectability(evidence: Evidence) -> Finding:
    if evidence.once(own_text_of).refused:
        return refused_finding("detectability", detectability.QUESTION)
    comparison = evidence.once(compared)
    if isinstance(comparison, TooFewDocuments):
        why = str(comparison)
        return Finding.unknown("detectability", detectability.QUESTION, why[0].upper() + why[1:] + ".")
    return detectability.detectability(evidence, comparison)


QUESTIONS = (
    Question("loss", loss.QUESTION, loss.loss, loss.QUANTITIES, loss.loss_sums),
    Question("detectability", detectability.QUESTION, _detectability, detectability_quantities.QUANTITIES),
    Question(
        "self_recognition",
        recognition.QUESTION,
        lambda evidence: recognition.self_recognition(evidence, evidence.once(audit_own_text)),
        recognition_quantities.QUANTITIES,
        recognition_quantities.recognition_sums,
    ),
    Question("drift", drift.QUESTION, drift.drift, drift.QUANTITIES, drift.drift_sums),
    Question("loops", loops.QUESTION, loops.loops, loops.QUANTITIES, loops.loop_sums),
    Question(
        "calibration",
        calibration.QUESTION,
        calibration.calibration,
        calibration.QUANTITIES,
        calibration.calibration_sums,
    ),
    Question("memory", memory.QUESTION, memory.memory, memory.QUANTITIES, memory.memory_sums, needs_text=True),
    Question("source", sources.QUESTION, lambda evidence: sources.source(evidence, evidence.sources)),
    Question("divergences", divergences.QUESTION, divergences.divergences, needs_text=True),
    Question("certificates", certificates.QUESTION, certificates.certificates, certificates.QUANTITIES),
    Question(
        "verbal",
        verbal.QUESTION,
        lambda evidence: None if evidence.answers is None else verbal.verbal(evidence.answers),
    ),
)
GATES = {name: q for question in QUESTIONS for q in question.quantities for name in q.gates}
"""What `--fail-on` can name, with the other names of the same number."""


def sums_of(evidence: Evidence) -> tuple[Sums, ...]:
    """Every number that two runs have a paired difference in, document by document; what a run has no records of is left out."""
    redacted = is_redacted(evidence.records)
    asked = (q for q in QUESTIONS if not (redacted and q.needs_text))
    return tuple(s for q in asked for s in q.sums(evidence) if s.quantity.paired and s.bottoms.sum() > 0)
