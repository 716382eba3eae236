"""What a first look could have found, and what it leaves to the audit of all documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from freerun.counted import counted
from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import MAX_PAIRS
from freerun.findings.loss import LOSS
from freerun.findings.points import in_a_hundred
from freerun.findings.registry import GATES
from freerun.results.finding import Cell, Estimate, Finding, Table
from freerun.results.first_look import FirstLook
from freerun.results.quantity import Quantity
from freerun.stats.design.detectable import effect_at_power

QUESTION = "What could so few documents have shown?"
NAME = "first_look"


def _quantity(name: str, label: str, unit: str) -> Quantity:
    return Quantity(NAME, name, label, unit, paired=False, exact=True)


SMALLEST_AUC = _quantity("smallest_auc", "Smallest AUC that is found in 80% of such first looks", "AUC")
SMALLEST_AUC_LATER = _quantity("smallest_auc_all_documents", "The same with all documents, about", "AUC")
LOSS_EFFECT = _quantity(
    "smallest_loss_difference", "Smallest distance of the loss from a given number that is found in 80%", "nats/token"
)
LOSS_EFFECT_LATER = _quantity(
    "smallest_loss_difference_all_documents", "The same with all documents, about", "nats/token"
)
SHRINKS = "if it shrinks as 1/√n"


@dataclass(frozen=True)
class Undecided:
    """A gate that these documents are too few to decide, whatever comes out. `needed`: about how many documents do."""

    gate: str
    quantity: Quantity
    n: int
    needed: int


def first_look(look: FirstLook, findings: Mapping[str, Finding], comparison: Comparison | None) -> Finding:
    """The finding; `comparison`: None where own text could not be compared with real text."""
    estimates = [*_of_auc(look, comparison), *_of_loss(look, findings)]
    undecided = undecided_gates(look, findings)
    return Finding(
        NAME,
        QUESTION,
        _sentence(look, estimates, undecided),
        "neutral",
        tuple(estimates),
        tables=(_gates_table(look, undecided),) if undecided else (),
        licence="Fixed n. What is said of all documents is a plan, not a promise: it takes the spread of these documents for that of "
        "all, and a detector that trains on more of them becomes better.",
        notes=(
            "The documents are a random sample of those of the audit, on the same sides of the split, and the controls are the same. The "
            "audit of all takes over their records: nothing is scored or sampled again.",
            "Looking at these numbers and stopping there is a choice by the numbers: intervals and p-values of the audit of all documents hold "
            "if it is run whatever the first look says.",
        ),
    )


def undecided_gates(look: FirstLook, findings: Mapping[str, Finding]) -> tuple[Undecided, ...]:
    """The gates that need more documents than these, whatever comes out, in the order of the findings."""
    found = []
    for quantity in dict.fromkeys(GATES.values()):
        finding = findings.get(quantity.finding)
        estimates = {e.name: e for e in finding.estimates} if finding is not None else {}
        e = estimates.get(quantity.name)
        if e is not None and e.n is not None and not quantity.exact and e.n < quantity.least:
            needed = math.ceil(look.documents * quantity.least / max(1, e.n))
            found.append(Undecided(quantity.gates[0], quantity, e.n, needed))
    return tuple(found)


def _of_auc(look: FirstLook, comparison: Comparison | None) -> list[Estimate]:
    if comparison is None:
        return []
    now, n = comparison.smallest_auc, comparison.last.n_test
    later = 0.5 + (now - 0.5) * math.sqrt(look.documents / min(look.of_documents, MAX_PAIRS))
    how = "all tests counted (Holm), as in the detectability finding"
    at = f" at {comparison.longest} tokens"
    return [
        SMALLEST_AUC.number(now, n=n, method=how, label=SMALLEST_AUC.label + at),
        SMALLEST_AUC_LATER.number(later, method=SHRINKS),
    ]


def _of_loss(look: FirstLook, findings: Mapping[str, Finding]) -> list[Estimate]:
    e = next((e for e in findings["loss"].estimates if e.name == LOSS.name), None)
    if e is None or e.low is None or e.high is None:
        return []
    now = effect_at_power((e.high - e.low) / 2)
    later = now * math.sqrt(look.documents / look.of_documents)
    how = "half the 95% interval × (1 + 0.84/1.96): what brings it clear of the number with 80% power"
    return [LOSS_EFFECT.number(now, n=e.n, method=how), LOSS_EFFECT_LATER.number(later, method=SHRINKS)]


def _sentence(look: FirstLook, estimates: list[Estimate], undecided: tuple[Undecided, ...]) -> str:
    values = {e.name: e.value for e in estimates}
    said = [f"This is {look.describe()}."]
    if SMALLEST_AUC.name in values:
        now, later = values[SMALLEST_AUC.name] or 1.0, values[SMALLEST_AUC_LATER.name] or 1.0
        said.append(
            f"If a detector is right {in_a_hundred(now)} or more when it is shown a real text and one of the model's (AUC {now:.2f}), such a look "
            f"notices it in 80% of cases; with all documents about {in_a_hundred(later)} is enough."
        )
    if LOSS_EFFECT.name in values:
        said.append(
            f"It tells the loss from a given number that is {values[LOSS_EFFECT.name]:.2g} nats a token away; all documents, from one that "
            f"is about {values[LOSS_EFFECT_LATER.name]:.2g} away."
        )
    if undecided:
        names = ", ".join(u.gate for u in undecided)
        n = counted(len(undecided), "number that --fail-on can test needs", "numbers that --fail-on can test need")
        said.append(f"{n} more documents than these, whatever comes out: {names}.")
    return " ".join(said)


def _gates_table(look: FirstLook, undecided: tuple[Undecided, ...]) -> Table:
    rows = tuple(
        (
            u.gate,
            u.quantity.label,
            Cell.number(u.n),
            Cell.number(u.quantity.least),
            Cell.number(u.needed, ",", "documents"),
            "yes" if u.needed <= look.of_documents else "no: take more --documents",
        )
        for u in undecided
    )
    columns = (
        "gate",
        "what it is",
        "counted here",
        "least",
        "documents needed, about",
        "does the audit of all have them?",
    )
    return Table("undecided_gates", "Gates that these documents are too few for", columns, rows)
