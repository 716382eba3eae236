"""What a grid would take: the sum of what its cells would. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from freerun.errors import FreerunError
from freerun.jobs.audit.dry_run import dry_run
from freerun.jobs.grid.grid import CELLS, finished_cells
from freerun.jobs.grid.plan import GridPlan
from freerun.jobs.grid.workshop import Task, Workshop
from freerun.results.forecast import Forecast, Span

GRID_FORECAST_VERSION = 1
SUMMARY_BYTES = (100_000.0, 1_500_000.0)
"""A summary with the result and the page of its cell, by experience: 16 to 256 documents."""
NOTHING = Span(0.0, 0.0)


@dataclass(frozen=True)
class GridForecast:
    """What every cell that is not finished would take, by its name, and what the whole would."""

    folder: str
    cells: dict[str, Forecast]
    refused: dict[str, str]
    """Cells that would be refused, and why."""
    n_finished: int
    seconds: Span
    memory_bytes: Span
    """Of the largest cell."""
    disk_bytes: Span

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        cells = {name: one.to_json() for name, one in self.cells.items()}
        return {"schema_version": GRID_FORECAST_VERSION, "kind": "grid_forecast", **asdict(self), "cells": cells}


def forecast_grid(
    plan: GridPlan,
    *,
    name: str = "grid",
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> GridForecast:
    """Time a small batch of every cell that is not finished, and add up."""
    folder = Path(out) if out is not None else Path("runs") / f"grid-{name}"
    finished = finished_cells(folder, plan)
    shop, found, refused = Workshop(), dict[str, Forecast](), dict[str, str]()
    for cell in plan.cells:
        if cell.name in finished:
            continue
        say(f"timing {cell.name}")
        where = folder / CELLS / cell.name
        task = Task(cell.name, cell.model.spec, cell.corpus.spec, cell.options, cell.key, str(where))
        try:
            found[cell.name] = dry_run(shop.predictor(task, say), shop.corpus(task, say), cell.options, out=where)
        except FreerunError as error:
            refused[cell.name] = str(error)
    n = len(found)
    disk = summed(one.disk_bytes for one in found.values()) if plan.keep == "records" else NOTHING
    return GridForecast(
        str(folder),
        found,
        refused,
        len(finished),
        summed(one.seconds for one in found.values()),
        largest([one.memory_bytes for one in found.values()]),
        disk + Span(SUMMARY_BYTES[0] * n, SUMMARY_BYTES[1] * n),
    )


def summed(spans: Iterable[Span]) -> Span:
    """One after the other."""
    return reduce(add, spans, NOTHING)


def largest(spans: list[Span]) -> Span:
    """The largest of several that do not happen at once."""
    return Span(max((s.low for s in spans), default=0.0), max((s.high for s in spans), default=0.0))
