"""From counts of rejections to the result of a power table: rates with intervals, and the null against its band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import freerun
from freerun.jobs.power.bases import BASES
from freerun.jobs.power.cells import Part, PowerPlan
from freerun.jobs.power.metrics import METRICS
from freerun.jobs.power.organisms import NULL, PLANTED
from freerun.jobs.power.words import with_words
from freerun.results.power import (
    BandCheck,
    MetricRates,
    PowerBase,
    PowerCell,
    PowerEffect,
    PowerOrganism,
    PowerResult,
    PowerSettings,
)
from freerun.stats.design.table import SimultaneousBand, simultaneous_band
from freerun.stats.intervals import clopper_pearson

SCHEMA_VERSION = 1


def power_result(plan: PowerPlan, parts: Sequence[Part], manifest: Mapping[str, Any]) -> PowerResult:
    """The result of all parts of a plan; `manifest` gives the command and the provenance."""
    rates = list(_rates(plan, parts))
    nulls = [c for c in rates if c.organism == NULL]
    # a control is another test than a metric only where something is planted
    nulls = [c for c in nulls if not METRICS[c.metric].control] or nulls
    controls = [c for c in rates if c.organism != NULL and METRICS[c.metric].control]
    null_band, control_band = _band(plan, nulls, plan.null_reruns), _band(plan, controls, plan.reruns)
    outside = {
        c for cells, band in ((nulls, null_band), (controls, control_band)) for c in cells if not _inside(c, band)
    }
    null = _check(nulls, outside, null_band)
    result = PowerResult(
        schema_version=SCHEMA_VERSION,
        kind="power",
        freerun_version=freerun.__version__,
        title="Which metric sees which organism",
        command=manifest["command"],
        plan_hash=plan.hash,
        plan=PowerSettings(**asdict(plan)),
        sentence="",
        status="good" if null.all_inside else "bad",
        bases=tuple(PowerBase(b, BASES[b].meaning, BASES[b].ngram) for b in plan.bases),
        organisms=tuple(PowerOrganism(o, PLANTED[o].label, PLANTED[o].meaning) for o in plan.organisms),
        metrics=tuple(METRICS[name].described(name) for name in plan.metrics),
        cells=tuple(replace(c, inside=c not in outside) for c in rates),
        null=null,
        controls=_check(controls, outside, control_band) if controls else None,
        effects=tuple(_effects(plan, parts)),
        seconds_of_work=round(math.fsum(p.seconds for p in parts), 1),
        provenance=dict(manifest["provenance"]),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return with_words(result)


def _groups(plan: PowerPlan, parts: Sequence[Part]) -> Iterator[tuple[str, str, list[Part]]]:
    for base in plan.bases:
        for organism in plan.organisms:
            yield base, organism, [p for p in parts if (p.base, p.organism) == (base, organism)]


def _rates(plan: PowerPlan, parts: Sequence[Part]) -> Iterator[PowerCell]:
    """One cell a base, organism, metric, length and number of texts, with its Clopper–Pearson interval."""
    for base, organism, mine in _groups(plan, parts):
        runs = sum(p.runs for p in mine)
        for metric, tokens, texts in plan.cells(base):
            hits = sum(p.rejected[metric][f"{tokens}x{texts}"] for p in mine)
            rate = clopper_pearson(hits, runs, level=plan.level)
            yield PowerCell(base, organism, metric, tokens, texts, hits, runs, rate.value, rate.low, rate.high)


def _effects(plan: PowerPlan, parts: Sequence[Part]) -> Iterator[PowerEffect]:
    for base, organism, mine in _groups(plan, parts):
        for tokens in plan.lengths:
            n, total, squares = (math.fsum(p.excess[str(tokens)][i] for p in mine) for i in range(3))
            mean = total / n
            error = math.sqrt(max(squares / n - mean * mean, 0.0) / max(n - 1, 1.0))
            yield PowerEffect(base, organism, tokens, mean, error, int(n))


# ---- size ------------------------------------------------------------------------------------------------------------


def _band(plan: PowerPlan, cells: Sequence[PowerCell], runs: int) -> SimultaneousBand:
    return simultaneous_band(runs, n_cells=max(1, len(cells)), rate=plan.alpha, level=plan.level)


def _inside(cell: PowerCell, band: SimultaneousBand) -> bool:
    """Whether a cell lies in its band; one whose test is conservative must only not lie above it."""
    return band.holds(cell.rejected, at_most=METRICS[cell.metric].at_most)


def _check(cells: Sequence[PowerCell], outside: set[PowerCell], band: SimultaneousBand) -> BandCheck:
    by_metric: dict[str, list[PowerCell]] = {}
    for cell in cells:
        by_metric.setdefault(cell.metric, []).append(cell)
    return BandCheck(
        cells=len(cells),
        runs=band.n_runs,
        level=band.level,
        low=band.low / band.n_runs,
        high=band.high / band.n_runs,
        all_inside=outside.isdisjoint(cells),
        outside=tuple(_named(c) for c in cells if c in outside),
        by_metric=tuple(
            MetricRates(
                metric,
                METRICS[metric].size,
                len(mine),
                least=min(c.rate for c in mine),
                most=max(c.rate for c in mine),
                mean=math.fsum(c.rate for c in mine) / len(mine),
                inside=outside.isdisjoint(mine),
            )
            for metric, mine in by_metric.items()
        ),
    )


def _named(cell: PowerCell) -> str:
    where = f"{METRICS[cell.metric].label}, {cell.organism} on {cell.base}"
    return f"{where}, {cell.tokens} tokens, {cell.texts} texts: {cell.rate:.1%}"
