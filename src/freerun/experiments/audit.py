"""The main job: from a model and a corpus to records, findings and a report."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from freerun.errors import DataError, UsageError
from freerun.experiments.asking import ask, asking_key
from freerun.experiments.loaders import load_named_encoder
from freerun.experiments.provenance import cores, provenance
from freerun.experiments.spec import LoadOptions, load_predictor, loader_of
from freerun.findings.finding import to_json
from freerun.findings.summary import derive
from freerun.organisms.dressing import measured_view
from freerun.organisms.memorised import without_calibration
from freerun.organisms.wrapper import from_nothing
from freerun.predictors.base import Predictor, SamplingRule
from freerun.predictors.law import BIN_WIDTH_NATS, N_BINS, POWERS
from freerun.predictors.reference import Beside, Reference, check_shares_tokens, default_reference
from freerun.records.answers import asked, read_answers, write_answers
from freerun.records.measure import MeasurePlan, measure, units_of
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import RunFolder, load_records, write_atomically
from freerun.report.page import render_page
from freerun.text.documents import Corpus
from freerun.text.pairs import PairSet, cut_pairs

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_CORPUS = "builtin/python-docs"
REFERENCE_ORDER = 3
REFERENCE_TOKENS = 1_000_000
"""Most tokens of training text that the default reference counts."""


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


@dataclass(frozen=True)
class AuditOptions:
    """Everything that a user can set; None means the default that the help states."""

    documents: int = 128
    prefix: int = 32
    tokens: int | None = None
    batch: int = 64
    dtype: str = "fp32"
    device: str = "auto"
    reference: tuple[str, ...] = ()
    seed: int = 0
    sample_with: str | None = None
    ask: int = 0
    embed_with: str | None = None
    text_field: str = "text"
    split_on: str | None = None
    chunk: int | None = None
    trust_remote_code: bool = False


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
    if isinstance(options.get("reference"), str):
        options["reference"] = (options["reference"],)
    chosen = AuditOptions(**options)
    _check(chosen)
    sampling = SamplingRule.parse(chosen.sample_with) if chosen.sample_with else SamplingRule()
    tell = progress or Silent()
    for spec in (model, *chosen.reference):
        if isinstance(spec, str):
            loader_of(spec)  # a name that does not exist is said before anything is read
    text = read_any_corpus(corpus, chosen) if isinstance(corpus, str) else corpus
    load = LoadOptions(chosen.dtype, chosen.device, chosen.trust_remote_code)
    predictor = load_predictor(model, load, tell=tell.say) if isinstance(model, str) else model
    if chosen.prefix == 0:
        predictor = from_nothing(predictor)
    predictor = measured_view(predictor, prefix_tokens=chosen.prefix, seed=chosen.seed)
    text = without_calibration(text, predictor)
    pairs = cut_pairs(
        text,
        predictor.encode,
        n_documents=chosen.documents,
        prefix_tokens=chosen.prefix,
        continuation_tokens=chosen.tokens,
        seed=chosen.seed,
    )
    _check_ids(text, predictor, pairs)
    others = tuple(load_predictor(spec, load, tell=tell.say) for spec in chosen.reference)
    for other in others:
        check_shares_tokens(predictor, other)
    encoder = load_named_encoder(chosen.embed_with, load, tell.say) if chosen.embed_with else None
    plan = MeasurePlan(pairs.continuation_tokens, chosen.batch, chosen.seed, sampling=sampling)
    manifest = _manifest(predictor, text, pairs, plan, chosen, others, encoder.fingerprint if encoder else None)
    folder = RunFolder(Path(out) if out is not None else default_folder(manifest))
    folder.open(manifest)
    plan_hash = manifest["plan_hash"]
    units = units_of(len(pairs.pairs), plan)
    if not all(folder.done(u.name, u.key(plan_hash)) for u in units):
        tell.say(f"{len(pairs.pairs)} documents, {chosen.prefix} + {pairs.continuation_tokens} tokens -> {folder.path}")
        reference = _default_reference(predictor, text, pairs, tell)
        if others:
            reference = Beside(reference, others)
        tell.begin(sum(u.n_tokens for u in units))
        try:
            measure(
                predictor,
                pairs.pairs,
                plan=plan,
                plan_hash=plan_hash,
                folder=folder,
                reference=reference,
                encoder=encoder,
                on_tokens=tell.advance,
                on_phase=tell.phase,
            )
        finally:
            tell.end()
    if chosen.ask:
        _ask(predictor, folder, plan_hash, chosen, tell)
    return report(folder.path, progress=tell)


def _ask(predictor: Predictor[Any], folder: RunFolder, plan_hash: str, chosen: AuditOptions, tell: Progress) -> None:
    """Ask which of two texts is its own, once; a model that cannot be asked is said, and the run goes on."""
    key = asking_key(plan_hash, chosen.ask, seed=chosen.seed)
    if asked(folder, key):
        return
    tell.say(f"asking which of two texts is its own: {chosen.ask} pairs")
    try:
        answers = ask(predictor, load_records(folder), chosen.ask, seed=chosen.seed)
    except DataError as error:
        tell.say(str(error))
    else:
        write_answers(folder, answers, unit_key=key, plan_hash=plan_hash)


def report(path: str | Path, *, transfer: str | Path | None = None, progress: Progress | None = None) -> Run:
    """Derive findings and page again from a run's records, without a model; `transfer`: a run whose detector is tried here.

    Raises:
        DataError: no run there, another schema version, or damaged or missing records.
    """
    tell = progress or Silent()
    folder = finished(path)
    other = None if transfer is None else load_records(finished(transfer))
    tell.say("deriving findings")
    result = to_json(derive(load_records(folder), transfer_from=other, answers=read_answers(folder)))
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
    plan = MeasurePlan(manifest["plan"]["tokens"], manifest["plan"]["batch"], manifest["plan"]["seed"])
    missing = [u.name for u in units_of(n_pairs, plan) if not folder.done(u.name, u.key(manifest["plan_hash"]))]
    if missing:
        raise DataError(
            f"{folder.path} is not finished ({len(missing)} parts missing, {missing[0]} first); go on with: {manifest['command']}"
        )
    return folder


def open_run(path: str | Path) -> Run:
    """A finished run, read from its folder.

    Raises:
        DataError: no result there.
    """
    where = Path(path) / "result.json"
    try:
        return Run(Path(path), json.loads(where.read_text()))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{where} cannot be read; `freerun report {path}` makes it from the records") from error


def read_any_corpus(spec: str, options: AuditOptions) -> Corpus:
    """A corpus from files, what ships with Python, or samples of a world."""
    if spec.startswith("world/"):
        from freerun.worlds.catalogue import load_world

        world = load_world(spec.removeprefix("world/"))
        return world.corpus(options.documents, options.prefix + (options.tokens or 128) + 1, seed=options.seed)
    from freerun.text.corpora import read_corpus

    return read_corpus(spec, text_field=options.text_field, split_on=options.split_on, chunk_chars=options.chunk)


def default_folder(manifest: Mapping[str, Any]) -> Path:
    """`runs/<model>-<corpus>-<plan hash>`."""
    names = [re.sub(r"[^A-Za-z0-9.]+", "-", str(manifest["plan"][k])).strip("-.")[:48] for k in ("model", "corpus")]
    return Path("runs") / f"{names[0]}-{names[1]}-{manifest['plan_hash'][:8]}"


def _check(options: AuditOptions) -> None:
    limits = (("documents", 1), ("prefix", 0), ("batch", 1), ("tokens", 1), ("chunk", 1), ("ask", 0))
    for name, least in limits:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    if options.dtype not in ("fp32", "bf16"):
        raise UsageError(f"--dtype must be fp32 or bf16, not {options.dtype!r}")


def _check_ids(corpus: Corpus, predictor: Predictor[Any], pairs: PairSet) -> None:
    largest = max(int(max(p.prefix.max(initial=0), p.continuation.max(initial=0))) for p in pairs.pairs)
    if largest >= predictor.n_tokens:
        raise UsageError(
            f"{corpus.spec} holds token {largest}, {predictor.identity.name} knows only {predictor.n_tokens} ids"
        )


def _manifest(
    predictor: Predictor[Any],
    corpus: Corpus,
    pairs: PairSet,
    plan: MeasurePlan,
    options: AuditOptions,
    others: tuple[Predictor[Any], ...],
    encoder_fingerprint: str | None,
) -> dict[str, Any]:
    settings = {
        "model": predictor.identity.name,
        "model_fingerprint": predictor.identity.fingerprint,
        "context_rule": predictor.context.describe(),
        "end_ids": list(predictor.end_ids),
        "corpus": corpus.spec,
        "corpus_fingerprint": corpus.fingerprint,
        "documents": len(pairs.pairs),
        "prefix": options.prefix,
        "tokens": pairs.continuation_tokens,
        "batch": plan.batch,
        "dtype": options.dtype,
        "device": options.device,
        "threads": cores(),
        "seed": plan.seed,
        "continuations": plan.continuations,
        "sampling": plan.sampling.describe(),
        "control_temperature": plan.control_temperature,
        "loop_rule": asdict(plan.loop_rule),
        "reference": ", ".join([f"{REFERENCE_ORDER}-gram, cache and own law, interpolated", *options.reference]),
        "reference_fingerprint": [p.identity.fingerprint for p in others],
        "reference_tokens": REFERENCE_TOKENS,
        "embed_with": options.embed_with,
        "encoder_fingerprint": encoder_fingerprint,
        "schema_version": SCHEMA_VERSION,
    }
    plan_hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "audit",
        "plan": settings,
        "plan_hash": plan_hash,
        "command": _command(predictor, corpus, pairs, options),
        "model": {
            "nature": predictor.identity.nature,
            "licence": predictor.identity.licence,
            "vocabulary": predictor.n_tokens,
            "full_law": predictor.capabilities.full_law,
            "facts": dict(predictor.identity.facts),
        },
        "corpus": {
            "name": corpus.name,
            "independent": corpus.independent,
            "notes": list(corpus.notes),
            "shipped": corpus.spec.startswith("builtin/"),
        },
        "counts": {
            "documents_read": len(corpus.documents),
            "exact_duplicates_dropped": corpus.n_duplicates,
            "too_short": pairs.n_too_short,
            "pairs": len(pairs.pairs),
            "independent_units": pairs.n_units,
            "document_tokens_median": pairs.document_tokens_median,
            "document_tokens_max": pairs.document_tokens_max,
            "documents_at_risk_of_ending": pairs.n_at_risk,
            "documents_ended_in_window": pairs.n_ended_in_window,
        },
        "reference": {
            "interpolated": True,
            "components": ["ngram", "cache", *(p.identity.name for p in others)],
        },
        "powers": list(POWERS),
        "bin_width_nats": BIN_WIDTH_NATS,
        "n_bins": N_BINS,
        "provenance": provenance(),
    }


def _command(predictor: Predictor[Any], corpus: Corpus, pairs: PairSet, options: AuditOptions) -> str:
    words = ["freerun", "audit", predictor.identity.name, corpus.spec]
    words += ["--documents", str(options.documents), "--prefix", str(options.prefix)]
    words += ["--tokens", str(pairs.continuation_tokens), "--batch", str(options.batch), "--seed", str(options.seed)]
    defaults = AuditOptions()
    for spec in options.reference:
        words += ["--reference", spec]
    for name in ("dtype", "device", "sample_with", "ask", "embed_with", "text_field", "split_on", "chunk"):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.trust_remote_code:
        words.append("--trust-remote-code")
    return shlex.join(words)


def _default_reference(predictor: Predictor[Any], corpus: Corpus, pairs: PairSet, tell: Progress) -> Reference:
    tell.say("counting the training documents for the reference")
    wanted = set(pairs.train_documents)
    documents = [d for d in corpus.documents if d.id in wanted]
    share = max(256, REFERENCE_TOKENS // max(1, len(documents)))
    by_unit: dict[str, list[np.ndarray]] = {}
    for d in documents:
        ids = list(d.ids) if d.ids is not None else list(predictor.encode(d.text[: 8 * share]))
        whole = (
            d.ids is None and len(d.text) <= 8 * share and len(ids) <= share
        )  # a world's document is cut, it does not end
        ends = list(predictor.end_ids[:1]) if whole else []
        by_unit.setdefault(d.unit, []).append(np.array(ids[:share] + ends, np.int64))
    return default_reference(predictor, by_unit, order=REFERENCE_ORDER)
