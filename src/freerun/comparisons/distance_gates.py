"""Gates on a distance between two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.comparisons.gates import Gate, Judged, judge_horizon, judge_interval
from freerun.errors import UsageError
from freerun.findings.two_laws.quantities import HORIZONS


def check_distance_gate(gate: Gate) -> Gate:
    """The gate, where its side can be meant.

    Raises:
        UsageError: a horizon that would fail by being long.
    """
    if gate.quantity in HORIZONS.values() and (not gate.below or gate.threshold <= 0):
        raise UsageError(
            f"--fail-on {gate.text!r}: a horizon fails by being short; write {gate.name}<TOKENS, for example {gate.name}<256"
        )
    return gate


def judge_distance(result: Mapping[str, Any], gates: Sequence[Gate]) -> tuple[Judged, ...]:
    """Judge gates on the result of a distance."""
    return tuple(_judge_one(result, gate) for gate in gates)


def _judge_one(result: Mapping[str, Any], gate: Gate) -> Judged:
    findings = {f["name"]: f for f in result["findings"]}
    estimates = {e["name"]: e for e in findings.get(gate.quantity.finding, {}).get("estimates", ())}
    e = estimates.get(gate.quantity.name)
    if e is None:
        why = str(findings.get(gate.quantity.finding, {}).get("sentence") or "it was not measured")
        needed = "both models must write (leave --arms out)" if _has_laws(result) else "load the weights of both models"
        return gate.undecided(f"not measured in this run: {why}", needed=needed)
    if gate.quantity.own_text and not _sides_agree(result):
        return gate.undecided(
            str(result["certificate"]["sentence"]), needed="mend what draws or scores the texts until both sides agree"
        )
    if gate.quantity.name in result["infinite"]:
        said = f"{e['label']} is infinite: {'not ' if gate.below else ''}{gate.side} {gate.threshold:g}"
        return Judged(gate.text, gate.name, "pass" if gate.below else "fail", said, unit=e["unit"])
    if gate.quantity in HORIZONS.values():
        level = next(level for level, quantity in HORIZONS.items() if quantity == gate.quantity)
        return judge_horizon(gate, e, result["plan"], level, detected=True)
    return judge_interval(gate, e, int(result["plan"]["documents"]), what=e["label"], least=gate.quantity.least)


def _sides_agree(result: Mapping[str, Any]) -> bool:
    found = result.get("certificate")
    return found is None or bool(found["sides_agree"])


def _has_laws(result: Mapping[str, Any]) -> bool:
    """Whether the run had whole laws of both models, and not only log-probabilities of tokens."""
    return not result["plan"].get("token_log_probs_only")
