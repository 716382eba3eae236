"""What is done for a cell, unit by unit, and what a worker keeps at hand for the next ones: one model, corpora, counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freerun.comparisons.grids.summary import digest_of, written
from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.files import sha256_of
from freerun.jobs.audit.audit import (
    ask_the_rest,
    asks_the_rest,
    check_first_look_and_sources,
    conclude,
    measure_units,
)
from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.jobs.audit.preparing import Prepared, prepare
from freerun.jobs.audit.so_far import WhatIsKnown
from freerun.jobs.served.requests import Log, served_in
from freerun.jobs.served.same_law import SameLaw
from freerun.predictors.base import Predictor
from freerun.predictors.reference import Reference
from freerun.records.measure import Unit
from freerun.records.remote import Outbox, RemoteParts
from freerun.records.requests import SERVED_LAW
from freerun.records.store import RunFolder
from freerun.records.tables import Finished
from freerun.results.so_far import SoFar
from freerun.runs.executors.job import Job
from freerun.runs.progress import Progress, Silent
from freerun.runs.run import finished
from freerun.specs.spec import LoadOptions, load_predictor
from freerun.text.documents import Corpus
from freerun.text.leading import Encode

MOST_CORPORA = 8
"""Corpora that a worker keeps."""
MOST_REFERENCES = 2
"""Counts of training documents that a worker keeps."""


@dataclass(frozen=True)
class Task:
    """A cell as workers get it. `folder`: of its run; empty: the one that its plan has by default. `url`: where its parts go, if
    workers do not see the folder. `key`: of what was asked for."""

    name: str
    model: str | Predictor
    corpus: str | Corpus
    options: AuditOptions
    key: str
    folder: str = ""
    url: str = ""
    threads: int | None = None
    """What its plan says of threads: those of the machine that the run belongs to."""

    @property
    def loads(self) -> str:
        """What tells models that are loaded from each other."""
        o = self.options
        model = self.model if isinstance(self.model, str) else f"object {id(self.model)}"
        return json.dumps([model, o.dtype, o.device, o.trust_remote_code, o.end_ids, o.chat])

    @property
    def reads(self) -> str:
        """What tells corpora that are read from each other. A world writes as much as it is asked for."""
        o = self.options
        if not isinstance(self.corpus, str):
            return f"object {id(self.corpus)}"
        asked = [o.documents, o.prefix, o.cut, o.tokens, o.seed] if self.corpus.startswith("world/") else []
        how = [o.text_field, o.prompt_field, o.split_on, o.chunk, o.format, o.skip_bad_rows]
        return json.dumps([self.corpus, *how, *asked])


@dataclass(frozen=True)
class Planning:
    """Read, load and cut what a cell needs."""

    task: Task


@dataclass(frozen=True)
class Measuring:
    """Record one part of a cell."""

    task: Task
    unit: Unit
    plan_hash: str
    folder: str


@dataclass(frozen=True)
class Concluding:
    """Ask what is left to ask of the model, derive the findings, and sum the cell up."""

    task: Task
    folder: str


Work = Planning | Measuring | Concluding


@dataclass(frozen=True)
class CellPlan:
    """What planning says: the manifest, the folder of the run, and all units."""

    manifest: dict[str, Any]
    folder: str
    units: tuple[Unit, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A cell that cannot be measured as it was asked for."""

    why: str
    exit_code: int


@dataclass(frozen=True)
class Recorded:
    """A part is there."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concluded:
    """A cell is done: its summary, as it is written."""

    summary: str


Made = CellPlan | Refused | Recorded | Concluded


@dataclass(frozen=True)
class CellJob(Job[Work, Made]):
    """The job of an audit or a grid. `tell` hears of tokens while they are made, in the process that has it alone."""

    tell: Progress | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "tell", None)

    def start(self) -> Callable[[Work], Made]:
        return Workshop(self.tell)

    def name(self, unit: Work) -> str:
        what = {Planning: "planning", Concluding: "deriving findings"}.get(type(unit), "")
        part = f"part {unit.unit.name}" if isinstance(unit, Measuring) else what
        return f"{unit.task.name}: {part}" if unit.task.name else part

    def needs(self, unit: Work) -> str:
        return unit.task.loads


class _Notes(Silent):
    """Hands tokens on, and keeps what is said."""

    def __init__(self, tell: Progress) -> None:
        self.lines: list[str] = []
        self._tell = tell

    def say(self, message: str) -> None:
        self.lines.append(message)

    def advance(self, n_tokens: int) -> None:
        self._tell.advance(n_tokens)

    def phase(self, name: str) -> None:
        self._tell.phase(name)

    def known(self, so_far: SoFar) -> None:
        self._tell.known(so_far)


class Workshop:
    """Does units. One model is loaded at a time, and used for all its cells.

    `tell` hears of tokens and texts while they are made; None where nobody waits beside this process.
    """

    def __init__(self, tell: Progress | None = None) -> None:
        self._tell, self._watched = tell or Silent(), tell is not None
        self._loaded = ""
        self._predictor: Predictor | None = None
        self._encodings: dict[tuple[str, str], Sequence[int]] = {}
        self._corpora: dict[str, Corpus] = {}
        self._ready: dict[str, Prepared] = {}
        self._logs: dict[str, Log] = {}
        self._so_far: tuple[str, WhatIsKnown] | None = None
        """Of the cell that is being measured."""
        self._references: dict[object, Reference] = {}

    def __call__(self, unit: Work) -> Made:
        if isinstance(unit, Planning):
            return self._plan(unit.task)
        if isinstance(unit, Measuring):
            return self._measure(unit)
        return self._conclude(unit)

    def _plan(self, task: Task) -> CellPlan | Refused:
        notes = _Notes(self._tell)
        try:
            ready = self.ready(task, notes.say)
            if task.url:
                _check_fits_url(ready)
            check_first_look_and_sources(ready, notes.say)
        except (UsageError, DataError, TooFewDocuments) as error:
            return Refused(str(error), error.exit_code)
        if ready.first and not all(ready.folder.done(u.name, u.key(ready.plan_hash)) for u in ready.wanted):
            notes.say(_of_first_look(ready))
        return CellPlan(ready.manifest, str(ready.folder.path), tuple(ready.wanted), tuple(notes.lines))

    def _measure(self, unit: Measuring) -> Recorded:
        notes = _Notes(self._tell)
        ready = self.ready(unit.task)
        if ready.plan_hash != unit.plan_hash:
            raise DataError(
                "cannot go on: the model or the corpus is not what it was when the run was planned, or not the same on every worker"
            )
        folder: RunFolder
        if unit.task.url:
            folder = Outbox(Path(unit.folder), RemoteParts(unit.task.url, unit.plan_hash))
        else:
            folder = RunFolder(Path(unit.folder))
            check_shared(folder, unit.plan_hash)
        if unit.task.name not in self._logs:
            self._same_law(ready).begin()
        reference, log = self._reference(unit.task, ready), self._log(unit.task, ready)
        try:
            measure_units(
                ready, reference, folder, [unit.unit], notes, log=log, on_text=self._hearing(unit.task, ready)
            )
        finally:
            log.write()
        return Recorded(tuple(notes.lines))

    def _conclude(self, unit: Concluding) -> Concluded:
        asks = asks_the_rest(unit.task.options)
        if asks or (Path(unit.folder) / SERVED_LAW).exists():
            ready = self.ready(unit.task)
            log, same = self._log(unit.task, ready), self._same_law(ready)
            try:
                same.check_unchanged()
                if same.is_open:
                    same.end()
                if asks:
                    ask_the_rest(ready, Silent())
            finally:
                log.write()
        return Concluded(sum_up(finished(unit.folder), unit.task.key))

    def _log(self, task: Task, ready: Prepared) -> Log:
        """The requests that this process sends for a cell."""
        if task.name not in self._logs:
            self._logs[task.name] = Log(ready.folder.path, (ready.predictor, *ready.others))
        return self._logs[task.name]

    @staticmethod
    def _same_law(ready: Prepared) -> SameLaw:
        return SameLaw(ready.folder.path, (ready.predictor, *ready.others))

    def _hearing(self, task: Task, ready: Prepared) -> Callable[[Finished], None]:
        """What hears of the texts of a cell, beginning with those that its folder holds."""
        if not self._watched:
            return lambda _: None
        if self._so_far is None or self._so_far[0] != task.name:
            known = WhatIsKnown(ready, self._tell.known)
            known.take_over([u.name for u in ready.wanted if ready.folder.done(u.name, u.key(ready.plan_hash))])
            self._so_far = task.name, known
        return self._so_far[1].hear

    # ---- what is kept at hand ----------------------------------------------------------------------------------------

    def ready(self, task: Task, say: Callable[[str], None] = lambda _: None) -> Prepared:
        """A cell read, loaded and cut.

        Raises:
            FreerunError: whatever its audit would refuse before it measures.
        """
        predictor = self.predictor(task, say)
        if task.name not in self._ready:
            self._ready[task.name] = prepare(
                predictor,
                self.corpus(task, say),
                task.options,
                out=task.folder or None,
                say=say,
                remember=self._remembered,
                threads=task.threads,
            )
        return self._ready[task.name]

    def predictor(self, task: Task, say: Callable[[str], None] = lambda _: None) -> Predictor:
        """The model of a cell; the one before is let go."""
        if self._predictor is None or self._loaded != task.loads:
            self._predictor, self._loaded = None, ""
            for kept in (self._encodings, self._ready, self._logs, self._references):
                kept.clear()
            o = task.options
            load = LoadOptions(o.dtype, o.device, o.trust_remote_code, end_ids=o.end_ids, chat=o.chat)
            model = task.model
            self._predictor = load_predictor(model, load, tell=say) if isinstance(model, str) else model
            self._loaded = task.loads
        return self._predictor

    def corpus(self, task: Task, say: Callable[[str], None] = lambda _: None) -> Corpus:
        """The corpus of a cell."""
        if task.reads not in self._corpora:
            if len(self._corpora) >= MOST_CORPORA:
                del self._corpora[next(iter(self._corpora))]
            corpus = task.corpus
            self._corpora[task.reads] = read_any_corpus(corpus, task.options) if isinstance(corpus, str) else corpus
            if isinstance(corpus, str) and not corpus.startswith(("builtin/", "world/")):
                for note in (*self._corpora[task.reads].notes, *self._corpora[task.reads].named_notes):
                    say(f"corpus: {note}")
        return self._corpora[task.reads]

    def _remembered(self, encode: Encode) -> Encode:
        """The same, each text encoded once for all cells of a model. An organism on it may encode otherwise."""
        who = type(getattr(encode, "__self__", None)).__qualname__

        def encoded(text: str) -> Sequence[int]:
            key = who, text
            if key not in self._encodings:
                self._encodings[key] = encode(text)
            return self._encodings[key]

        return encoded

    def _reference(self, task: Task, ready: Prepared) -> Reference:
        """Counts of the same training documents are the same in all cells of a model."""
        o = task.options
        key = (
            task.reads,
            ready.pairs.train_documents,
            o.reference,
            o.redact_text,
            o.prefix == 0,
            o.system,
            o.template_options,
        )
        if key not in self._references:
            if len(self._references) >= MOST_REFERENCES:
                del self._references[next(iter(self._references))]
            self._references[key] = ready.reference()
        return self._references[key]


def _check_fits_url(ready: Prepared) -> None:
    """Raises UsageError where more is to be kept of a run than parts that go to a URL."""
    o = ready.options
    asked = {
        "--quick": o.quick,
        "--redact-text": o.redact_text,
        "--ask": o.ask,
        "--sources": o.sources,
        "--own-text-from": o.own_text_from,
        "a served model": any(served_in(p) is not None for p in (ready.predictor, *ready.others)),
    }
    for name, given in asked.items():
        if given:
            raise UsageError(f"{name} needs a folder that workers share: leave --parts out")


def _of_first_look(ready: Prepared) -> str:
    what = f"{len(ready.first)} of {counted(len(ready.pairs.pairs), 'document')}"
    return f"a first look at {what}" if ready.options.quick else f"going on from the first look at {what}"


def check_shared(folder: RunFolder, plan_hash: str) -> None:
    """Raises DataError where the folder that a worker sees is not the one that the run was begun in."""
    try:
        same = folder.manifest()["plan_hash"] == plan_hash
    except DataError:
        same = False
    if not same:
        raise DataError(
            f"cannot see the run in {folder.path} from this worker: put the folder on storage that all machines share, or let "
            "parts go to a URL with --parts"
        )


def sum_up(folder: RunFolder, key: str) -> str:
    """Write a finished run's result and page, and return its summary."""
    evidence, result = conclude(folder)
    files = {name: sha256_of(folder.path / name) for name in ("result.json", "report.html")}
    return written(digest_of(evidence, result, files), key)
