"""How far two models are apart: from two models and a corpus to records, findings and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Unpack

from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.files import write_atomically
from freerun.findings.two_laws.summary import derive
from freerun.jobs.distance.measuring import measure, remove_spool, units_left, units_of
from freerun.jobs.distance.options import DistanceKeywords, chosen_from
from freerun.jobs.distance.preparing import Model, Prepared, prepare
from freerun.jobs.served.distance import measure_served
from freerun.jobs.served.two_models import is_served, prepare_two
from freerun.records.distance import KIND, TWO_LAWS, DistancePlan, read_distance
from freerun.records.requests import read_requests
from freerun.records.store import RunFolder
from freerun.report.pages.distance import render_distance
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.runs.progress import Progress, Silent
from freerun.runs.run import Run
from freerun.text.documents import Corpus

DEFAULT_CORPUS = "builtin/python-docs"


def distance(
    a: Model,
    b: Model,
    corpus: str | Corpus = DEFAULT_CORPUS,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[DistanceKeywords],
) -> Run:
    """Hold two models side by side on a corpus and on their own texts, or go on with a run that was interrupted.

    `a`, `b` and `corpus` are specs or built objects; `options` are those of the command line, with the defaults and units of
    `DistanceOptions`; `out` is the run's folder.

    Raises:
        FreerunError: see `freerun.errors`; nothing half-written stays behind.
    """
    tell = progress or Silent()
    if is_served(a) or is_served(b):
        if not isinstance(corpus, str):
            raise UsageError("a distance with a served model takes a corpus by its name")
        served = prepare_two(a, b, corpus, chosen_from(options), out=out, say=tell.say)
        served.folder.open(served.manifest)
        measure_served(served, tell)
        return report_distance(served.folder.path, progress=tell)
    ready = prepare(a, b, corpus, chosen_from(options), out=out, say=tell.say)
    ready.folder.open(ready.manifest)
    if units_left(ready.plan, ready.folder):
        _measure(ready, tell)
    return report_distance(ready.folder.path, progress=tell)


def _measure(ready: Prepared, tell: Progress) -> None:
    plan = ready.plan
    tell.say(f"{counted(len(ready.pairs), 'text')}, {plan.prefix} + {plan.tokens} tokens -> {ready.folder.path}")
    remove_spool(ready)
    tell.begin(sum(u.n_tokens for u in units_of(plan)))
    try:
        measure(ready, on_tokens=tell.advance, on_phase=tell.phase)
    finally:
        tell.end()


def report_distance(path: str | Path, *, progress: Progress | None = None) -> Run:
    """Derive findings and page again from a run's records, without a model.

    Raises:
        DataError: no run there, or damaged or missing records.
    """
    tell = progress or Silent()
    folder = _finished(path)
    tell.say("deriving findings")
    result = to_json(derive(read_distance(folder), read_requests(folder)))
    write_atomically(folder.path / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_distance(result))
    return Run(folder.path, result)


def _finished(path: str | Path) -> RunFolder:
    folder = RunFolder(Path(path))
    manifest = folder.manifest()
    if manifest["kind"] != KIND:
        raise DataError(f"{path} is a run of {manifest['kind']!r}, not of two models")
    plan = from_json(DistancePlan, manifest["plan"])
    missing = [u.name for u in units_of(plan) if not TWO_LAWS.holds(folder, u.name, u.key(manifest["plan_hash"]))]
    if missing:
        raise DataError(
            f"{folder.path} is not finished ({missing[0]} is missing or damaged); go on with: {manifest['command']}"
        )
    return folder
