"""The main job: from a model and a corpus to records, findings and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.findings.evidence import Evidence
from freerun.findings.summary import derive_from
from freerun.jobs.audit.asking import ask, asking_key
from freerun.jobs.audit.options import AuditKeywords, chosen_from
from freerun.jobs.audit.preparing import Prepared, prepare
from freerun.jobs.audit.prompting import known_ids_of
from freerun.jobs.source.in_audit import (
    SourcePlan,
    check_hidden,
    ids_in,
    measure_sources,
    plan_sources,
    recorded_ids,
    sources_left,
)
from freerun.predictors.base import Predictor
from freerun.predictors.reference import Reference
from freerun.records.answers import asked, read_answers, write_answers
from freerun.records.measure import Unit, measure, units_of
from freerun.records.redact import RedactedFolder
from freerun.records.source_likelihoods import read_sources_of
from freerun.records.store import Records, RunFolder, load_records
from freerun.report.pages.audit import render_page
from freerun.results.audit import AuditResult
from freerun.results.finding import to_json
from freerun.runs.progress import Progress, Silent
from freerun.runs.run import Run, finished
from freerun.text.documents import Corpus

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_CORPUS = "builtin/python-docs"


def audit(
    model: str | Predictor = DEFAULT_MODEL,
    corpus: str | Corpus = DEFAULT_CORPUS,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[AuditKeywords],
) -> Run:
    """Audit a model on a corpus, or go on with an audit that was interrupted.

    `model` and `corpus` are specs or built objects; `options` are those of the command line, with the defaults and units of
    `AuditOptions`; `out` is the run's folder.

    Raises:
        FreerunError: see `freerun.errors`; nothing half-written stays behind.
    """
    tell = progress or Silent()
    ready = prepare(model, corpus, chosen_from(options), out=out, say=tell.say)
    folder = ready.folder
    check_hidden_sources(ready)
    folder.open(ready.manifest)
    units = units_of(len(ready.pairs.pairs), ready.plan)
    if not all(folder.done(u.name, u.key(ready.plan_hash)) for u in units):
        before = "prompt" if ready.pairs.free_length else ready.options.prefix
        lengths = f"{before} + {ready.pairs.continuation_tokens} tokens"
        tell.say(f"{len(ready.pairs.pairs)} documents, {lengths} -> {folder.path}")
        tell.say("counting the training documents for the reference")
        reference = ready.reference()
        tell.begin(sum(u.n_tokens for u in units))
        try:
            measure_units(ready, reference, folder, units, tell)
        finally:
            tell.end()
    ask_and_score_sources(ready, tell)
    return report(folder.path, progress=tell)


def check_hidden_sources(ready: Prepared) -> None:
    """Raises DataError where sources were to be scored and the text that they need was left out of the records."""
    sources = plan_sources(ready)
    if sources is not None and ready.options.redact_text:
        check_hidden(sources, ready.folder)


def measure_units(
    ready: Prepared, reference: Reference, folder: RunFolder, units: Sequence[Unit], tell: Progress
) -> None:
    """Record the units that the folder does not hold yet.

    Raises:
        FreerunError: see `measure`.
    """
    sources = plan_sources(ready)
    hidden = ready.options.redact_text
    measure(
        ready.predictor,
        ready.pairs.pairs,
        plan=ready.plan,
        plan_hash=ready.plan_hash,
        folder=RedactedFolder(folder.path, known_ids_of(ready.feeding)) if hidden else folder,
        reference=reference,
        encoder=ready.encoder,
        on_tokens=tell.advance,
        on_phase=tell.phase,
        on_note=tell.say,
        beside=_beside(ready, sources, tell) if sources and hidden else None,
        units=units,
    )


def ask_and_score_sources(ready: Prepared, tell: Progress) -> None:
    """What an audit asks of the model when its units are recorded, as far as it was not asked before."""
    sources = plan_sources(ready)
    if ready.options.ask:
        _ask(ready, tell)
    if sources is not None:
        _sources(ready, sources, tell)


def _ask(ready: Prepared, tell: Progress) -> None:
    """Ask which of two texts is its own, once; a model that cannot be asked is said, and the run goes on."""
    folder, plan_hash, chosen = ready.folder, ready.plan_hash, ready.options
    key = asking_key(plan_hash, chosen.ask, seed=chosen.seed)
    if asked(folder, key):
        return
    tell.say(f"asking which of two texts is its own: {chosen.ask} pairs")
    try:
        answers = ask(ready.predictor, load_records(folder), chosen.ask, seed=chosen.seed)
    except DataError as error:
        tell.say(str(error))
    else:
        write_answers(folder, answers, unit_key=key, plan_hash=plan_hash)


def _sources(ready: Prepared, sources: SourcePlan, tell: Progress) -> None:
    """Score every source's headers above the texts of the plan, once."""
    if not sources_left(sources, ready.folder):
        return
    tell.say(sources.describe())
    tell.begin(sources.n_tokens)
    try:
        ids = recorded_ids(ready.folder)
        measure_sources(sources, ready.folder, ids, on_tokens=tell.advance, on_phase=tell.phase)
    finally:
        tell.end()


def _beside(ready: Prepared, sources: SourcePlan, tell: Progress) -> Callable[[Unit, Any], None]:
    """Score free text after headers before it is recorded: where the records hold no ids, nobody can do so later."""

    def score(unit: Unit, tokens: Any) -> None:
        if unit.arm == "free":
            measure_sources(
                sources, ready.folder, lambda numbers: ids_in([tokens], numbers), of_unit=unit.name, on_phase=tell.phase
            )

    return score


def report(path: str | Path, *, transfer: str | Path | None = None, progress: Progress | None = None) -> Run:
    """Derive findings and page again from a run's records, without a model; `transfer`: a run whose detector is tried here.

    Raises:
        DataError: no run there, another schema version, or damaged or missing records.
    """
    tell = progress or Silent()
    folder = finished(path)
    other = None if transfer is None else load_records(finished(transfer))
    tell.say("deriving findings")
    _, result = conclude(folder, transfer_from=other)
    return Run(folder.path, to_json(result))


def conclude(folder: RunFolder, *, transfer_from: Records | None = None) -> tuple[Evidence, AuditResult]:
    """Write the result and the page of a run whose parts are all there; returns what they were derived from, too."""
    evidence = Evidence(load_records(folder), read_answers(folder), read_sources_of(folder))
    result = derive_from(evidence, transfer_from=transfer_from)
    plain = to_json(result)
    write_atomically(folder.path / "result.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_page(plain))
    return evidence, result
