"""Exemplars, no prefix, sampling as deployed: options of the audit that change what stands before a text, or what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.errors import TooFewDocuments, UsageError
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.predictors.base import Predictor
from freerun.records.store import Records, RunFolder, load_records
from freerun.text.pairs import cut_pairs
from freerun.worlds.catalogue import load_world

WORDS = [
    "the",
    "marsh",
    "heron",
    "waits",
    "while",
    "copper",
    "lanterns",
    "drift",
    "past",
    "an",
    "old",
    "quarry",
    "gate",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """48 short documents of bytes, which an n-gram model over bytes can read, with an end id of its own."""
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rng = np.random.default_rng(5)
    rows = [{"text": " ".join(rng.choice(WORDS, 40))} for _ in range(48)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


OPTIONS: dict[str, Any] = {"documents": 32, "prefix": 8, "tokens": 24}


def whole_context(records: Records, contexts: dict[str, np.ndarray], i: int) -> tuple[np.ndarray, int]:
    before = contexts[str(records.sequences["document_id"][i])]
    ids = np.concatenate([before, records.sequences["prefix_ids"][i], records.tokens["token_id"][records.rows(i)]])
    return ids.astype(np.int64), len(before) + OPTIONS["prefix"]


def test_laws_are_those_after_the_exemplars(corpus: str, tmp_path: Path) -> None:
    """Each token's log-probability again, by the predictor itself on exemplars + prefix + text; and without the prefix."""
    model = f"ngram/5@{corpus}"
    ready = prepare(model, corpus, AuditOptions(**OPTIONS, exemplars=2))
    contexts = {p.document_id: p.before for p in ready.pairs.pairs}
    run = freerun.audit(model, corpus, out=tmp_path / "run", exemplars=2, **OPTIONS)
    records = load_records(RunFolder(run.path))
    for i in range(records.n_sequences):
        ids, first = whole_context(records, contexts, i)
        found = records.tokens["log_prob_nats"][records.rows(i)]
        assert np.allclose(found, ready.predictor.log_probs([ids], first=first)[0], atol=1e-9)
        assert len(records.sequences["prefix_ids"][i]) == OPTIONS["prefix"]
    real = int(records.chosen(arm="real")[0])
    before = contexts[str(records.sequences["document_id"][real])]
    text = np.concatenate([before, records.tokens["token_id"][records.rows(real)]]).astype(np.int64)
    alone = ready.predictor.log_probs([text], first=len(before))[0]
    assert np.allclose(records.tokens["without_prefix_log_prob_nats"][records.rows(real)], alone, atol=1e-9)


def test_plan_and_page_say_what_stands_before(corpus: str, tmp_path: Path) -> None:
    run = freerun.audit(f"ngram/3@{corpus}", corpus, out=tmp_path / "run", exemplars=1, **OPTIONS)
    plan = run.result["plan"]
    assert (plan["exemplars"], plan["exemplar_tokens"]) == (1, 32)
    note = next(n for n in run.result["corpus_notes"] if "--exemplars" in n)
    assert "1 other document of training units stands before every prefix" in note
    assert "the first 32 tokens of each" in note
    assert "--exemplars 1" in run.result["command"]
    assert "of training units stands before every prefix" in run.report.read_text()


def test_no_exemplars_are_no_option_at_all(corpus: str) -> None:
    """The same plan hash and pairs as without the option, and as from cutting alone."""
    ready = prepare(f"ngram/3@{corpus}", corpus, AuditOptions(**OPTIONS, exemplars=0))
    assert ready.manifest["plan"]["exemplars"] == 0
    assert ready.manifest["plan"]["redacted"] is False
    assert "exemplars" not in ready.manifest["command"]
    cut = cut_pairs(
        ready.corpus, ready.predictor.encode, n_documents=32, prefix_tokens=8, continuation_tokens=24, seed=0
    )
    for mine, other in zip(ready.pairs.pairs, cut.pairs, strict=True):
        assert mine.context is mine.prefix
        assert np.array_equal(mine.prefix, other.prefix)


def test_exemplars_that_do_not_fit_are_refused(corpus: str) -> None:
    with pytest.raises(TooFewDocuments, match="--exemplars 16 needs at least 17 train units, and there are 16"):
        prepare(f"ngram/3@{corpus}", corpus, AuditOptions(**OPTIONS, exemplars=16))
    with pytest.raises(UsageError, match="--exemplars must be at least 0, not -1"):
        prepare(f"ngram/3@{corpus}", corpus, AuditOptions(exemplars=-1))
    with pytest.raises(UsageError, match="begins every document with a header: it takes no --exemplars"):
        prepare("world/markov+hash,n=4,bits=2,loop=2", "world/markov", AuditOptions(prefix=0, exemplars=1))
    with pytest.raises(UsageError, match="knows only the symbols"):
        prepare("world/markov", "world/markov", AuditOptions(prefix=4, tokens=8, documents=32, exemplars=1))


def test_both_log_probs_are_kept(corpus: str, tmp_path: Path) -> None:
    """top_k=3 of a known law: what was drawn has its mass divided by that of the three, the model's own stays."""
    model: Predictor = load_world("markov")
    run = freerun.audit(
        model, "world/markov", out=tmp_path / "run", documents=32, prefix=4, tokens=12, sample_with="top_k=3"
    )
    records = load_records(RunFolder(run.path))
    for i in records.chosen(arm="free"):
        ids = np.concatenate([records.sequences["prefix_ids"][i], records.tokens["token_id"][records.rows(i)]])
        own = records.tokens["log_prob_nats"][records.rows(i)]
        drawn = records.tokens["sample_log_prob_nats"][records.rows(i)]
        for at in range(12):
            law = model.law(model.start([ids[: 4 + at].astype(np.int64)]))
            q = np.exp([float(law.log_prob(np.array([k]))[0]) for k in range(model.n_tokens)])
            assert own[at] == pytest.approx(np.log(q[ids[4 + at]]), abs=1e-9)
            assert drawn[at] == pytest.approx(np.log(q[ids[4 + at]] / np.sort(q)[-3:].sum()), abs=1e-9)
    assert run.findings["self_recognition"]["status"] == "bad"


@pytest.mark.model
def test_unconditional_generation_begins_after_the_end_of_text(tmp_path: Path, smollm: Any) -> None:
    """The 135M model declares nothing to put first: documents begin after its end-of-text id 0, and the report says so."""
    run = freerun.audit(
        smollm, "builtin/python-docs", out=tmp_path / "run", documents=16, prefix=0, tokens=16, batch=16
    )
    records = load_records(RunFolder(run.path))
    assert run.result["plan"]["context_rule"]["lead"] == [0]
    assert any("from the end-of-text id 0 alone" in note for note in run.result["corpus_notes"])
    real = int(records.chosen(arm="real")[0])
    ids = records.tokens["token_id"][records.rows(real)].astype(np.int64)
    by_hand = smollm.log_probs([np.append(0, ids)], first=1)[0]
    assert np.allclose(records.tokens["log_prob_nats"][records.rows(real)], by_hand, atol=2e-4)
    assert run.findings["memory"]["status"] == "unknown"
    assert len(records.sequences["prefix_ids"][real]) == 0
