"""Disagreement between models that are there already: nothing is trained, and no loss is matched."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

import freerun
from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.files import write_atomically
from freerun.jobs.lab.disagreement.answer import null_finding, parting_texts
from freerun.jobs.lab.disagreement.disagreement import Disagreement
from freerun.jobs.lab.disagreement.ladders import Rung, text_rungs
from freerun.jobs.lab.disagreement.plan import check_least
from freerun.jobs.lab.disagreement.points import outcome_sentence, ready_points
from freerun.jobs.lab.disagreement.rise import rise_finding, rung_results, scores_finding
from freerun.jobs.lab.disagreement.scored import score_kept
from freerun.jobs.lab.disagreement.scoring import Family, RungScores, score_rung
from freerun.predictors.base import Predictor
from freerun.predictors.observation import host
from freerun.records.schema import SCHEMA_VERSION as RECORD_VERSION
from freerun.records.store import RunFolder
from freerun.report.pages.disagreement import render_disagreement
from freerun.results.disagreement import DISAGREEMENT_VERSION, DisagreementResult
from freerun.results.finding import to_json
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.stats.disagreement.spread import leave_one_out, spread_of_scores
from freerun.text.corpora import read_corpus
from freerun.text.documents import Document
from freerun.worlds.catalogue import load_world

Ids = Int[np.ndarray, "texts tokens"]
_TRIED = 8
_ROWS = 64
DEFAULT_CORPUS = "builtin/python-docs"


@dataclass(frozen=True)
class ReadyPlan:
    """Which models are compared, and on what. Its hash names the run."""

    models: tuple[str, ...]
    corpus: str
    texts: int
    tokens: int
    seed: int
    version: int = 1

    @property
    def hash(self) -> str:
        return _hash(to_json(self))

    def command(self, out: Path) -> str:
        """The command line that does the same."""
        numbers = ["--texts", str(self.texts), "--tokens", str(self.tokens), "--seed", str(self.seed)]
        words = ["freerun", "lab", "disagreement", self.corpus, "--models", *self.models, *numbers, "-o", str(out)]
        return shlex.join(words)


def _hash(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def ready_disagreement(
    specs: Sequence[str],
    *,
    corpus: str = DEFAULT_CORPUS,
    n_texts: int = 16,
    n_tokens: int = 64,
    seed: int = 0,
    level: float = 0.95,
    out: str | Path | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Disagreement:
    """Compare models with one tokenizer on ladders of texts from a corpus, or go on with a run that was interrupted.

    Where one gives no whole laws, only the spread of scores is known.

    Raises:
        UsageError: fewer than two models, tokenizers that differ, or a number out of range. DataError: too few texts, or a
            folder that holds something else or cannot be written to.
    """
    progress = progress or Silent()
    if len(specs) < 2:
        raise UsageError("--models needs at least two models to compare")
    for name, number in (("texts_per_rung", n_texts), ("tokens", n_tokens), ("seed", seed)):
        check_least(name, number)
    models = [load_predictor(spec, tell=progress.say) for spec in specs]
    documents = _documents(corpus, n_texts, n_tokens, seed)
    check_one_tokenizer(models, [d.text for d in documents[:_TRIED]])
    ids, units = _cut(models[0], documents, n_texts, n_tokens)
    rungs = [replace(r, start=max(1, r.start)) for r in text_rungs(ids, units, n_texts, models[0].n_tokens, seed=seed)]
    names = tuple(specs)
    whole = all(m.capabilities.full_law for m in models)
    family = Family(names, tuple(partial(laws_of, m) for m in models), models[0].n_tokens)
    asked = ReadyPlan(names, corpus, n_texts, n_tokens, seed)
    run = RunFolder(Path(out) if out is not None else Path("runs") / f"disagreement-{asked.hash[:8]}")
    plan_hash = _open(run, asked, models, command)
    progress.begin(sum(r.ids.size for r in rungs) * len(models))
    progress.phase("comparing")
    try:
        score = partial(score_rung, family) if whole else partial(_by_scores, models)
        scored = score_kept(run.path, plan_hash, rungs, score, lambda n: progress.advance(n * len(models)))
    finally:
        progress.end()
    results = rung_results(scored, level)
    finding = rise_finding(scored, results, level) if whole else scores_finding(results, names)
    result = DisagreementResult(
        schema_version=DISAGREEMENT_VERSION,
        kind="disagreement",
        freerun_version=freerun.__version__,
        title=f"{counted(len(models), 'model')} on {corpus}",
        command=str(run.manifest()["command"]),
        plan_hash=plan_hash,
        plan=None,
        sentence=outcome_sentence(finding, results, "these models") if whole else finding.sentence,
        status="neutral",
        predictions=(),
        members=(),
        models=names,
        left_out=(),
        target_nats=None,
        rungs=results,
        factors=(),
        findings=(finding, null_finding(family, scored, None)) if whole else (finding,),
        parting=parting_texts(scored, names, partial(_spelled, models[0])) if whole else (),
        provenance=provenance(),
        points=ready_points(corpus, names, finding),
    )
    write_atomically(run.path / "result.json", json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")
    write_atomically(run.path / "report.html", render_disagreement(to_json(result)))
    return Disagreement(run.path, result)


def _open(run: RunFolder, asked: ReadyPlan, models: Sequence[Predictor], command: str) -> str:
    """Begin or continue a run; returns the hash of what was asked of these very weights."""
    plan = {**to_json(asked), "fingerprints": [m.identity.fingerprint for m in models]}
    plan_hash = _hash(plan)
    run.open(
        {
            "schema_version": RECORD_VERSION,
            "kind": "disagreement",
            "plan": plan,
            "plan_hash": plan_hash,
            "command": command or asked.command(run.path),
            "provenance": provenance(),
        }
    )
    return plan_hash


def check_one_tokenizer(models: Sequence[Predictor], texts: Sequence[str]) -> None:
    """Refuse models that do not take texts apart alike.

    Raises:
        UsageError: they do not.
    """
    first = models[0]
    for other in models[1:]:
        if other.n_tokens != first.n_tokens or any(list(first.encode(t)) != list(other.encode(t)) for t in texts):
            raise UsageError(
                f"{first.identity.name} and {other.identity.name} do not share a tokenizer: their laws of one text cannot be "
                "compared"
            )


def _documents(corpus: str, n_texts: int, n_tokens: int, seed: int) -> Sequence[Document]:
    if corpus.startswith("world/"):
        return load_world(corpus.removeprefix("world/")).corpus(n_texts, n_tokens, seed=seed).documents
    return read_corpus(corpus).documents


def _cut(model: Predictor, documents: Sequence[Document], n_texts: int, n_tokens: int) -> tuple[Ids, np.ndarray]:
    """The first tokens of documents that are long enough, one text a document."""
    cut: list[Sequence[int]] = []
    for document in documents:
        ids = list(document.ids) if document.ids is not None else list(model.encode(document.text))
        if len(ids) >= n_tokens:
            cut.append(ids[:n_tokens])
        if len(cut) == n_texts:
            break
    if len(cut) < 8:
        raise DataError(
            f"only {counted(len(cut), 'document has', 'documents have')} {n_tokens} tokens; 8 are needed: take fewer --tokens"
        )
    return np.array(cut, np.int64), np.arange(len(cut))


def laws_of(model: Predictor, ids: Ids) -> Float[np.ndarray, "texts tokens vocabulary"]:
    """Log-probabilities before every token but the first of a text, of which no law may be known: there all are 0."""
    out = np.zeros((*ids.shape, model.n_tokens))
    for part in model.laws(list(ids), first=1):
        for start in range(0, len(part), _ROWS):
            stop = min(start + _ROWS, len(part))
            out[part.row[start:stop], part.position[start:stop]] = host(part.law.block(start, stop).log_probs)
    return out


def _by_scores(models: Sequence[Predictor], rung: Rung) -> RungScores:
    """What can be said of a rung from the log-probabilities of its tokens alone."""
    drawn = []
    for model in models:
        rows = model.log_probs(list(rung.ids), first=1)
        drawn.append(np.array(rows)[:, rung.start - 1 : rung.stop - 1])
    scores = np.array(drawn)
    m, n = scores.shape[:2]
    none, each = np.full(n, np.nan), np.full((m, n), np.nan)
    return RungScores(
        rung,
        js=none,
        sd=spread_of_scores(scores.mean(-1)),
        top=none,
        loo=leave_one_out(scores).mean(-1),
        scores=scores.mean(-1),
        departures=each,
        truth=each,
        outsider=none,
        distances=np.full((m, m), np.nan),
    )


def _spelled(model: Predictor, ids: Int[np.ndarray, " tokens"]) -> str:
    return b"".join(model.token_bytes(int(i)) or b"" for i in ids).decode("utf-8", "replace")
