"""What a finding answers: the entry that each of them declares in its own module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from freerun.findings.evidence import Evidence
from freerun.results.finding import Finding
from freerun.results.quantity import Quantity, Sums


def no_sums(evidence: Evidence) -> Iterator[Sums]:
    """Of questions whose numbers are not ratios of sums over documents."""
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
    real_sentence: bool = False
    """Its sentence speaks of real text alone: it stands where own text is refused as evidence."""
    real_notes: bool = False
    """So do its notes."""
    place: int = 0
    """Where it stands on the page: the lowest first."""

    @property
    def page(self) -> str:
        """Its page in the docs."""
        return f"docs/findings/{self.name}.md"
