"""The audit on the real 135M model, small: its numbers against independent computations, and planted faults against its audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.records.store import Records, RunFolder, load_records

pytestmark = pytest.mark.model

OPTIONS: dict[str, Any] = {"documents": 24, "prefix": 16, "tokens": 32, "batch": 24}


@pytest.fixture(scope="module")
def predictor(smollm: Any) -> Any:
    return smollm


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, predictor: Any) -> freerun.Run:
    return audit(predictor, "builtin/python-docs", out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS)


@pytest.fixture(scope="module")
def records(run: freerun.Run) -> Records:
    return load_records(RunFolder(run.path))


def whole(records: Records, index: int) -> np.ndarray:
    ids = records.tokens["token_id"][records.rows(index)]
    return np.concatenate([np.asarray(records.sequences["prefix_ids"][index]), ids]).astype(np.int64)


def test_loss_is_transformers_own(run: freerun.Run, records: Records, predictor: Any) -> None:
    """transformers' loss on the same tokens, with the prefix masked, computed one document at a time."""
    import torch

    total, n = 0.0, 0
    for index in records.chosen(arm="real"):
        ids = torch.tensor(whole(records, index)[None])
        labels = ids.clone()
        labels[:, : OPTIONS["prefix"]] = -100
        with torch.inference_mode():
            loss = predictor.model(input_ids=ids, labels=labels).loss
        scored = ids.shape[1] - OPTIONS["prefix"]
        total, n = total + float(loss) * scored, n + scored
    found = next(e for e in run.findings["loss"]["estimates"] if e["name"] == "loss_nats_per_token")
    assert found["value"] == pytest.approx(total / n, abs=1e-4)


def test_the_sampler_and_the_scorer_are_one_law(records: Records, predictor: Any) -> None:
    rows = [*records.chosen(arm="free"), *records.chosen(arm="tempered")]
    texts = [whole(records, i) for i in rows]
    scored = predictor.log_probs(texts, first=OPTIONS["prefix"])
    for i, again in zip(rows, scored, strict=True):
        assert np.abs(records.tokens["log_prob_nats"][records.rows(i)] - again).max() < 2e-4


def test_the_samplers_audit_passes_on_its_own_law(run: freerun.Run) -> None:
    assert run.findings["self_recognition"]["status"] == "good"


@pytest.mark.parametrize("rule", ["top_k=50", "t=0.9"])
def test_planted_samplers_are_caught(tmp_path: Path, predictor: Any, rule: str) -> None:
    made = audit(predictor, "builtin/python-docs", out=tmp_path / "run", sample_with=rule, **OPTIONS)
    assert made.findings["self_recognition"]["status"] == "bad"
    assert "not the model's own law" in made.verdict
    held = load_records(RunFolder(made.path))
    free = (held.sequences["arm"] == "free")[held.token_sequence_index()]
    both = held.tokens["sample_log_prob_nats"][free] - held.tokens["log_prob_nats"][free]
    assert np.isfinite(both).all()
    if rule == "top_k=50":  # truncation can only raise the probability of what is left
        assert (both > -1e-9).all()


def test_text_and_ids_agree(records: Records, predictor: Any) -> None:
    for index in range(records.n_sequences):
        ids = records.tokens["token_id"][records.rows(index)]
        raw = b"".join(predictor.token_bytes(int(i)) for i in ids)
        assert raw.decode("utf-8", errors="replace") == records.sequences["text"][index]
        assert len(raw) == records.sequences["n_bytes"][index]


def test_replicates_differ_and_seeds_matter(records: Records, tmp_path: Path, predictor: Any) -> None:
    first, second = (records.chosen(arm="free", replicate=j) for j in (0, 1))
    same = [np.array_equal(whole(records, a), whole(records, b)) for a, b in zip(first, second, strict=True)]
    assert not all(same)
    assert np.mean(same) < 0.2
    mine, other = (
        prepare(predictor, "builtin/python-docs", AuditOptions(**OPTIONS, seed=seed), out=tmp_path) for seed in (0, 1)
    )
    recorded = [records.sequences["document_id"][i] for i in records.chosen(arm="real")]
    assert [p.document_id for p in mine.pairs.pairs] == recorded
    assert other.manifest["plan"]["corpus_fingerprint"] == records.manifest["plan"]["corpus_fingerprint"]
    assert [p.document_id for p in other.pairs.pairs] != recorded


def test_an_audit_that_goes_on_from_a_first_look_has_the_same_records_within_rounding(
    tmp_path: Path, predictor: Any
) -> None:
    """Batches are made of other rows, so log-probs agree to 2e-4 nats, and a draw near an edge may come out otherwise."""
    options: dict[str, Any] = {"documents": 36, "prefix": 8, "tokens": 6, "batch": 36}
    audit(predictor, "builtin/python-docs", out=tmp_path / "looked", quick=True, **options)
    first = load_records(RunFolder(tmp_path / "looked", first_look=True))
    for name in ("looked", "whole"):
        audit(predictor, "builtin/python-docs", out=tmp_path / name, **options)
    looked, in_one_go = (load_records(RunFolder(tmp_path / name)) for name in ("looked", "whole"))
    for column in ("sequence", "document_id", "split", "arm", "replicate", "key"):
        assert (looked.sequences[column] == in_one_go.sequences[column]).all()
    same = [
        i
        for i in range(looked.n_sequences)
        if np.array_equal(*(r.tokens["token_id"][r.rows(i)] for r in (looked, in_one_go)))
    ]
    assert len(same) >= 0.98 * looked.n_sequences
    assert set(looked.chosen(arm="real")) <= set(same)
    for i in same:
        mine, theirs = (r.tokens["log_prob_nats"][r.rows(i)] for r in (looked, in_one_go))
        assert np.abs(mine - theirs).max() < 2e-4
    for at, i in enumerate(np.searchsorted(looked.sequences["sequence"], first.sequences["sequence"]).tolist()):
        for column in ("token_id", "log_prob_nats", "cdf_below", "uniform"):
            mine, theirs = (r.tokens[column][r.rows(n)] for r, n in ((first, at), (looked, i)))
            assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
