"""The main job: from a model and a corpus to records, findings and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from freerun.counted import counted
from freerun.errors import DataError
from freerun.experiments.asking import ask, asking_key
from freerun.experiments.options import AuditOptions, read_any_corpus
from freerun.experiments.preparing import Prepared, prepare
from freerun.experiments.source_audit import (
    SourcePlan,
    check_hidden,
    ids_in,
    measure_sources,
    plan_sources,
    recorded_ids,
    sources_left,
)
from freerun.findings.finding import to_json
from freerun.findings.summary import derive
from freerun.predictors.base import Predictor
from freerun.records.answers import asked, read_answers, write_answers
from freerun.records.measure import Unit, measure, plan_of, units_of
from freerun.records.redact import RedactedFolder
from freerun.records.source_likelihoods import read_sources_of
from freerun.records.store import RunFolder, load_records, write_atomically
from freerun.report.page import render_page
from freerun.report.summary_card import summary_card
from freerun.text.documents import Corpus

__all__ = ["AuditOptions", "Progress", "Run", "Silent", "audit", "finished", "open_run", "read_any_corpus", "report"]

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_CORPUS = "builtin/python-docs"


class Progress(Protocol):
    """Who is told how a long job goes on."""

    def say(self, message: str) -> None: ...
    def begin(self, total_tokens: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def advance(self, n_tokens: int) -> None: ...
    def end(self) -> None: ...


class Silent:
    """Nobody."""

    def say(self, message: str) -> None: ...
    def begin(self, total_tokens: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def advance(self, n_tokens: int) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its result, as `result.json` holds it."""

    path: Path
    result: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """One sentence."""
        return str(self.result["verdict"]["sentence"])

    @property
    def findings(self) -> dict[str, Mapping[str, Any]]:
        """The findings by name."""
        return {f["name"]: f for f in self.result["findings"]}

    @property
    def report(self) -> Path:
        """The page: one file."""
        return self.path / "report.html"

    def to_pandas(self) -> Any:
        """Every estimate as a row of a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        from freerun.experiments.exports.tables import frame

        return frame(self.result)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the headline numbers."""
        return summary_card(self.result)


def audit(
    model: str | Predictor[Any] = DEFAULT_MODEL,
    corpus: str | Corpus = DEFAULT_CORPUS,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Audit a model on a corpus, or go on with an audit that was interrupted.

    `model` and `corpus` are specs or built objects; `options` are the fields of `AuditOptions`; `out` is the run's folder.

    Raises:
        FreerunError: see `freerun.errors`; nothing half-written stays behind.
    """
    tell = progress or Silent()
    ready = prepare(model, corpus, chosen_from(options), out=out, say=tell.say)
    folder, plan_hash = ready.folder, ready.manifest["plan_hash"]
    sources = plan_sources(ready)
    if sources is not None and ready.options.redact_text:
        check_hidden(sources, folder)
    folder.open(ready.manifest)
    units = units_of(len(ready.pairs.pairs), ready.plan)
    if not all(folder.done(u.name, u.key(plan_hash)) for u in units):
        lengths = f"{ready.options.prefix} + {ready.pairs.continuation_tokens} tokens"
        tell.say(f"{len(ready.pairs.pairs)} documents, {lengths} -> {folder.path}")
        tell.say("counting the training documents for the reference")
        reference = ready.reference()
        tell.begin(sum(u.n_tokens for u in units))
        try:
            measure(
                ready.predictor,
                ready.pairs.pairs,
                plan=ready.plan,
                plan_hash=plan_hash,
                folder=RedactedFolder(folder.path) if ready.options.redact_text else folder,
                reference=reference,
                encoder=ready.encoder,
                on_tokens=tell.advance,
                on_phase=tell.phase,
                on_note=tell.say,
                beside=_beside(ready, sources, tell) if sources and ready.options.redact_text else None,
            )
        finally:
            tell.end()
    if ready.options.ask:
        _ask(ready, tell)
    if sources is not None:
        _sources(ready, sources, tell)
    return report(folder.path, progress=tell)


def chosen_from(options: Mapping[str, Any]) -> AuditOptions:
    """The options as a value; one reference may be given as a word, and ends as any sequence of ids."""
    if isinstance(options.get("reference"), str):
        options = {**options, "reference": (options["reference"],)}
    if options.get("end_ids") is not None:
        options = {**options, "end_ids": tuple(options["end_ids"])}
    return AuditOptions(**options)


def _ask(ready: Prepared, tell: Progress) -> None:
    """Ask which of two texts is its own, once; a model that cannot be asked is said, and the run goes on."""
    folder, plan_hash, chosen = ready.folder, ready.manifest["plan_hash"], ready.options
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
    answers, sources = read_answers(folder), read_sources_of(folder)
    result = to_json(derive(load_records(folder), transfer_from=other, answers=answers, sources=sources))
    write_atomically(folder.path / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_page(result))
    return Run(folder.path, result)


def finished(path: str | Path) -> RunFolder:
    """The folder of a run whose parts are all there.

    Raises:
        DataError: no run there, another schema version, or missing records.
    """
    folder = RunFolder(Path(path))
    manifest = folder.manifest()
    n_pairs = int(manifest["counts"]["pairs"])
    units = [(u.name, u.key(manifest["plan_hash"])) for u in units_of(n_pairs, plan_of(manifest["plan"]))]
    broken = [damage for name, key in units if (damage := folder.damage(name, key))]
    if broken:
        raise DataError(f"{folder.path}: damaged: {broken[0]}; the same audit makes it again: {manifest['command']}")
    missing = [name for name, key in units if not folder.done(name, key)]
    if missing:
        raise DataError(
            f"{folder.path} is not finished ({counted(len(missing), 'part')} missing, {missing[0]} first); "
            f"go on with: {manifest['command']}"
        )
    return folder


def open_run(path: str | Path) -> Run:
    """A finished run, read from its folder.

    Raises:
        DataError: no result there.
    """
    where = Path(path) / "result.json"
    try:
        result = json.loads(where.read_text())
        if not isinstance(result, dict):
            raise ValueError("no object")
        return Run(Path(path), result)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} cannot be read; `freerun report {path}` makes it from the records") from error
