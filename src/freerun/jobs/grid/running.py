"""Cells done by an executor: what this process does, which owns the folders, while workers do the units."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from freerun.errors import DataError, FreerunError
from freerun.jobs.grid.workshop import (
    CellJob,
    CellPlan,
    Concluded,
    Concluding,
    Made,
    Measuring,
    Planning,
    Recorded,
    Refused,
    Task,
    Work,
    sum_up,
)
from freerun.records.layout import first_pairs
from freerun.records.measure import units_of
from freerun.records.plan import read_plan
from freerun.records.remote import RemoteParts
from freerun.records.store import RunFolder
from freerun.results.grid import CellState
from freerun.runs.executors.job import Done, Executor, Poisoned
from freerun.runs.executors.local import Local
from freerun.runs.progress import Progress
from freerun.runs.run import finished
from freerun.text.first_look import FIRST_LOOK_DOCUMENTS

ROWS_A_DOCUMENT = 4
"""Texts of a document in a run: its own, two continuations and the control."""
DEFAULT_TOKENS = 128


@dataclass(frozen=True)
class Failure:
    """Why a cell has no summary."""

    why: str
    exit_code: int
    state: CellState


@dataclass
class _Open:
    """A cell in the making: its folder, which is locked as long as this is here, and the parts that are still missing."""

    task: Task
    folder: RunFolder
    missing: set[str]
    share: float
    """Tokens to report for each of its own: what was expected over what there is."""


@dataclass
class Foreman:
    """Opens folders, hands out what can be done next, and takes in what comes back."""

    tell: Progress
    on_summary: Callable[[Task, str, RunFolder], None]
    """Called with a task's summary, and the folder of its run."""
    live: bool
    """Tokens are reported while they are made, by the worker in this process."""
    check: Callable[[Task, CellPlan], str | None] = lambda _task, _plan: None
    """What speaks against a plan."""
    failures: dict[str, Failure] = field(default_factory=dict)
    _open: dict[str, _Open] = field(default_factory=dict)

    def then(self, unit: Work, made: Made) -> Sequence[Work]:
        """What can be done now."""
        task = unit.task
        try:
            if isinstance(made, Refused):
                self.failures[task.name] = Failure(made.why, made.exit_code, "refused")
                self.tell.advance(expected_tokens(task))
            elif isinstance(made, CellPlan):
                return self._begin(task, made)
            elif isinstance(unit, Measuring) and isinstance(made, Recorded):
                return self._recorded(unit, made)
            elif isinstance(made, Concluded):
                self._summed_up(task, made.summary)
        except FreerunError as error:
            self.failures[task.name] = Failure(str(error), error.exit_code, "failed")
            self._open.pop(task.name, None)
        return ()

    def poisoned(self, outcome: Poisoned[Work]) -> None:
        """A unit was left: its cell cannot be finished."""
        task = outcome.unit.task
        held = self.failures.get(task.name)
        if held is None:
            self.failures[task.name] = Failure(str(outcome), outcome.reasons[-1].error.exit_code, "failed")
        self.tell.say(str(outcome))

    def _begin(self, task: Task, plan: CellPlan) -> Sequence[Work]:
        for note in plan.notes:
            self.tell.say(note)
        if (against := self.check(task, plan)) is not None:
            raise DataError(against)
        folder = RunFolder(Path(plan.folder).absolute())
        if task.url:
            plan = _as_held(plan, folder)
        folder.open(plan.manifest)
        plan_hash = str(plan.manifest["plan_hash"])
        left = []
        for unit in plan.units:
            key = unit.key(plan_hash)
            if damage := folder.damage(unit.name, key):
                self.tell.say(f"{folder.path}: {damage}; part {unit.name} is made again")
            there = folder.done(unit.name, key) or (
                task.url and RemoteParts(task.url, plan_hash).take(unit.name, folder)
            )
            left += [] if there else [unit]
        n = sum(u.n_tokens for u in left)
        self._open[task.name] = _Open(task, folder, {u.name for u in left}, expected_tokens(task) / n if n else 0.0)
        if not left:
            self.tell.advance(expected_tokens(task))
            return [Concluding(task, str(folder.path))] if not task.url else self._conclude_here(task)
        return [Measuring(task, unit, plan_hash, str(folder.path)) for unit in left]

    def _recorded(self, unit: Measuring, made: Recorded) -> Sequence[Work]:
        for note in made.notes:
            self.tell.say(note)
        cell = self._open.get(unit.task.name)
        if cell is None:  # it failed meanwhile
            return ()
        if not self.live:
            self.tell.phase(unit.task.name or unit.unit.arm)
            self.tell.advance(round(cell.share * unit.unit.n_tokens))
        if unit.task.url and not RemoteParts(unit.task.url, unit.plan_hash).take(unit.unit.name, cell.folder):
            raise DataError(
                f"cannot find part {unit.unit.name} at {unit.task.url}, where a worker has left it; run the same command again"
            )
        cell.missing.discard(unit.unit.name)
        if cell.missing:
            return ()
        return self._conclude_here(unit.task) if unit.task.url else [Concluding(unit.task, unit.folder)]

    def _conclude_here(self, task: Task) -> Sequence[Work]:
        """Workers do not see the folder."""
        self._summed_up(task, sum_up(finished(self._open[task.name].folder.path), task.key))
        return ()

    def _summed_up(self, task: Task, summary: str) -> None:
        cell = self._open.pop(task.name)
        self.on_summary(task, summary, cell.folder)


def _as_held(plan: CellPlan, folder: RunFolder) -> CellPlan:
    """A plan that was made where nobody sees the folder, around the first look that the folder's parts begin with."""
    if not folder.has_first_look:
        return plan
    held = folder.manifest()
    if held["plan_hash"] != plan.manifest["plan_hash"] or not (first := first_pairs(held)):
        return plan
    manifest = {**plan.manifest, "layout": held["layout"]}
    units = units_of(int(manifest["counts"]["pairs"]), read_plan(manifest["plan"]).measured, first)
    return replace(plan, manifest=manifest, units=tuple(units))


def run_cells(
    tasks: Sequence[Task],
    executor: Executor,
    tell: Progress,
    on_summary: Callable[[Task, str, RunFolder], None],
    *,
    check: Callable[[Task, CellPlan], str | None] = lambda _task, _plan: None,
) -> dict[str, Failure]:
    """Do all cells, or go on with them; why those that could not be finished were not, by their names.

    Raises:
        FreerunError: no worker can be had.
    """
    live = isinstance(executor, Local)
    foreman = Foreman(tell, on_summary, live, check)
    tell.begin(sum(map(expected_tokens, tasks)))
    try:
        for outcome in executor.map(CellJob(tell if live else None), [Planning(t) for t in tasks], foreman.then):
            if not isinstance(outcome, Done):
                foreman.poisoned(outcome)
    finally:
        tell.end()
    return foreman.failures


def expected_tokens(task: Task) -> int:
    """Tokens that a cell records, as far as its options tell; what its folder holds already is left out."""
    o = task.options
    documents = min(o.documents, FIRST_LOOK_DOCUMENTS) if o.quick else o.documents
    whole = documents * (o.tokens or DEFAULT_TOKENS) * ROWS_A_DOCUMENT
    try:
        pairs = json.loads((Path(task.folder) / "manifest.json").read_text())["counts"]["pairs"] if task.folder else 0
        held = len(list((Path(task.folder) / "sequences").glob("*.parquet")))
        sampled = o.batch * 2
        n = 3 * max(1, -(-pairs // sampled))
        return round(whole * max(0.0, 1.0 - held / n)) if pairs else whole
    except (OSError, ValueError, LookupError, TypeError):
        return whole
