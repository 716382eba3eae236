"""Are these samples, which somebody else drew, draws from this model's law? From a file and a model to a result and a page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

import freerun
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.files import write_atomically
from freerun.findings.verification.evidence import Floor, OtherModel, VerifyEvidence, other_model
from freerun.findings.verification.summary import derive_verification
from freerun.jobs.verify.causes import ModelPasses, Search, Variant, find_cause
from freerun.jobs.verify.options import VerifyKeywords, VerifyOptions
from freerun.jobs.verify.scoring import floor_texts, read_alone, read_scores, rows_of, score_file, score_unit, spread
from freerun.jobs.verify.texts import Survey, Text, survey, texts_of
from freerun.predictors.base import Predictor
from freerun.predictors.token_laws import Declared
from freerun.records.sample_scores import ScoreFolder
from freerun.report.pages.verify import render_verify
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.verify import Cause, SampleFacts, VerifyResult
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import device_of, provenance
from freerun.samples.reading import SampleFile, open_samples
from freerun.specs.spec import LoadOptions, load_predictor
from freerun.stats.verification.tokens import TokenLaws

PLAN_VERSION = 1


@dataclass(frozen=True, eq=False)
class _Job:
    """What a verification works with."""

    samples: SampleFile
    encoder: Predictor
    """The model as it is: of a prompt that is text it puts its lead first."""
    predictor: Predictor
    """The model with nothing put first: ids hold all that stood before."""
    options: VerifyOptions
    found: Survey
    declared: Declared
    folder: ScoreFolder
    plan: dict[str, Any]
    plan_hash: str
    load: LoadOptions
    tell: Progress


def verify(
    samples: str | Path,
    model: str | Predictor,
    *,
    out: str | Path | None = None,
    load: LoadOptions | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Unpack[VerifyKeywords],
) -> VerifyResult:
    """Hold samples against a model's law, or go on with a verification that was interrupted.

    `samples` is a file or folder in any format of `freerun.samples`; `model` a spec or a predictor; `options` are those of
    `VerifyOptions`; `out` is the folder of records, result and page.

    Raises:
        UsageError: no such model or format, a setting out of range, or samples without ids.
        DataError: a file that cannot be read, or that holds nothing to score. TooFewDocuments: no drawn token.
        BackendError: the model does not work.
    """
    tell = progress or Silent()
    chosen, loading = VerifyOptions(**options), load or LoadOptions()
    opened = open_samples(samples, format=chosen.format, requests=chosen.requests)
    predictor = load_predictor(model, loading, tell=tell.say) if isinstance(model, str) else model
    job = _prepared(opened, predictor, chosen, loading, out, tell)
    job.folder.open({"kind": "verify", "plan": job.plan, "plan_hash": job.plan_hash, "command": command})
    _score(job)
    evidence = _evidence(job)
    if chosen.other is not None:
        evidence = replace(evidence, other=_other_model(job, evidence))
    if evidence.match == "differs":
        evidence = replace(evidence, cause=_cause(job, evidence))
    result = derive_verification(
        evidence,
        model_name=predictor.identity.name,
        plan={**job.plan, "folder": str(job.folder.path)},
        model=_model(predictor),
        provenance=provenance(),
        version=freerun.__version__,
        command=command or f"freerun verify {samples} --model {predictor.identity.name} --declared {chosen.declared}",
    )
    held = to_json(result)
    write_atomically(job.folder.path / "result.json", json.dumps(held, indent=1, allow_nan=False) + "\n")
    write_atomically(job.folder.path / "report.html", render_verify(held))
    return result


def _prepared(
    opened: SampleFile,
    predictor: Predictor,
    chosen: VerifyOptions,
    load: LoadOptions,
    out: str | Path | None,
    tell: Progress,
) -> _Job:
    tell.say(f"reading {opened.path} ({opened.format}{', recognised' if opened.recognised else ''})")
    found = survey(opened, predictor)
    if not found.n_texts:
        why = "; ".join(f"{e.n:,} rows: {e.reason} ({e.example})" for e in found.excluded_rows)
        raise DataError(f"{opened.path}: no completion can be scored ({why})")
    if not found.n_drawn:
        raise TooFewDocuments(f"{opened.path}: the mask leaves no token that was drawn")
    missing = found.ends_missing if chosen.ends == "auto" else chosen.ends == "missing"
    declared = Declared(chosen.rule, tuple(predictor.end_ids), missing)
    plan: dict[str, Any] = {
        "version": PLAN_VERSION,
        "samples": str(opened.path),
        "digest": found.digest,
        "format": opened.format,
        "model": predictor.identity.name,
        "fingerprint": predictor.identity.fingerprint,
        "declared": [{"name": k, "value": v} for step in chosen.rule.steps for k, v in vars(step).items()],
        "declared_words": chosen.rule.describe(),
        "ends": "missing" if missing else "present",
        "end_ids": list(predictor.end_ids),
        "seed": chosen.seed,
        "documents": found.n_texts,
    }
    hashed = {k: v for k, v in plan.items() if k not in ("samples", "declared_words", "seed", "documents")}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]
    stem = opened.path.name.split(".")[0] or "samples"
    folder = ScoreFolder(Path(out) if out is not None else Path("runs") / f"verify-{stem}-{digest[:8]}")
    return _Job(opened, predictor, predictor.with_lead(()), chosen, found, declared, folder, plan, digest, load, tell)


def _texts(job: _Job) -> Iterator[Text]:
    return (t for t in texts_of(job.samples, job.encoder) if isinstance(t, Text))


def _numbered(job: _Job, wanted: list[int]) -> list[Text]:
    """The texts of these numbers, read again from the file."""
    chosen = set(wanted)
    return [t for number, t in enumerate(_texts(job)) if number in chosen]


def _score(job: _Job) -> None:
    found, tell = job.found, job.tell
    tell.say(f"{found.n_texts:,} completions, {found.n_read:,} tokens to read -> {job.folder.path}")
    tell.begin(found.n_tokens)
    tell.phase("scoring")
    try:
        score_file(job.predictor, _texts(job), found, job.declared, job.folder, job.plan_hash, on_tokens=tell.advance)
    finally:
        tell.end()


# ---- evidence --------------------------------------------------------------------------------------------------------


def _evidence(job: _Job) -> VerifyEvidence:
    tokens, bets, columns, notes = read_scores(job.folder, job.found.n_texts)
    if not tokens.n_tokens:
        raise TooFewDocuments(f"{job.samples.path}: no drawn token is left to test")
    return VerifyEvidence(
        tokens=tokens,
        bets=bets,
        reported=columns["reported_nats"],
        trainer=columns["trainer_nats"],
        n_tokens=np.array(notes["n_tokens"]),
        loop_at=np.array([-1 if at is None else at for at in notes["loop_at"]]),
        facts=_facts(job, len(notes["copies"])),
        floor=_floor(job, tokens),
        declared_words=job.options.rule.describe(),
        is_model_law=job.options.rule.is_model_law,
        seed=job.options.seed,
        chosen_floor_nats=job.options.floor_nats,
    )


def _floor(job: _Job, tokens: TokenLaws) -> Floor:
    """Completions read alone, against what they were given in the batch; recorded once."""
    chosen = floor_texts(job.found.lengths)
    alone = job.folder.stage("floor", job.plan_hash)
    if alone is None:
        job.tell.say("reading some completions alone, for the noise floor")
        alone = [values.tolist() for values in read_alone(job.predictor, _numbered(job, chosen))]
        job.folder.write_stage("floor", job.plan_hash, alone)
    rows = rows_of(tokens, chosen)
    picked = tokens.take(rows)
    of = {number: np.asarray(values) for number, values in zip(chosen, alone, strict=True)}
    read = np.array([of[int(s)][p] for s, p in zip(picked.sequence, picked.position, strict=True)])
    return Floor(read, picked.model_log_prob_nats, picked.sequence)


def _facts(job: _Job, n_copies: int) -> SampleFacts:
    found, samples = job.found, job.samples
    return SampleFacts(
        path=str(samples.path),
        format=samples.format,
        n_rows=found.n_rows,
        n_completions=found.n_texts,
        n_prompts=len(found.groups),
        n_tokens=found.n_tokens,
        n_drawn_tokens=found.n_drawn,
        n_not_drawn_tokens=found.n_tokens - found.n_drawn,
        n_ended=found.n_ended,
        n_copies=n_copies,
        ends="missing" if job.declared.without_ends else "present",
        excluded=found.excluded_rows,
        lacks=tuple(f"No {missing.part}. {missing.cost}" for missing in samples.missing),
    )


def _model(predictor: Predictor) -> dict[str, Any]:
    own = predictor.identity
    return {
        "name": own.name,
        "fingerprint": own.fingerprint,
        "nature": own.nature.describe(),
        "vocabulary": predictor.n_tokens,
        "device": device_of(predictor),
    }


# ---- the cause -------------------------------------------------------------------------------------------------------


def _cause(job: _Job, evidence: VerifyEvidence) -> Cause:
    """Searched once and recorded."""
    key = f"{job.plan_hash}-{json.dumps([job.options.other, job.options.cause_tokens, job.options.seed, evidence.floor_nats])}"
    held = job.folder.stage("cause", key)
    if held is None:
        job.tell.say("the declared law does not fit: looking for one that does")
        cause = _search(job, evidence)
        job.folder.write_stage("cause", key, to_json(cause))
        return cause
    return from_json(Cause, held)


def _chosen(job: _Job, tokens: TokenLaws) -> list[int]:
    """Numbers of the texts that other laws are tried on."""
    scored = np.unique(tokens.sequence)  # copies are left out
    lengths = [job.found.lengths[int(i)] for i in scored]
    return [int(scored[i]) for i in spread(lengths, job.options.cause_tokens)]


def _other_model(job: _Job, evidence: VerifyEvidence) -> OtherModel:
    """The likelihood ratio of the second model; recorded once."""
    key = f"{job.plan_hash}-{json.dumps([job.options.other, job.options.cause_tokens, evidence.floor_nats])}"
    held = job.folder.stage("other", key)
    if held is None:
        job.tell.say(f"reading the samples with {job.options.other}")
        chosen = _chosen(job, evidence.tokens)
        own = evidence.tokens.log_prob_nats[rows_of(evidence.tokens, chosen)]
        scores = score_unit(_second(job), _numbered(job, chosen), job.declared)
        found = other_model(scores.tokens.log_prob_nats, own, evidence.floor_nats)
        held = to_json(found)
        job.folder.write_stage("other", key, held)
    return from_json(OtherModel, held)


def _second(job: _Job) -> Predictor:
    """The second model; its tokens are the first one's."""
    assert job.options.other is not None
    other = load_predictor(job.options.other, job.load, tell=job.tell.say)
    _check_same_tokens(job.predictor, other)
    return other.with_lead(())


def _search(job: _Job, evidence: VerifyEvidence) -> Cause:
    tokens = evidence.tokens
    chosen = _chosen(job, tokens)
    texts = _numbered(job, chosen)
    search = Search(
        declared=job.declared,
        variants=tuple(_variants(job, texts)),
        passes=ModelPasses(job.declared),
        recorded_nats=tokens.log_prob_nats[rows_of(tokens, chosen)],
        seed=job.options.seed,
        floor_nats=evidence.floor_nats,
        say=job.tell.say,
    )
    return find_cause(tokens, evidence.bets, job.found, search)


def _variants(job: _Job, texts: list[Text]) -> Iterator[Variant]:
    """The model, then other contexts, then another model."""
    yield Variant("model", job.predictor, texts)
    for token in _beginnings(job):
        begun = [len(t.prompt) > 1 and int(t.prompt[0]) == token for t in texts]
        first = np.array([token], np.int64)
        yield Variant("bos_added", job.predictor, [replace(t, prompt=np.concatenate([first, t.prompt])) for t in texts])
        if all(begun):
            yield Variant("bos_removed", job.predictor, [replace(t, prompt=t.prompt[1:]) for t in texts])
    if job.options.other is not None:
        yield Variant("other_model", _second(job), texts)


def _beginnings(job: _Job) -> list[int]:
    """Ids that may begin a text: what all prompts begin with, if it is a marker, and what the tokenizer puts first."""
    control = job.predictor.markers.control
    common = [i for i, n in job.found.first_ids.items() if n == job.found.n_texts and i in control]
    return list(dict.fromkeys([*common, *beginning_ids(control)]))[:2]


_SPELLINGS = (
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "[BOS]",
    "<|im_start|>",
)


def beginning_ids(control: Mapping[int, str]) -> list[int]:
    """Control ids that are spelt as beginnings of text."""
    return [i for spelling in _SPELLINGS for i, word in control.items() if word == spelling]


def _check_same_tokens(first: Predictor, second: Predictor) -> None:
    """Raises UsageError where an id stands for other bytes in the second model."""
    n = min(first.n_tokens, second.n_tokens)
    unlike = [i for i in range(n) if first.token_bytes(i) != second.token_bytes(i)]
    if unlike or second.n_tokens < first.n_tokens:
        what = f"id {unlike[0]} stands for other bytes" if unlike else f"it has {second.n_tokens:,} ids only"
        raise UsageError(
            f"--or {second.identity.name} has another tokenizer than {first.identity.name}: {what}; ids mean nothing there"
        )
