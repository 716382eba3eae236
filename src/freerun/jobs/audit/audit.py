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
from freerun.jobs.audit.options import AuditKeywords, AuditOptions, chosen_from
from freerun.jobs.audit.preparing import Prepared, prepare
from freerun.jobs.audit.prompting import known_ids_of
from freerun.jobs.audit.quick import check_quick
from freerun.jobs.audit.so_far import WhatIsKnown
from freerun.jobs.served.requests import Log
from freerun.jobs.served.same_law import SameLaw
from freerun.jobs.served.sampler import verify_own_text
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
from freerun.records.measure import Unit, measure
from freerun.records.plan import read_plan
from freerun.records.redact import RedactedFolder
from freerun.records.requests import read_law_served, read_requests
from freerun.records.source_likelihoods import read_sources_of
from freerun.records.store import Records, RunFolder, load_records
from freerun.records.tables import Finished
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
    check_first_look_and_sources(ready, tell.say)
    folder.open(ready.manifest)
    log = Log(folder.path, (ready.predictor, *ready.others))
    try:
        _measure(ready, log, tell)
        ask_the_rest(ready, tell)
    finally:
        log.write()
    return report(folder.path, progress=tell)


def check_first_look_and_sources(ready: Prepared, say: Callable[[str], None]) -> None:
    """What can be said against an audit when its folder is known.

    Raises:
        UsageError: a first look where the whole audit was begun. DataError: sources are to be scored, and the text that they need
            was left out of the records.
    """
    if ready.options.quick:
        check_quick(ready, say)
    sources = plan_sources(ready)
    if sources is not None and ready.options.redact_text:
        check_hidden(sources, ready.folder)


def _measure(ready: Prepared, log: Log, tell: Progress) -> None:
    """Record the units that are asked for now and are not recorded yet."""
    folder, units = ready.folder, ready.wanted
    same = SameLaw(folder.path, (ready.predictor, *ready.others))
    same.check_unchanged()
    done = [u.name for u in units if folder.done(u.name, u.key(ready.plan_hash))]
    if len(done) == len(units):
        if same.is_open:  # it was interrupted after the last part
            same.end()
        return
    tell.say(f"{ready.describe()} -> {folder.path}")
    if ready.first and not ready.options.quick:
        tell.say(f"going on from the first look at {len(ready.first)} of them")
    tell.say("counting the training documents for the reference")
    reference = ready.reference()
    tell.begin(sum(u.n_tokens for u in units))
    so_far = WhatIsKnown(ready, tell.known)
    try:
        same.begin()
        so_far.take_over(done)
        measure_units(ready, reference, folder, units, tell, log=log, on_text=so_far.hear)
        same.end()
    finally:
        tell.end()


def measure_units(
    ready: Prepared,
    reference: Reference,
    folder: RunFolder,
    units: Sequence[Unit],
    tell: Progress,
    *,
    log: Log,
    on_text: Callable[[Finished], None] = lambda _: None,
) -> None:
    """Record the units that the folder does not hold yet; `on_text` hears of every text as soon as it is whole.

    Raises:
        FreerunError: see `measure`.
    """
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
        beside=_beside(ready, plan_sources(ready), log, tell),
        units=units,
        on_text=on_text,
    )


def asks_the_rest(options: AuditOptions) -> bool:
    """Whether an audit asks anything of the model when its units are recorded."""
    return bool(options.ask or options.sources or options.own_text_from)


def ask_the_rest(ready: Prepared, tell: Progress) -> None:
    """What an audit asks of the model when its units are recorded, as far as it was not asked before."""
    sources = plan_sources(ready)
    if ready.options.ask:
        _ask(ready, tell)
    if sources is not None:
        _sources(ready, sources, tell)
    verify_own_text(ready.predictor, ready.pairs.pairs, read_plan(ready.manifest["plan"]), ready.folder, tell)


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


def _beside(ready: Prepared, sources: SourcePlan | None, log: Log, tell: Progress) -> Callable[[Unit, Any], None]:
    """Count requests, and score free text after headers before it is recorded: where records hold no ids, nobody can later."""
    redacted = ready.options.redact_text

    def score(unit: Unit, tokens: Any) -> None:
        log.write()
        if unit.arm == "free" and sources is not None and redacted:
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
    answers, sources = (None, ()) if folder.first_look else (read_answers(folder), read_sources_of(folder))
    evidence = Evidence(load_records(folder), answers, sources, read_law_served(folder), read_requests(folder))
    result = derive_from(evidence, transfer_from=transfer_from)
    plain = to_json(result)
    write_atomically(folder.path / "result.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_page(plain, folder=str(folder.path)))
    return evidence, result
