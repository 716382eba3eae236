"""One audit by several workers: a grid of one cell, without the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from freerun.errors import BackendError, DataError, FreerunError, TooFewDocuments, UsageError
from freerun.jobs.audit.options import AuditKeywords, check_options, chosen_from
from freerun.jobs.grid.running import Failure, run_cells
from freerun.jobs.grid.workshop import Task
from freerun.runs.executors.job import Executor
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import cores
from freerun.runs.run import Run, open_run
from freerun.specs.spec import loader_of

_ERRORS: tuple[type[FreerunError], ...] = (UsageError, TooFewDocuments, DataError)


def audit_on(
    executor: Executor,
    model: str,
    corpus: str,
    *,
    out: str | Path | None = None,
    parts: str = "",
    progress: Progress | None = None,
    **options: Unpack[AuditKeywords],
) -> Run:
    """`audit` with its parts made by an executor's workers; the records are those that it would make.

    `parts`: a URL at which workers leave what they make, if they do not see the folder.

    Raises:
        FreerunError: see `audit`; parts that failed three times are named, and all others are kept.
    """
    chosen = chosen_from(options)
    check_options(chosen)
    for spec in (model, chosen.own_text_from, *chosen.reference):
        if spec is not None:
            loader_of(spec)
    if corpus == "-":
        raise UsageError(
            "--executor: every worker reads the corpus, and standard input can be read once; write it to a file"
        )
    where = "" if out is None else str(Path(out).absolute())
    task = Task("", model, corpus, chosen, "", where, parts, cores())
    done: list[Path] = []
    failures = run_cells([task], executor, progress or Silent(), lambda _task, _summary, run: done.append(run.path))
    if task.name in failures:
        raise error_of(failures[task.name])
    return open_run(out if out is not None else done[0])


def error_of(failure: Failure) -> FreerunError:
    """What the audit itself would have raised."""
    if failure.state != "refused":
        return BackendError(failure.why)
    kind = next((e for e in _ERRORS if e.exit_code == failure.exit_code), DataError)
    return kind(failure.why)
