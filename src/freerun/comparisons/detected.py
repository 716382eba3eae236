"""Whether a run told its own text from real text, as its own report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.findings.detectability.comparison import Comparison, compared
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.standing import own_text_of
from freerun.results.verdict import found_a_difference


def difference_in(evidence: Evidence, result: Mapping[str, Any] | None) -> bool | None:
    """By the run's `result`, else from its records; None where it was not judged."""
    verdict = (result or {}).get("verdict") or {}
    if "outcome" in verdict:
        return found_a_difference(verdict["status"], verdict["outcome"])
    if evidence.once(own_text_of).fault is not None:
        return None
    found = evidence.once(compared)
    return found.detected if isinstance(found, Comparison) else None
