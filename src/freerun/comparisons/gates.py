"""Gates: does a result stay on the right side of a number? Yes, no, or not decided by its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from freerun.comparisons.documents_needed import (
    documents_needed,
    horizon_documents,
    least_documents,
    more_documents,
    most_documents,
)
from freerun.comparisons.own_text_faults import FAULTS, fault_of_own_text, sampler_alone_passed
from freerun.counted import counted
from freerun.errors import UsageError, nearest
from freerun.findings.detectability.quantities import AUC, HORIZONS
from freerun.findings.loss import LOSS
from freerun.findings.outcome import EXIT_CODES, cut_short, judge
from freerun.findings.recognition.quantities import SAMPLER_P
from freerun.findings.registry import GATES
from freerun.results.first_look import with_its_documents
from freerun.results.quantity import LEAST_DOCUMENTS, Quantity
from freerun.stats.detection.horizon import End, HorizonResult
from freerun.stats.intervals import has_no_width

Decision = Literal["pass", "fail", "undecided"]
EXITS: dict[Decision, int] = {
    "pass": EXIT_CODES["pass"],
    "fail": EXIT_CODES["fail"],
    "undecided": EXIT_CODES["inconclusive"],
}

HORIZON_LEVELS = {quantity: level for level, quantity in HORIZONS.items()}
NAMES = tuple(dict.fromkeys(quantity.gates[0] for quantity in GATES.values()))
"""What gates are called, without the other names."""
_MORE = "more --documents"
GO_ON = "the same command without --quick, which goes on to all documents"
"""What decides a gate that a first look leaves undecided."""
_FORM = re.compile(
    r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(<=|>=|<|>)\s*([+\-−]?)\s*([0-9]*\.?[0-9]+(?:[eE][+\-]?[0-9]+)?)\s*\Z"
)


@dataclass(frozen=True)
class Gate:
    """`NAME<NUMBER` or `NAME>NUMBER`: what must not be. `relative`: the number is a difference between two runs."""

    text: str
    quantity: Quantity
    below: bool
    threshold: float
    relative: bool
    closed: bool = False
    """`<=` or `>=`: the number itself must not be, either."""

    @property
    def name(self) -> str:
        return self.quantity.gates[0]

    def undecided(self, words: str, *, needed: str = "") -> Judged:
        """Not decided, with what would decide it."""
        return Judged(self.text, self.name, "undecided", words, needed=needed)

    @property
    def side(self) -> str:
        """Where the number must not be, in words."""
        if self.closed:
            return "at most" if self.below else "at least"
        return "below" if self.below else "above"


@dataclass(frozen=True)
class Judged:
    """What became of a gate. `needed` says how many documents or tokens would decide it, where it is undecided."""

    gate: str
    name: str
    decision: Decision
    words: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    needed: str = ""


def parse_gate(text: str, *, relative: bool, known: Mapping[str, Quantity] = GATES) -> Gate:
    """Read one `--fail-on`; `relative`: for a comparison, where every number is a difference and has a sign. `known`: by their names.

    Raises:
        UsageError: not of that form, an unknown name, a sign where none belongs or none where one does.
    """
    found = _FORM.match(text)
    names = ", ".join(dict.fromkeys(quantity.gates[0] for quantity in known.values()))
    if found is None:
        raise UsageError(
            f"--fail-on {text!r} is not a gate; write NAME<NUMBER or NAME>NUMBER in quotes, for example "
            f"{chr(39)}{_example(known, relative=relative)}{chr(39)}; names: {names}"
        )
    word, operator, sign, number = found.groups()
    if word.lower() not in known:
        hint = nearest(word.lower(), known)
        raise UsageError(f"--fail-on {text!r}: no number is called {word!r}{hint}; names: {names}")
    threshold = float(number) * (-1.0 if sign in ("-", "−") else 1.0)
    gate = Gate(
        text.strip(), known[word.lower()], operator.startswith("<"), threshold, relative, operator.endswith("=")
    )
    if relative and not sign:
        raise UsageError(
            f"--fail-on {text!r}: between runs a number is a difference and needs its sign ({word}{operator}+{number}); gates on one run's "
            "own number belong to `freerun audit`"
        )
    if not relative and sign == "+":
        raise UsageError(
            f"--fail-on {text!r}: a number with + is a difference, which takes two runs: `freerun compare`"
        )
    if relative and not gate.quantity.paired:
        raise UsageError(
            f"--fail-on {text!r}: {gate.name} has no paired difference; it can be gated on `freerun audit` alone"
        )
    if not relative and gate.quantity in HORIZON_LEVELS and (not gate.below or threshold <= 0):
        raise UsageError(
            f"--fail-on {text!r}: a horizon fails by being short; write {word}<TOKENS, for example {word}<256"
        )
    return gate


def _example(known: Mapping[str, Quantity], *, relative: bool) -> str:
    """A gate of a verb that has these numbers."""
    if relative:
        return "loss_nats>+0.02"
    return "horizon<256" if "horizon" in known else f"{next(iter(known))}>0.1"


def worst(judged: Iterable[Judged]) -> Decision:
    """What several gates come to: fail beats undecided beats pass."""
    held = {j.decision for j in judged}
    return "fail" if "fail" in held else "undecided" if "undecided" in held else "pass"


# ---- one run -----------------------------------------------------------------------------------------------------------


def judge_audit(result: Mapping[str, Any], gates: Sequence[Gate], *, unit: str = "document") -> tuple[Judged, ...]:
    """Judge gates on the result of an audit; `unit`: what its intervals are over, in words."""
    judged = tuple(_judge_one(with_its_documents(result), gate, unit) for gate in gates)
    if not result.get("first_look"):
        return judged
    fault, tokens = fault_of_own_text(result), int(result["plan"]["tokens"])
    return tuple(
        j if fault is not None or _needs_length(gate, tokens) else _after_first_look(j)
        for gate, j in zip(gates, judged, strict=True)
    )


def _needs_length(gate: Gate, tokens: int) -> bool:
    """Whether a gate asks for a length that was not measured, which no number of documents decides."""
    return gate.quantity in HORIZON_LEVELS and gate.threshold > tokens


def _after_first_look(judged: Judged) -> Judged:
    """What a first look leaves undecided the audit of all documents decides, which goes on from it."""
    return replace(judged, needed=GO_ON) if judged.decision == "undecided" else judged


def _judge_one(result: Mapping[str, Any], gate: Gate, unit: str) -> Judged:
    findings = {f["name"]: f for f in result["findings"]}
    estimates = {e["name"]: e for e in findings.get(gate.quantity.finding, {}).get("estimates", ())}
    e = estimates.get(gate.quantity.name)
    fault = fault_of_own_text(result)
    if fault is not None and (gate.quantity.own_text or (gate.quantity is SAMPLER_P and sampler_alone_passed(result))):
        said, needed = FAULTS[fault]
        return gate.undecided(said, needed=needed)
    detected = findings.get("detectability", {}).get("status") != "neutral"
    if e is None:
        why = str(findings.get(gate.quantity.finding, {}).get("sentence") or "it was not measured")
        return gate.undecided(f"not measured in this run: {why}", needed=more_documents(result, 16))
    if gate.quantity is LOSS and "impossible_share" in estimates:
        share = estimates["impossible_share"]["value"]
        decision: Decision = "pass" if gate.below else "fail"
        return Judged(
            gate.text,
            gate.name,
            decision,
            f"the loss is infinite ({share:.2%} of real tokens have no mass): {'not ' if gate.below else ''}{gate.side} {_spell(gate.threshold, gate)}",
            unit=e["unit"],
        )
    if gate.quantity in HORIZON_LEVELS:
        return judge_horizon(gate, e, result["plan"], HORIZON_LEVELS[gate.quantity], detected=detected)
    documents = int(result["plan"]["documents"])
    one = judge_interval(gate, e, documents, what=e["label"], least=gate.quantity.least, unit=unit)
    chance = gate.quantity.chance
    if not detected and chance is not None and _tells_from(gate, one.decision, chance):
        said = f"{one.words}; but no difference was found over all detectors and lengths together"
        return replace(one, decision="undecided", words=said, needed=_MORE)
    return one


def _tells_from(gate: Gate, decision: Decision, null: float) -> bool:
    """Whether a decision says that the number is not `null`, which then lies on the gate's other side."""
    if decision == "undecided":
        return False
    above = (decision == "fail") != gate.below
    return gate.threshold >= null if above else gate.threshold <= null


def judge_interval(
    gate: Gate, e: Mapping[str, Any], documents: int, *, what: str, least: int, unit: str = "document"
) -> Judged:
    """By the interval alone: wholly in the forbidden range, wholly outside it, or neither; `least`: fewest documents that decide."""
    value, low, high = e["value"], e["low"], e["high"]
    exact = gate.quantity.exact or bool(e.get("identical"))
    if exact and value is not None:
        low = high = value
    elif low is not None and high is not None and has_no_width(low, high):
        low = high = None
    if (low is None and high is None and value is not None) and (e.get("degenerate") or e["low"] is not None):
        said = (
            f"{what} is {_spell(value, gate)} in every resample of the {unit}s: an interval of no width decides nothing"
        )
        return Judged(gate.text, gate.name, "undecided", said, value, unit=e["unit"], needed=_MORE)
    if value is None or (low is None and high is None):
        return Judged(
            gate.text,
            gate.name,
            "undecided",
            f"{what} has no interval here ({e.get('text') or 'not known'})",
            value,
            unit=e["unit"],
        )
    lowest, highest = (-math.inf if low is None else low), (math.inf if high is None else high)
    if not exact and e["n"] is not None and e["n"] < least:
        said = f"{what} is {_spell(value, gate)}, on {counted(e['n'], unit)}: below {least} the interval of such a number misses too often to decide"
        columns = {"value": value, "low": low, "high": high, "unit": e["unit"]}
        return Judged(
            gate.text, gate.name, "undecided", said, needed=least_documents(documents, e["n"], least), **columns
        )
    said = f"{what} is {_spell(value, gate)}" + ("" if exact else f" ({_spell(low, gate)} to {_spell(high, gate)})")
    said += ", the same records in both runs" if e.get("identical") else ""
    at = _spell(gate.threshold, gate)
    certain, excluded = _settled(gate, lowest, highest)
    columns = {"value": value, "low": low, "high": high, "unit": e["unit"]}
    if certain:
        return Judged(gate.text, gate.name, "fail", f"{said}: {gate.side} {at}", **columns)
    if excluded:
        return Judged(gate.text, gate.name, "pass", f"{said}: not {gate.side} {at}", **columns)
    needed = documents_needed(
        value,
        low,
        high,
        gate.threshold,
        documents,
        most=most_documents(gate.quantity, e, documents),
        is_share=e["unit"] == "share",
    )
    return Judged(gate.text, gate.name, "undecided", f"{said}: on both sides of {at}", needed=needed, **columns)


def _settled(gate: Gate, lowest: float, highest: float) -> tuple[bool, bool]:
    """Whether an interval lies wholly in the forbidden range, and whether it lies wholly outside."""
    t = gate.threshold
    if gate.below:
        return (highest <= t, lowest > t) if gate.closed else (highest < t, lowest >= t)
    return (lowest >= t, highest < t) if gate.closed else (lowest > t, highest <= t)


def judge_horizon(
    gate: Gate, e: Mapping[str, Any], plan: Mapping[str, Any], level_auc: float, *, detected: bool
) -> Judged:
    """By the interval of a horizon; what lies beyond the lengths measured decides nothing."""
    documents = int(plan["documents"])
    h, longest = _horizon_of(e, int(plan["tokens"]), level_auc)
    outcome = judge(h, at_least=gate.threshold, longest=longest, detected=detected)
    decision: Decision = "undecided" if outcome.verdict == "inconclusive" else outcome.verdict
    needed = ""
    if decision != "undecided" and e["n"] is not None and e["n"] < gate.quantity.least:
        decision, needed = "undecided", least_documents(documents, e["n"], gate.quantity.least)
        outcome = replace(outcome, words=f"{outcome.words}; but {e['n']} test documents are too few to decide")
    elif decision == "undecided" and h.high.is_below(gate.threshold):
        needed = _MORE
    elif decision == "undecided" and cut_short(h, at_least=gate.threshold, longest=longest):
        needed = (
            f"--tokens {math.ceil(gate.threshold)} or more (it is not known how the curve goes on beyond {longest})"
        )
    elif decision == "undecided":
        needed = horizon_documents(h, gate.threshold, documents, most_documents(gate.quantity, e, documents))
    ends = h.low_tokens, h.high_tokens
    return Judged(gate.text, gate.name, decision, outcome.words, h.value, *ends, "tokens", needed)


def _horizon_of(e: Mapping[str, Any], tokens: int, level_auc: float) -> tuple[HorizonResult, int]:
    """The horizon behind an estimate, and the last length of its curve.

    Results of earlier versions do not say on which side an end that is not inside lies: there the lower end counts as open below and
    the upper one as open above, which decides nothing.
    """
    ends = e.get("ends") or {
        "first_tokens": 1,
        "last_tokens": tokens,
        "value": "inside" if e["value"] is not None else "beyond",
        "low": "before" if e["low"] is None else "inside",
        "high": "beyond" if e["high"] is None else "inside",
    }
    outer = {"before": float(ends["first_tokens"]), "beyond": float(ends["last_tokens"])}
    value, low, high = (
        End(ends[name], e[name] if ends[name] == "inside" else outer[ends[name]]) for name in ("value", "low", "high")
    )
    h = HorizonResult(value, low, high, e["level"] or 0.95, level_auc)
    return h, int(ends["last_tokens"])


def _spell(x: float | None, gate: Gate) -> str:
    if x is None:
        return "open"
    sign = "+" if gate.relative else ""
    return format(x, f"{sign}.4g").replace("-", "−")


# ---- between runs ------------------------------------------------------------------------------------------------------


def judge_compare(result: Mapping[str, Any], gates: Sequence[Gate]) -> tuple[Judged, ...]:
    """Judge gates on a comparison: on every run against the first."""
    documents = {r["name"]: int(r["documents"]) for r in result["runs"]}
    looks = {r["name"] for r in result["runs"] if r.get("first_look")}
    many = len(result["pairs"]) > 1
    out = []
    for pair in result["pairs"]:
        differences = {(d["finding"], d["name"]): d for d in pair["differences"]}
        for gate in gates:
            d = differences.get((gate.quantity.finding, gate.quantity.name))
            suffix = f" [{pair['second']}]" if many else ""
            judged = _judge_difference(gate, d, pair, documents[pair["second"]], suffix)
            first_look = looks & {pair["first"], pair["second"]} and not pair.get("own_text_refused")
            out.append(_after_first_look(judged) if first_look else judged)
    return tuple(out)


def _judge_difference(
    gate: Gate, d: Mapping[str, Any] | None, pair: Mapping[str, Any], documents: int, suffix: str
) -> Judged:
    text = gate.text + suffix
    if d is None and gate.quantity.own_text and pair.get("own_text_refused"):
        said, needed = FAULTS["rescoring"]
        return Judged(text, gate.name, "undecided", f"{', '.join(pair['own_text_refused'])}: {said}", needed=needed)
    if d is None:
        return Judged(text, gate.name, "undecided", "not compared: at least one of the runs has no such number")
    first, second = pair["impossible_tokens"]
    if gate.quantity is LOSS and (first or second):
        both = bool(first and second)
        up = not first
        forbidden = (not up) if gate.below else up
        decision: Decision = "undecided" if both else "fail" if forbidden else "pass"
        said = f"a loss is infinite: {counted(first, 'real token has', 'real tokens have')} no mass in the first run, {second} in the second"
        return Judged(text, gate.name, decision, said, unit=d["unit"])
    by_detectors = gate.quantity.finding == AUC.finding
    least = gate.quantity.least if by_detectors else LEAST_DOCUMENTS  # a difference of shares is a mean, too
    judged = judge_interval(gate, d, documents, what=f"{d['label']}, difference,", least=least)
    if d.get("primary") and not (d["found"] or d.get("identical")) and _tells_from(gate, judged.decision, 0.0):
        said = f"{judged.words}; but with loss and horizon asked together (Holm) it is not told from zero"
        judged = replace(judged, decision="undecided", words=said, needed=_MORE)
    needed = judged.needed
    if (
        judged.decision == "undecided"
        and gate.quantity in HORIZON_LEVELS
        and (d["low"] is None or d["high"] is None)
        and not d.get("degenerate")
    ):
        needed = "longer runs (--tokens): a horizon lies beyond the lengths measured"
    return replace(judged, gate=text, needed=needed)
