"""Which metric sees which organism, with size and power: a table of simulations that can be interrupted.

RUN/manifest.json    the plan with its hash; written first
RUN/cells/NAME.json  the counts of one unit of work, by one atomic rename, with their SHA-256
RUN/result.json, RUN/report.html   made from the counts
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.files import write_atomically
from freerun.jobs.power.cells import Part, PowerPlan, Unit, run_unit
from freerun.jobs.power.result import power_result
from freerun.records.schema import SCHEMA_VERSION as RECORD_VERSION
from freerun.records.store import RunFolder
from freerun.report.pages.power import render_power
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.power import PowerResult
from freerun.runs.executors.job import Calls, Done, Poisoned, refuse_poisoned
from freerun.runs.executors.named import pool_of
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import provenance

FOLDER = "cells"


def power(
    plan: PowerPlan,
    *,
    out: str | Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    command: str = "",
) -> tuple[Path, PowerResult]:
    """Simulate a power table, or go on with one that was interrupted; returns its folder and its result.

    Raises:
        UsageError: fewer than one worker. DataError: the folder holds something else, another process writes to it, it cannot be
            written to. BackendError: a unit failed three times; all others are kept.
    """
    if not 1 <= workers <= 64:
        raise UsageError(f"--workers must lie between 1 and 64, not {workers}")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / f"power-{plan.hash[:8]}")
    folder.open(_manifest(plan, command or f"freerun power -o {folder.path}"))
    for leftover in (folder.path / FOLDER).glob(".*.json-*"):
        leftover.unlink(missing_ok=True)
    units = plan.units()
    parts = {u: part for u in units if (part := read_part(folder.path, u, plan)) is not None}
    missing = [u for u in units if u not in parts]
    if missing:
        progress = progress or Silent()
        progress.say(f"{len(missing)} of {counted(len(units), 'part')} to simulate -> {folder.path}")
        progress.begin(sum(plan.tokens_of(u) for u in units))
        progress.advance(sum(plan.tokens_of(u) for u in parts))
        try:
            poisoned: list[Poisoned[Unit]] = []
            for outcome in pool_of(workers, len(missing)).map(Calls(partial(run_unit, plan)), missing):
                if not isinstance(outcome, Done):
                    poisoned.append(outcome)
                    continue
                unit = outcome.unit
                _write_part(folder.path, unit, outcome.value)
                parts[unit] = outcome.value
                progress.phase(f"{unit.organism} on {unit.base}")
                progress.advance(plan.tokens_of(unit))
        finally:
            progress.end()
        refuse_poisoned(poisoned)
    result = power_result(plan, [parts[u] for u in units], folder.manifest())
    write_atomically(folder.path / "result.json", json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_power(result))
    return folder.path, result


def _manifest(plan: PowerPlan, command: str) -> dict[str, Any]:
    return {
        "schema_version": RECORD_VERSION,
        "kind": "power",
        "plan": to_json(plan),
        "plan_hash": plan.hash,
        "command": command,
        "provenance": provenance(),
    }


# ---- parts -----------------------------------------------------------------------------------------------------------


def read_part(run: Path, unit: Unit, plan: PowerPlan) -> Part | None:
    """The counts of a unit; None where they are not there, damaged, or of another plan: they are simulated again then."""
    try:
        stored = json.loads((run / FOLDER / f"{unit.name}.json").read_text(encoding="utf-8"))
        part = from_json(Part, stored["part"])
    except (OSError, ValueError, RecursionError, LookupError, TypeError, DataError):
        return None
    return part if stored.get("sha256") == _digest(part) and part.unit == unit.key(plan.hash) else None


def _write_part(run: Path, unit: Unit, part: Part) -> None:
    stored = {"part": to_json(part), "sha256": _digest(part)}
    write_atomically(run / FOLDER / f"{unit.name}.json", json.dumps(stored, indent=1, allow_nan=False) + "\n")


def _digest(part: Part) -> str:
    return hashlib.sha256(json.dumps(to_json(part), sort_keys=True).encode()).hexdigest()
