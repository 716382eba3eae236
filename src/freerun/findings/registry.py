"""Every question that an audit asks, with the numbers that answer it: the entries of all modules of this folder.

A finding, the comparison of two runs, gates, exports, cards and the docs are made from the same quantities.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import freerun.findings
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.refusal import without_own_text
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.question import Question
from freerun.records.redact import UNAVAILABLE, TextRedacted
from freerun.results.finding import Finding
from freerun.results.quantity import Sums

_READERS = (__name__, "freerun.findings.summary", "freerun.findings.first_look")
"""What is made from the entries holds none itself."""


def _entries() -> Iterator[Question]:
    for module in pkgutil.walk_packages(freerun.findings.__path__, "freerun.findings."):
        if module.name not in _READERS:
            yield from (x for x in vars(import_module(module.name)).values() if isinstance(x, Question))


QUESTIONS = tuple(sorted(_entries(), key=lambda question: question.place))
GATES = {name: q for question in QUESTIONS for q in question.quantities for name in q.gates}
"""What `--fail-on` can name, with the other names of the same number."""


def answer(question: Question, evidence: Evidence) -> Finding | None:
    """The finding of a question; None where it was not asked.

    What needs text is not available in a redacted run, whether it says so or tries to read text. Where own text is refused as
    evidence, nothing of it is left.
    """
    try:
        if question.needs_text and not evidence.has_text:
            raise TextRedacted(question.name)
        finding = question.derive(evidence)
    except TextRedacted:
        return Finding.unknown(question.name, question.question, f"This is {UNAVAILABLE}.")
    if finding is None or not evidence.once(own_text_of).refused:
        return finding
    return without_own_text(finding, question.quantities, sentence=question.real_sentence, notes=question.real_notes)


def sums_of(evidence: Evidence) -> tuple[Sums, ...]:
    """Every number that two runs have a paired difference in, document by document; what a run has no records of is left out."""
    asked = (q for q in QUESTIONS if evidence.has_text or not q.needs_text)
    return tuple(s for q in asked for s in q.sums(evidence) if s.quantity.paired and s.bottoms.sum() > 0)
