"""How many documents would decide a gate that is undecided, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from freerun.findings.detectability.quantities import AUC
from freerun.findings.evidence import MAX_PAIRS
from freerun.results.quantity import Quantity
from freerun.stats.design.detectable import documents_to_decide, documents_without_exception
from freerun.stats.detection.horizon import End, HorizonResult


def horizon_documents(h: HorizonResult, at: float, documents: int, most: float) -> str:
    """On the scale of doublings, on which a horizon's interval is about even."""
    v, a, b, t = (math.log2(max(x, 0.5)) for x in (_drawn(h.estimate), _drawn(h.low), _drawn(h.high), at))
    return documents_needed(v, a, b, t, documents, scale=" on the scale of doublings", most=most)


def _drawn(end: End) -> float:
    """Half a length before the first one where it lies before it, else its number."""
    return end.tokens / 2 if end.where == "before" else end.tokens


def documents_needed(
    value: float,
    low: float | None,
    high: float | None,
    threshold: float,
    documents: int,
    *,
    most: float,
    scale: str = "",
    is_share: bool = False,
) -> str:
    """How many documents would decide with 80% power; `most`: beyond so many no interval shrinks."""
    end = high if threshold > value else low
    if end is None:
        return "more documents do not decide it: the number is a one-sided bound"
    if is_share and value in (0.0, 1.0):
        n = documents_without_exception(abs(threshold - value))
        if n is not None:
            return f"about --documents {max(n, documents + 1):,} instead of {documents:,}, if none of them is an exception, as none was here"
    n = documents_to_decide(documents, abs(end - value), abs(threshold - value))
    if n is None:
        return "the estimate lies on the threshold: no number of documents is known to decide it"
    if n > most:
        return f"no number of documents: detectors read at most {MAX_PAIRS} pairs, which about {most:,.0f} documents give, and it would take {n:,}"
    return f"about --documents {n:,} instead of {documents:,} (80% power, if the truth is this estimate and the interval shrinks as 1/√n{scale})"


def most_documents(quantity: Quantity, e: Mapping[str, Any], documents: int) -> float:
    """Documents beyond which a detector's interval does not shrink, since half of `MAX_PAIRS` test pairs are reached."""
    return MAX_PAIRS / 2 / e["n"] * documents if quantity.finding == AUC.finding and e["n"] else math.inf


def least_documents(documents: int, n: int, least: int) -> str:
    return f"about --documents {math.ceil(documents * least / max(n, 1)):,} instead of {documents:,} give it {least}"


def more_documents(result: Mapping[str, Any], least: int) -> str:
    return f"more documents that reach the last token (at least {least} whole pairs; {result['plan'].get('documents')} were used)"
