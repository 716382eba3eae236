"""Are these samples, which somebody else drew, draws from this model's law? From a file and a model to a result and a page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

import freerun
from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.files import write_atomically
from freerun.findings.verification.evidence import Floor, OtherModel, VerifyEvidence, other_model
from freerun.findings.verification.summary import derive_verification
from freerun.jobs.verify.asked import sampling_asked
from freerun.jobs.verify.causes import ModelPasses, Search, find_cause
from freerun.jobs.verify.drawn_again import OWN_TEXTS
from freerun.jobs.verify.job import Job, numbered, texts_in_order
from freerun.jobs.verify.options import VerifyKeywords, VerifyOptions
from freerun.jobs.verify.reading import Reading, reading_of
from freerun.jobs.verify.recorded import read_recorded, read_texts
from freerun.jobs.verify.repetition import PassingTexts
from freerun.jobs.verify.scoring import floor_texts, read_alone, rows_of, score_file, score_unit, spread
from freerun.jobs.verify.text_samples import MIXED_IN as MIXED_IN_TEXT
from freerun.jobs.verify.text_samples import OwnText, comparison_of, find_text_cause, held_against_own
from freerun.jobs.verify.texts import Survey, survey
from freerun.jobs.verify.variants import variants_of
from freerun.predictors.base import Predictor
from freerun.predictors.token_laws import Declared
from freerun.records.sample_scores import ScoreFolder
from freerun.report.pages.verify import render_verify
from freerun.results.finding import Finding, to_json
from freerun.results.json import from_json
from freerun.results.stated_rule import StatedRule
from freerun.results.verify import Cause, PromptCount, SampleFacts, TextComparison, VerifyResult, WeightVersion
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import device_of, provenance
from freerun.samples.completion import Part
from freerun.samples.reading import FieldNames, SampleFile, open_samples
from freerun.specs.spec import LoadOptions, load_predictor
from freerun.stats.verification.exchange import Exchange
from freerun.stats.verification.likelihood import mixed_in_at
from freerun.stats.verification.tokens import TokenLaws

PLAN_VERSION = 3
MOST_VERSIONS = 8
"""So many versions of the weights are named in a result."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Samples that were read by the model: all that a result is made from."""

    job: Job
    evidence: VerifyEvidence
    loops: Finding

    def result(self, *, command: str = "", stated: StatedRule | None = None) -> VerifyResult:
        """What is said of it. `stated`: the rule that a server says it draws by, where it was held against these draws."""
        job, name = self.job, self.job.predictor.identity.name
        return derive_verification(
            self.evidence,
            loops=self.loops,
            stated=stated,
            model_name=name,
            plan={**job.plan, "folder": str(job.folder.path)},
            model=_model(job.predictor),
            provenance=provenance(),
            version=freerun.__version__,
            command=command or f"freerun verify {job.samples.path} --model {name} --declared {job.options.declared}",
        )


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
        FreerunError: as `measure` does.
    """
    measured = measure(samples, model, out=out, load=load, progress=progress, command=command, **options)
    result = measured.result(command=command)
    write_result(result, measured.job.folder.path)
    return result


def measure(
    samples: str | Path,
    model: str | Predictor,
    *,
    out: str | Path | None = None,
    load: LoadOptions | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Unpack[VerifyKeywords],
) -> Measured:
    """Read the samples, test them, and look for a cause where they differ; what is recorded already is not read again.

    Raises:
        UsageError: no such model or format, or a setting out of range.
        DataError: a file that cannot be read, or that holds nothing to score. TooFewDocuments: no drawn token.
        BackendError: the model does not work.
    """
    tell = progress or Silent()
    chosen, loading = VerifyOptions(**options), load or LoadOptions()
    names = FieldNames(chosen.prompt_field, chosen.text_field)
    opened = open_samples(
        samples, format=chosen.format, requests=chosen.requests, names=None if names == FieldNames() else names
    )
    predictor = load_predictor(model, loading, tell=tell.say) if isinstance(model, str) else model
    job = _prepared(opened, predictor, chosen, loading, out, tell)
    if job.second is not None:
        job.tell.say(f"the second model is {job.second.identity.name}")
    job.folder.open({"kind": "verify", "plan": job.plan, "plan_hash": job.plan_hash, "command": command})
    passing = _score(job)
    evidence = _evidence(job)
    if job.second is not None and not evidence.is_text:
        evidence = replace(evidence, other=_other_model(job, job.second, evidence))
    if evidence.match == "differs":
        evidence = replace(evidence, cause=_cause(job, evidence))
    return Measured(job, evidence, passing.loops(name=str(opened.path), format=opened.format))


def write_result(result: VerifyResult, folder: Path) -> None:
    """`result.json` and `report.html`."""
    held = to_json(result)
    write_atomically(folder / "result.json", json.dumps(held, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_verify(held))


def _prepared(
    opened: SampleFile,
    predictor: Predictor,
    chosen: VerifyOptions,
    load: LoadOptions,
    out: str | Path | None,
    tell: Progress,
) -> Job:
    tell.say(f"reading {opened.path} ({opened.format}{', recognised' if opened.recognised else ''})")
    reading = reading_of(opened, predictor, chosen)
    found = survey(opened, reading)
    if not found.n_texts:
        why = "; ".join(f"{counted(e.n, 'row')}: {e.reason} ({e.example})" for e in found.excluded_rows)
        raise DataError(f"{opened.path}: no completion can be scored ({why}){_way_out(opened, found)}")
    if not found.n_drawn:
        raise TooFewDocuments(f"{opened.path}: the mask leaves no token that was drawn")
    if reading.source == "text":
        tell.say("no ids in the file: the text is tokenised again, and held against texts that the model draws itself")
    missing = _ends_missing(reading, found, chosen)
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
    if reading.source != "file":
        plan["tokens"] = reading.source
    if chosen.chat:
        plan["template"] = to_json(reading.template_facts)
    hashed = {k: v for k, v in plan.items() if k not in ("samples", "declared_words", "seed", "documents")}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]
    stem = opened.path.name.split(".")[0] or "samples"
    folder = ScoreFolder(Path(out) if out is not None else Path("runs") / f"verify-{stem}-{digest[:8]}")
    return Job(opened, reading, predictor.with_lead(()), chosen, found, declared, folder, plan, digest, load, tell)


def _ends_missing(reading: Reading, found: Survey, chosen: VerifyOptions) -> bool:
    """Raises UsageError where ends are said to be there, and no end can be."""
    if reading.source == "text":
        if chosen.ends == "present":
            raise UsageError("--ends present: text without ids shows no end tokens; leave it out")
        return True
    return found.ends_missing if chosen.ends == "auto" else chosen.ends == "missing"


def _way_out(opened: SampleFile, found: Survey) -> str:
    """What to do where a whole file lacks its prompts."""
    if "no prompt" not in found.excluded:
        return ""
    if opened.format == "batch":
        return "; the prompts of a batch stand in the file that it was sent as: --requests FILE"
    return "; give rows with prompt_ids, prompt or messages, too (docs/samples.md). `freerun loops` needs no prompts"


def _score(job: Job) -> PassingTexts:
    """Every completion that is not scored yet; all pass by and are looked at for loops."""
    found, tell = job.found, job.tell
    passing = PassingTexts(job.predictor, found.lengths)
    texts = passing.watch(texts_in_order(job))
    tell.say(f"{found.n_texts:,} completions, {found.n_read:,} tokens to read -> {job.folder.path}")
    tell.begin(found.n_tokens)
    tell.phase("scoring")
    try:
        score_file(job.predictor, texts, found, job.declared, job.folder, job.plan_hash, on_tokens=tell.advance)
    finally:
        tell.end()
    return passing


# ---- evidence --------------------------------------------------------------------------------------------------------


def _evidence(job: Job) -> VerifyEvidence:
    floor, chosen = _floor(job), job.options.floor_nats
    held = read_recorded(job.folder, job.found.lengths, floor.root_mean_square if chosen is None else chosen)
    tokens = held.tokens
    if not tokens.n_tokens:
        raise TooFewDocuments(f"{job.samples.path}: no drawn token is left to test")
    again, comparison = (None, None) if job.reading.source != "text" else _against_own(job, tokens, floor)
    return VerifyEvidence(
        tokens=tokens,
        bets=held.bets,
        reported=held.reported,
        trainer=held.trainer,
        n_tokens=held.n_tokens,
        facts=_facts(job, held.n_copies, comparison),
        floor=floor,
        declared_words=job.options.rule.describe(),
        is_model_law=job.options.rule.is_model_law,
        seed=job.options.seed,
        chosen_floor_nats=chosen,
        elsewhere=held.elsewhere,
        again=again,
    )


def _against_own(job: Job, tokens: TokenLaws, floor: Floor) -> tuple[Exchange | None, TextComparison]:
    """Text without ids against texts that the declared law writes after the same prompts."""
    scored = np.unique(tokens.sequence)  # copies are left out
    lengths = [job.found.lengths[int(i)] for i in scored]
    texts = numbered(job, [int(scored[i]) for i in spread(lengths, job.options.text_tokens)])
    job.tell.say(
        f"drawing {OWN_TEXTS} texts of the model's own after each of {counted(len(texts), 'prompt')}, to hold these against"
    )
    job.tell.begin((2 * OWN_TEXTS + 1) * sum(len(t.completion) for t in texts))
    job.tell.phase("drawing and scoring own texts")
    try:
        groups = _own_text(job, job.tell.advance).groups("own", job.predictor, job.options.rule, texts)
    finally:
        job.tell.end()
    chosen = job.options.floor_nats
    nats = floor.root_mean_square if chosen is None else chosen
    return held_against_own(groups, seed=job.options.seed, floor_nats=nats), comparison_of(groups, job.reading)


def _own_text(job: Job, on_tokens: Callable[[int], None] = lambda _: None) -> OwnText:
    return OwnText(job.folder, job.plan_hash, job.reading, job.options.seed, job.tell.say, on_tokens)


def _floor(job: Job) -> Floor:
    """Completions read alone, against what they were given in the batch; recorded once."""
    chosen = floor_texts(job.found.lengths)
    alone = job.folder.stage("floor", job.plan_hash)
    if alone is None:
        job.tell.say("reading some completions alone, for the noise floor")
        alone = [values.tolist() for values in read_alone(job.predictor, numbered(job, chosen))]
        job.folder.write_stage("floor", job.plan_hash, alone)
    picked = read_texts(job.folder, chosen)
    of = {number: np.asarray(values) for number, values in zip(chosen, alone, strict=True)}
    read = np.array([of[int(s)][p] for s, p in zip(picked.sequence, picked.position, strict=True)])
    return Floor(read, picked.model_log_prob_nats, picked.sequence)


def _facts(job: Job, n_copies: int, comparison: TextComparison | None) -> SampleFacts:
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
        lacks=tuple(f"No {m.part}. {m.cost}" for m in samples.missing if _is_lacking(m.part, job.reading)),
        tokens=job.reading.source,
        prompts=tuple(PromptCount(kind, n) for kind, n in sorted(found.prompts.items())),
        template=job.reading.template_facts,
        comparison=comparison,
        asked=sampling_asked(found.asked, job.options),
        weight_versions=tuple(WeightVersion(name, n) for name, n in found.weight_versions.most_common(MOST_VERSIONS)),
        n_weight_versions=len(found.weight_versions),
    )


def _is_lacking(part: Part, reading: Reading) -> bool:
    """Ids that are known from the spelling of each token are not lacking."""
    return reading.source != "pieces" or part not in (Part.COMPLETION_IDS, Part.SPECIAL_TOKENS)


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


def _cause(job: Job, evidence: VerifyEvidence) -> Cause:
    """Searched once and recorded."""
    key = f"{job.plan_hash}-{json.dumps([job.options.other, job.options.cause_tokens, job.options.seed, evidence.floor_nats])}"
    held = job.folder.stage("cause", key)
    if held is None:
        job.tell.say("the declared law does not fit: looking for one that does")
        cause = _search(job, evidence)
        job.folder.write_stage("cause", key, to_json(cause))
        return cause
    return from_json(Cause, held)


def _chosen(job: Job, tokens: TokenLaws) -> list[int]:
    """Numbers of the texts that other laws are tried on."""
    scored = np.unique(tokens.sequence)  # copies are left out
    lengths = [job.found.lengths[int(i)] for i in scored]
    return [int(scored[i]) for i in spread(lengths, job.options.cause_tokens)]


def _other_model(job: Job, second: Predictor, evidence: VerifyEvidence) -> OtherModel:
    """The likelihood ratio of the second model; recorded once."""
    key = f"{job.plan_hash}-{json.dumps([job.options.other, job.options.cause_tokens, evidence.floor_nats])}"
    held = job.folder.stage("other", key)
    if held is None:
        job.tell.say(f"reading the samples with {job.options.other}")
        chosen = _chosen(job, evidence.tokens)
        own = evidence.tokens.log_prob_nats[rows_of(evidence.tokens, chosen)]
        scores = score_unit(second, numbered(job, chosen), job.declared)
        found = other_model(scores.tokens.log_prob_nats, own, evidence.floor_nats)
        held = to_json(found)
        job.folder.write_stage("other", key, held)
    return from_json(OtherModel, held)


def _search(job: Job, evidence: VerifyEvidence) -> Cause:
    tokens = evidence.tokens
    chosen = _chosen(job, tokens)
    texts = numbered(job, chosen)
    search = Search(
        declared=job.declared,
        variants=tuple(variants_of(job, texts)),
        passes=ModelPasses(job.declared),
        recorded_nats=tokens.log_prob_nats[rows_of(tokens, chosen)],
        seed=job.options.seed,
        floor_nats=evidence.floor_nats,
        say=job.tell.say,
        n_elsewhere=evidence.elsewhere.n_tokens,
        mixed_in=max(MIXED_IN_TEXT if evidence.is_text else 0.0, mixed_in_at(evidence.floor_nats)),
    )
    if evidence.is_text:
        return find_text_cause(job.found, search, _own_text(job))
    return find_cause(tokens, evidence.bets, job.found, search)
