"""Do these samples end as the law says?"""

from __future__ import annotations

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.results.finding import Finding
from freerun.stats.intervals import Interval
from freerun.stats.proportions import clustered_rate

NAME, QUESTION = "ends", "Do these samples end as the law says?"


def ends_finding(evidence: VerifyEvidence) -> Finding:
    """End tokens over those that the law expects."""
    if evidence.facts.ends == "missing":
        return Finding.unknown(
            NAME,
            QUESTION,
            "Whether texts end as the law says cannot be told: completions have no end tokens, or some ended without one.",
        )
    rate = _rate(evidence)
    if rate is None:
        return Finding.unknown(NAME, QUESTION, "The law expects too few ends for a rate.")
    return Finding(
        NAME,
        QUESTION,
        f"Texts end {rate.value:.3g} times as often as the law says (95% interval {rate.low:.3g} to {rate.high:.3g}).",
        "neutral",
        estimates=(
            quantities.END_RATE.estimate(
                rate, independent_unit="completion", method="observed over expected, clustered"
            ),
        ),
        licence="Given the past, an end comes with the mass that the law gives it. Unit: the completion.",
    )


def _rate(evidence: VerifyEvidence) -> Interval | None:
    t = evidence.tokens
    n = int(t.sequence.max()) + 1 if t.n_tokens else 0
    expected, seen = np.bincount(t.sequence, t.end_mass, n), np.bincount(t.sequence, t.is_end, n)
    known = expected > 0
    try:
        return clustered_rate(seen[known], expected[known])
    except TooFewDocuments:
        return None
