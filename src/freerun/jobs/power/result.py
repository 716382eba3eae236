"""From counts of rejections to the result of a power table: rates with intervals, the null against its band, expectations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import freerun
from freerun.jobs.power.bases import BASES
from freerun.jobs.power.cells import PowerPlan
from freerun.jobs.power.metrics import METRICS
from freerun.jobs.power.organisms import NULL, PLANTED
from freerun.stats.design.table import STRONG, SimultaneousBand, simultaneous_band, visibility
from freerun.stats.intervals import clopper_pearson

SCHEMA_VERSION = 1
SYMBOLS = {"strong": "●", "weak": "○", "blind": "–"}
COLUMNS = ("data loss", "z on declared t=1", "loops", "classifier", "LR against Q_0", "source drift")
EXPECTED: dict[str, tuple[str, ...]] = {
    "absorbing": ("○", "●", "●", "●", "●", "–"),
    "payload": ("○", "depends", "–", "●", "●", "○"),
    "hash": ("–", "depends", "–", "● on bodies", "●", "○"),
    "self-detector": ("–", "○", "–", "● long T", "●", "○"),
    "temperature": ("●", "●", "○", "○", "●", "○"),
    "collapse": ("○", "○", "–", "●", "●", "●"),
    "n-gram, short window": ("●", "○", "○", "●", "●", "●"),
    "int8 / bf16": ("○", "○", "–", "–", "○", "–"),
}
"""What was expected before anything was measured: ● strong, ○ weak or length-dependent, – blind."""
Cell = dict[str, Any]


def power_result(plan: PowerPlan, parts: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The result of all parts of a plan, as plain data; `manifest` gives the command and the provenance."""
    cells = list(_cells(plan, parts))
    null = _null(plan, cells)
    controls = _controls(plan, cells)
    table = expectations(plan, cells)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "power",
        "freerun_version": freerun.__version__,
        "title": "Which metric sees which organism",
        "command": manifest["command"],
        "plan_hash": plan.hash,
        "plan": asdict(plan),
        "sentence": _sentence(plan, null),
        "status": "good" if null["all_inside"] else "bad",
        "bases": [{"name": b, "meaning": BASES[b].meaning, "ngram": BASES[b].ngram} for b in plan.bases],
        "organisms": [{"name": o, "label": PLANTED[o].label, "meaning": PLANTED[o].meaning} for o in plan.organisms],
        "metrics": [_metric(m) for m in plan.metrics],
        "cells": cells,
        "null": null,
        "controls": controls,
        "effects": list(_effects(plan, parts)),
        "expectations": table,
        "expectation_rule": RULE.format(
            strong=f"{STRONG:.0%}",
            middle=middle(plan),
            longest=plan.lengths[-1],
            level=f"{plan.level:.0%}",
            texts=plan.texts[-1],
        ),
        "seconds_of_work": round(math.fsum(p["seconds"] for p in parts), 1),
        "provenance": dict(manifest["provenance"]),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "name": name,
        "label": metric.label,
        "null": metric.null,
        "unit": "text",
        "test": metric.test,
        "size": metric.size,
        "source": metric.source,
        "control": metric.control,
        "expected_column": metric.expected_column,
    }


def _cells(plan: PowerPlan, parts: Sequence[Mapping[str, Any]]) -> Iterable[Cell]:
    """One entry a base, organism, metric, length and number of texts, with its Clopper–Pearson interval."""
    for base in plan.bases:
        for organism in plan.organisms:
            mine = [p for p in parts if (p["base"], p["organism"]) == (base, organism)]
            runs = sum(p["runs"] for p in mine)
            for metric, tokens, texts in plan.cells(base):
                hits = sum(p["rejected"][metric][f"{tokens}x{texts}"] for p in mine)
                found = clopper_pearson(hits, runs, level=plan.level)
                yield {
                    "base": base,
                    "organism": organism,
                    "metric": metric,
                    "tokens": tokens,
                    "texts": texts,
                    "rejected": hits,
                    "runs": runs,
                    "rate": found.value,
                    "low": found.low,
                    "high": found.high,
                }


# ---- size ------------------------------------------------------------------------------------------------------------


def _judged(cells: Sequence[Cell], band: SimultaneousBand) -> dict[str, Any]:
    """Cells against one band: those whose test is conservative must only not lie above it."""
    for cell in cells:
        cell["inside"] = band.holds(cell["rejected"], at_most=METRICS[cell["metric"]].at_most)
    return {
        "cells": len(cells),
        "runs": band.n_runs,
        "level": band.level,
        "low": band.low / band.n_runs,
        "high": band.high / band.n_runs,
        "all_inside": all(cell["inside"] for cell in cells),
        "outside": [_named(c) for c in cells if not c["inside"]],
        "by_metric": [_range(name, cells) for name in dict.fromkeys(c["metric"] for c in cells)],
    }


def _range(metric: str, cells: Sequence[Cell]) -> dict[str, Any]:
    mine = [c for c in cells if c["metric"] == metric]
    return {
        "metric": metric,
        "size": METRICS[metric].size,
        "cells": len(mine),
        "least": min(c["rate"] for c in mine),
        "most": max(c["rate"] for c in mine),
        "mean": math.fsum(c["rate"] for c in mine) / len(mine),
        "inside": all(c["inside"] for c in mine),
    }


def _named(cell: Cell) -> str:
    where = f"{METRICS[cell['metric']].label}, {cell['organism']} on {cell['base']}"
    return f"{where}, {cell['tokens']} tokens, {cell['texts']} texts: {cell['rate']:.1%}"


def _null(plan: PowerPlan, cells: Sequence[Cell]) -> dict[str, Any]:
    """All cells of the null, every control that is another test than a metric among them."""
    mine = [c for c in cells if c["organism"] == NULL and not METRICS[c["metric"]].control]
    mine = mine or [c for c in cells if c["organism"] == NULL]
    return _judged(mine, simultaneous_band(plan.null_reruns, n_cells=len(mine), rate=plan.alpha, level=plan.level))


def _controls(plan: PowerPlan, cells: Sequence[Cell]) -> dict[str, Any] | None:
    """Tests whose null every organism fulfils, over all organisms."""
    mine = [c for c in cells if c["organism"] != NULL and METRICS[c["metric"]].control]
    if not mine:
        return None
    return _judged(mine, simultaneous_band(plan.reruns, n_cells=len(mine), rate=plan.alpha, level=plan.level))


def _sentence(plan: PowerPlan, null: Mapping[str, Any]) -> str:
    band = f"{null['low']:.1%} to {null['high']:.1%}"
    if null["all_inside"]:
        return (
            f"Nothing planted: all {null['cells']} null rates, {plan.null_reruns:,} reruns each, lie in one simultaneous band "
            f"around {plan.alpha:.0%} ({band}; tests that are conservative by construction not above it)."
        )
    n = len(null["outside"])
    lie = "lies" if n == 1 else "lie"
    return f"{n} of {null['cells']} null rates {lie} outside the simultaneous band ({band}): {null['outside'][0]}."


# ---- power -----------------------------------------------------------------------------------------------------------

RULE = (
    "With {texts} texts a side: ● power of at least {strong} at {middle} tokens (where “long T” was expected: at {longest}); ○ "
    "less there, yet at some length shown to exceed the level (one-sided limits at {level} for the whole table together); – at no "
    "length, so that a power a little above the level is not excluded. Where bases differ, ○."
)


def middle(plan: PowerPlan) -> int:
    """The length at which power is called strong: the second of the plan, or its only one."""
    return plan.lengths[min(1, len(plan.lengths) - 1)]


def expectations(plan: PowerPlan, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Found beside expected, where something was expected of an organism; `found` is None where no metric stands for a column."""
    by_column = {METRICS[m].expected_column: m for m in plan.metrics if METRICS[m].expected_column}
    wanted = [(o, row) for o in plan.organisms if (row := PLANTED[o].expected_row) is not None]
    places = {
        (organism, column): _places(plan, cells, organism, by_column[column])
        for organism, _ in wanted
        for column in COLUMNS
        if column in by_column
    }
    family = max(1, sum(len(p) for p in places.values()))
    rows = []
    for organism, row in wanted:
        for column, expected in zip(COLUMNS, EXPECTED[row], strict=True):
            at = plan.lengths[-1] if "long T" in expected else middle(plan)
            seen = {
                base: SYMBOLS[_judgement(plan, mine, at, family)]
                for base, mine in places.get((organism, column), {}).items()
            }
            found = _together(list(seen.values()))
            rows.append(
                {
                    "organism": row,
                    "planted": organism,
                    "column": column,
                    "metric": by_column.get(column),
                    "expected": expected,
                    "found": found,
                    "by_base": seen,
                    "confirmed": None if found is None else _confirmed(expected, found),
                }
            )
    return rows


def _places(plan: PowerPlan, cells: Sequence[Cell], organism: str, metric: str) -> dict[str, list[Cell]]:
    """The cells of a test with most texts, by base, in order of length."""
    found: dict[str, list[Cell]] = {}
    for c in cells:
        if (c["organism"], c["metric"], c["texts"]) == (organism, metric, plan.texts[-1]):
            found.setdefault(c["base"], []).append(c)
    return found


def _judgement(plan: PowerPlan, mine: Sequence[Cell], tokens: int, family: int) -> str:
    lengths = [c["tokens"] for c in mine]
    return visibility(
        [c["rejected"] for c in mine],
        [c["runs"] for c in mine],
        at=lengths.index(tokens) if tokens in lengths else 0,
        alpha=plan.alpha,
        level=plan.level,
        family=family,
    )


def _together(symbols: Sequence[str]) -> str | None:
    if not symbols:
        return None
    return symbols[0] if len(set(symbols)) == 1 else "○"


def _confirmed(expected: str, found: str) -> bool:
    return expected == "depends" or expected.startswith(found)


def _effects(plan: PowerPlan, parts: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """What each organism costs on real texts: excess loss against the truth, nats a text, with its standard error over texts."""
    for base in plan.bases:
        for organism in plan.organisms:
            mine = [p["excess"] for p in parts if (p["base"], p["organism"]) == (base, organism)]
            for tokens in plan.lengths:
                n, total, squares = (math.fsum(m[str(tokens)][i] for m in mine) for i in range(3))
                mean = total / n
                spread = math.sqrt(max(squares / n - mean * mean, 0.0) / max(n - 1, 1.0))
                yield {
                    "base": base,
                    "organism": organism,
                    "tokens": tokens,
                    "excess_nats_per_text": mean,
                    "standard_error": spread,
                    "texts": int(n),
                }
