"""Whole simulated audits: every number that can gate, from the same records, at several numbers of documents.

Corpus and model are exact worlds, drawn afresh for each audit: documents, own texts, split, reference and detectors. The truth of a
number is its mean over all audits of that size, which is what so many documents give on average; that of a ratio of sums is the
ratio of the sums over all audits of all sizes, and that of a horizon is where the mean curve crosses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from freerun.comparisons.curves import run_curve
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.quantities import AUC, HORIZONS, LEAST_TEST_DOCUMENTS
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.findings.registry import QUESTIONS, answer, sums_of
from freerun.jobs.audit.options import AuditOptions
from freerun.results.quantity import Quantity
from freerun.stats.detection.horizon import horizon
from freerun.stats.intervals import clopper_pearson_high
from studies.measured import measured

TOKENS, PREFIX = 32, 8
WORLDS = {
    "authors": (
        "world/authors",
        "world/authors+temperature,t=0.5+absorbing,epsilon=0.01+end,hazard=0.003",
        "authors who differ, a model that is too sure, gets stuck and ends: AUC near 1, loops, rare tokens",
    ),
    "sentences": (
        "world/pcfg",
        "world/pcfg+temperature,t=2+end,hazard=0.002",
        "a grammar, a model that is too unsure: AUC near 0.75 at the last length, hardly any loop",
    ),
    "letters": (
        "world/markov,symbols=26,concentration=0.1",
        "world/markov,symbols=26,concentration=0.1+temperature,t=1.4",
        "26 letters, many of them rare, and a model that is a little too unsure of them",
    ),
}
"""Corpus, model, and what it is like."""
GATED = tuple(q for question in QUESTIONS for q in question.quantities if q.gates and not q.exact)


@dataclass(frozen=True)
class Missed:
    """How often an interval lay wholly above the truth (`low_above`) and wholly below it."""

    world: str
    documents: int
    name: str
    truth: float | None
    n: int
    audits: int
    low_above: int
    high_below: int

    @property
    def rates(self) -> tuple[float, float]:
        """Both one-sided miss rates."""
        return self.low_above / self.audits, self.high_below / self.audits

    @property
    def limits(self) -> tuple[float, float]:
        """One-sided 95% upper limits of both rates."""
        a, b = (clopper_pearson_high(k, self.audits, alpha=0.05) for k in (self.low_above, self.high_below))
        return a, b


def simulate(world: str, documents: int, seed: int) -> dict[str, Any]:
    """One audit: every gated number with its limits, the sums that ratios are made of, and the curve of AUCs."""
    corpus, model, _ = WORLDS[world]
    with measured(model, corpus, options_of(documents, seed)) as evidence:
        return _numbers(evidence)


def _numbers(evidence: Evidence) -> dict[str, Any]:
    wanted = {(q.finding, q.name) for q in GATED}
    numbers: dict[str, list[float | None]] = {}
    for question in QUESTIONS:
        if question.name == AUC.finding or not any(q in GATED for q in question.quantities):
            continue
        finding = answer(question, evidence)
        for e in finding.estimates if finding is not None else ():
            if (question.name, e.name) in wanted and e.value is not None and e.low is not None and e.high is not None:
                numbers[e.name] = [e.value, e.low, e.high, e.n]
    sums = {s.quantity.name: [float(s.tops.sum()), float(s.bottoms.sum())] for s in sums_of(evidence)}
    return {"numbers": numbers, "sums": sums, **_detected(evidence)}


def options_of(documents: int, seed: int) -> AuditOptions:
    """How long the texts of a simulated audit are, and what stands before them."""
    return AuditOptions(documents=documents, tokens=TOKENS, prefix=PREFIX, seed=seed)


def _detected(evidence: Evidence) -> dict[str, Any]:
    """The curve and its horizons; nothing where too few pairs are whole at the last length."""
    panel = evidence.whole_panel
    test = int((~panel.train).sum())
    if not panel.enough or min(test, panel.n_pairs - test) < LEAST_TEST_DOCUMENTS:
        return {}
    try:
        curve = run_curve(evidence, lengths_up_to(TOKENS))
    except TooFewDocuments:
        return {}
    last = curve.aucs.intervals()[-1]
    ends = {HORIZONS[level].name: [_place(h.low), _place(h.high)] for level, h in curve.horizons.items()}
    return {"aucs": curve.aucs.aucs.tolist(), "auc": [last.low, last.high], "horizons": ends, "test": test}


def _place(end: Any) -> float:
    return {"before": 0.0, "inside": end.tokens, "beyond": float(2 * TOKENS)}[end.where]


# ---- what came out -----------------------------------------------------------------------------------------------------


def missed(results: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]) -> list[Missed]:
    """Both one-sided miss rates of every number, in every world and size."""
    return [
        row
        for (world, documents), audits in results.items()
        for row in (
            *_of_numbers(world, documents, audits, [a for (w, _), more in results.items() if w == world for a in more]),
            *_of_detectors(world, documents, [a for a in audits if "aucs" in a]),
        )
    ]


def _of_numbers(
    world: str, documents: int, audits: Sequence[Mapping[str, Any]], all_sizes: Sequence[Mapping[str, Any]]
) -> Iterable[Missed]:
    for q in GATED:
        known = [a["numbers"][q.name] for a in audits if q.name in a["numbers"]]
        least = min((x[3] for x in known), default=0)
        if q.finding == AUC.finding or not known or least < q.least:
            continue
        pooled = [a["sums"][q.name] for a in all_sizes if q.name in a["sums"]]
        if q.against_reference or not pooled:  # the reference is fitted to each run: what so many documents give
            truth = float(np.mean([x[0] for x in known]))
        else:
            truth = sum(p[0] for p in pooled) / sum(p[1] for p in pooled)
        yield _counted(world, documents, q, truth, [(x[1], x[2]) for x in known], least)


def _of_detectors(world: str, documents: int, audits: Sequence[Mapping[str, Any]]) -> Iterable[Missed]:
    if not audits:
        return
    aucs, least = np.mean([a["aucs"] for a in audits], axis=0), min(a["test"] for a in audits)
    yield _counted(world, documents, AUC, float(aucs[-1]), [tuple(a["auc"]) for a in audits], least)
    for level, q in HORIZONS.items():
        truth = _place(horizon(lengths_up_to(TOKENS), aucs, level_auc=level))
        yield _counted(world, documents, q, truth, [tuple(a["horizons"][q.name]) for a in audits], least)


def _counted(
    world: str, documents: int, q: Quantity, truth: float, limits: Sequence[tuple[float, ...]], least: int
) -> Missed:
    # two ends beyond the lengths measured, or before them, are not a miss: neither decides a gate between them
    above = sum(low > truth + 1e-9 for low, _ in limits)
    below = sum(high < truth - 1e-9 for _, high in limits)
    return Missed(world, documents, q.name, truth, least, len(limits), above, below)
