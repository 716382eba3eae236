"""Gates on a verification, whose units are completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from freerun.comparisons.gates import Gate, Judged, judge_audit


def judge_verify(result: Mapping[str, Any], gates: Sequence[Gate]) -> tuple[Judged, ...]:
    """Judge gates on the result of a verification."""
    judged = judge_audit(result, gates, unit="completion")
    return tuple(replace(j, needed="more completions" if j.decision == "undecided" else "") for j in judged)
