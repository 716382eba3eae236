"""`freerun grid`: every cell an ordinary audit, summed up in a small file that outlives its records, and one page over all.

RUN/grid.json             the plan; written first
RUN/cells/NAME/           the run of a cell
RUN/summaries/NAME.json   what is kept of it, written when it is done: from then on the cell is finished, with or without records
RUN/result.json, RUN/report.html   made from the summaries
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freerun.comparisons.grids.result import CellOutcome, grid_result
from freerun.comparisons.grids.summary import RunDigest, read
from freerun.counted import counted
from freerun.errors import DataError
from freerun.files import cannot, sha256_of, write_atomically
from freerun.jobs.grid.plan import Cell, GridPlan, shown
from freerun.jobs.grid.running import Failure, run_cells
from freerun.jobs.grid.workshop import CellPlan, Task
from freerun.records import lock
from freerun.records.requests import LAW_SERVED
from freerun.records.store import RunFolder
from freerun.report.pages.grid import render_grid
from freerun.results.finding import to_json
from freerun.results.grid import GridResult, GridSetting
from freerun.results.json import from_json
from freerun.runs.executors.job import Executor
from freerun.runs.executors.local import Local
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import cores
from freerun.runs.run import finished as finished_run

MANIFEST = "grid.json"
MANIFEST_VERSION = 1
CELLS, SUMMARIES = "cells", "summaries"
RECORDS = ("sequences", "tokens", "checksums", "answers", "sources", "served")
"""Folders of a run that go where only summaries are kept."""


@dataclass(frozen=True)
class Grid:
    """A grid: its folder and its result."""

    path: Path
    result: GridResult

    @property
    def report(self) -> Path:
        """The page: one file."""
        return self.path / "report.html"

    @property
    def exit_code(self) -> int:
        """4 where a cell failed or is missing, 3 where one was refused, else 0."""
        states = {c.state for c in self.result.cells}
        return 4 if states & {"failed", "missing"} else 3 if "refused" in states else 0


def run_grid(
    plan: GridPlan,
    *,
    out: str | Path | None = None,
    name: str = "grid",
    executor: Executor | None = None,
    parts: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> Grid:
    """Do all cells of a grid, or go on with them, and make its page. A cell that cannot be done is named, and the rest goes on.

    `parts`: a URL at which workers leave what they make, if they do not see the folder.

    Raises:
        DataError: the folder holds something else, another process writes to it, or it cannot be written to.
        FreerunError: no worker can be had.
    """
    tell = progress or Silent()
    folder = Path(out) if out is not None else Path("runs") / f"grid-{name}"
    owner = _open(folder, plan, command or f"freerun grid -o {folder}", tell)
    finished = {name: d for name, d in finished_cells(folder, plan).items() if _whole(folder / CELLS / name, d, tell)}
    left = [cell for cell in plan.cells if cell.name not in finished]
    if finished:
        tell.say(f"{len(finished)} of {counted(len(plan.cells), 'cell is', 'cells are')} finished")
    failures: dict[str, Failure] = {}
    if left:
        tell.say(f"{counted(len(left), 'cell')} to measure -> {folder}")
        sort_as = {cell.model.spec: i for i, cell in enumerate(plan.cells)}
        left.sort(key=lambda c: (sort_as[c.model.spec], c.options.dtype, c.options.chat))

        def keep(task: Task, summary: str, run: RunFolder) -> None:
            write_atomically(folder / SUMMARIES / f"{task.name}.json", summary)
            finished[task.name] = read(summary)[1]
            tell.say(f"{task.name}: {finished[task.name].sentence}")
            if plan.keep == "summary":
                _forget(run)

        tasks = [_task(folder, cell, parts) for cell in left]
        failures = run_cells(
            tasks, executor or Local(), tell, keep, check=lambda task, made: _changed(task, made, plan, finished)
        )
    grid = _report(folder, plan, finished, failures)
    del owner
    return grid


def report_grid(path: str | Path) -> Grid:
    """Make result and page again from the summaries.

    Raises:
        DataError: no grid there.
    """
    folder = Path(path)
    plan = from_json(GridPlan, _manifest(folder)["plan"])
    finished = finished_cells(folder, plan)
    missing = {c.name: _not_measured(folder, c.name) for c in plan.cells if c.name not in finished}
    return _report(folder, plan, finished, missing)


def is_grid(path: str | Path) -> bool:
    """Whether a folder is a grid's."""
    return (Path(path) / MANIFEST).is_file()


def finished_cells(folder: Path, plan: GridPlan) -> dict[str, RunDigest]:
    """The cells whose summaries are whole, and of what is asked for now."""
    found = {}
    for cell in plan.cells:
        try:
            key, digest = read((folder / SUMMARIES / f"{cell.name}.json").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DataError):
            continue
        if key == cell.key:
            found[cell.name] = digest
    return found


# ---- the folder --------------------------------------------------------------------------------------------------------


class _Owner:
    """Who holds the lock of the folder."""


def _open(folder: Path, plan: GridPlan, command: str, tell: Progress) -> _Owner:
    """Begin or continue a grid; nobody else can as long as what is returned is there."""
    if (
        folder.exists()
        and not is_grid(folder)
        and (not folder.is_dir() or set(folder.iterdir()) - {folder / lock.NAME})
    ):
        raise DataError(f"{folder} is there and is not a grid; choose another folder with -o")
    owner = _Owner()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.hold(owner, folder)
    except (OSError, ValueError) as error:
        raise cannot("write", folder, error) from error
    if is_grid(folder):
        held = from_json(GridPlan, _manifest(folder)["plan"])
        names = {c.name for c in plan.cells}, {c.name for c in held.cells}
        if new := names[0] - names[1]:
            tell.say(f"the plan has {counted(len(new), 'cell')} that this folder did not have")
        if gone := names[1] - names[0]:
            tell.say(f"left out of the page, and kept in the folder: {counted(len(gone), 'cell')} of an earlier plan")
    manifest = {"schema_version": MANIFEST_VERSION, "kind": "grid", "command": command, "plan": to_json(plan)}
    text = json.dumps(manifest, indent=1) + "\n"
    path = folder / MANIFEST
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
    for leftover in (folder / SUMMARIES).glob(".*.json-*"):
        leftover.unlink(missing_ok=True)
    return owner


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        version, _ = held["schema_version"], held["plan"]
    except FileNotFoundError:
        raise DataError(f"{folder}: no grid here (no {MANIFEST}); `freerun grid PLAN.toml` makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read; remove it and run the grid again, which keeps its cells") from error
    if version != MANIFEST_VERSION:
        raise DataError(
            f"{path} has schema {version!r}, this freerun reads {MANIFEST_VERSION}; use the version that made it"
        )
    return dict(held)


def _task(folder: Path, cell: Cell, parts: str) -> Task:
    where = str((folder / CELLS / cell.name).absolute())
    return Task(cell.name, cell.model.spec, cell.corpus.spec, cell.options, cell.key, where, parts, cores())


def _forget(run: RunFolder) -> None:
    """Let the records of a run go; what was concluded from them stays."""
    (run.path / LAW_SERVED).unlink(missing_ok=True)  # of these records, and in the result
    for name in RECORDS:
        with suppress(FileNotFoundError):
            try:
                shutil.rmtree(run.path / name)
            except OSError as error:
                if error.errno is not None and (run.path / name).exists():
                    raise cannot("write", run.path / name, error) from error


def _changed(task: Task, made: CellPlan, plan: GridPlan, finished: Mapping[str, RunDigest]) -> str | None:
    """Whether a model or a corpus is another than when a cell that is finished was measured."""
    cells = {c.name: c for c in plan.cells}
    mine, now = cells[task.name], made.manifest["plan"]
    for name, digest in finished.items():
        other, then = cells[name], digest.manifest["plan"]
        same_corpus = mine.corpus == other.corpus and not mine.corpus.spec.startswith("world/")
        if same_corpus and then["corpus_fingerprint"] != now["corpus_fingerprint"]:
            return (
                f"corpus {mine.corpus.spec} is not what it was when {name} was measured: remove that cell's file in {SUMMARIES}/ "
                "and its folder, or choose another folder with -o"
            )
        how = ("dtype", "end_ids", "chat", "prefix")
        same_model = mine.model.spec == other.model.spec and all(
            getattr(mine.options, h) == getattr(other.options, h) for h in how
        )
        if same_model and then["model_fingerprint"] != now["model_fingerprint"] and same_corpus:
            return (
                f"model {mine.model.spec} is not what it was when {name} was measured: remove that cell's file in {SUMMARIES}/ "
                "and its folder, or choose another folder with -o"
            )
    return None


def _whole(run: Path, digest: RunDigest, tell: Progress) -> bool:
    """Whether the run of a finished cell is as it was left; one whose records are gone need not be."""
    if not (run / "sequences").is_dir():
        return True
    fault = next((name for name, sha256 in digest.files.items() if _sum_of(run / name) != sha256), None)
    why = None if fault is None else f"{run / fault} is not as it was written"
    if why is None:
        try:
            finished_run(run)
        except DataError as error:
            why = str(error)
    if why is not None:
        tell.say(f"{why}; what is missing of the cell is made again")
    return why is None


def _sum_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _not_measured(folder: Path, name: str) -> Failure:
    held = list((folder / CELLS / name / "sequences").glob("*.parquet"))
    words = (
        f"it is not finished ({counted(len(held), 'part is', 'parts are')} there)" if held else "it is not measured yet"
    )
    return Failure(f"{words}: run the grid again", 4, "missing")


# ---- the page ----------------------------------------------------------------------------------------------------------


def _report(folder: Path, plan: GridPlan, finished: Mapping[str, RunDigest], failures: Mapping[str, Failure]) -> Grid:
    outcomes = [_outcome(folder, plan, cell, finished.get(cell.name), failures.get(cell.name)) for cell in plan.cells]
    made = grid_result(
        outcomes,
        title=plan.title,
        baseline=_settings(plan.baseline),
        command=str(_manifest(folder)["command"]),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    plain = to_json(made)
    write_atomically(folder / "result.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_grid(plain))
    return Grid(folder, made)


def _outcome(
    folder: Path, plan: GridPlan, cell: Cell, digest: RunDigest | None, failure: Failure | None
) -> CellOutcome:
    run = folder / CELLS / cell.name
    measures = dict(cell.model.measures)
    if digest is not None and one_family(plan) and "bits" not in measures and (bits := bits_of(digest)) is not None:
        measures["bits"] = bits
    base = plan.baseline_of(cell)
    made = CellOutcome(
        cell.name,
        cell.at.model,
        cell.at.corpus,
        _settings(cell.at.settings),
        measures,
        f"{CELLS}/{cell.name}" if (run / "report.html").exists() else "",
        (run / "sequences").exists(),
        digest,
        baseline=None if base is None else base.name,
    )
    if digest is not None:
        return made
    why = failure or Failure("it is not measured yet", 4, "missing")
    return replace(made, state=why.state, why=why.why)


def one_family(plan: GridPlan) -> bool:
    """Whether all models are one, loaded in different ways."""
    return len({re.split(r"[,+]", c.model.spec)[0] for c in plan.cells}) == 1


def bits_of(digest: RunDigest) -> float | None:
    """Bits of a weight, as far as the model's own description tells them; None for models without weights."""
    nature = digest.manifest["model"].get("nature") or {}
    if nature.get("kind"):
        return None
    rounded = re.fullmatch(r"int(\d+)", str(nature.get("rounded_to", "")))
    stored = int(rounded[1]) if rounded else nature.get("bits")
    return float(stored or {"fp32": 32, "bf16": 16}[str(nature.get("arithmetic", "fp32"))])


def _settings(values: Sequence[tuple[str, Any]]) -> tuple[GridSetting, ...]:
    return tuple(GridSetting(key, shown(value)) for key, value in values)
