"""A distance with a server on one side: numbers against the exact ones of the fake server's table, and what is absent by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from freerun.comparisons.distance_gates import judge_distance
from freerun.comparisons.gates import parse_gate
from freerun.errors import BackendError, UsageError
from freerun.findings.two_laws.quantities import GATES
from freerun.jobs.distance.distance import distance
from freerun.records.distance import read_distance
from freerun.records.store import RunFolder
from freerun.results.distance import DistanceResult
from freerun.results.json import from_json
from tests.predictors.servers.checkpoint import Checkpoint, noisy
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import END, TABLE, Fake
from tests.predictors.servers.test_audit import SECRET, corpus
from tests.predictors.servers.test_own_text import no_key_in

__all__ = ["corpus"]  # a fixture
SIZE: dict[str, Any] = {"documents": 48, "prefix": 8, "tokens": 16}
OTHER = noisy(0.4)


def exact_k(p: np.ndarray, q: np.ndarray, last: list[int], tokens: int) -> float:
    """Σ over positions of the mean KL of p's law against q's along p's own text, ends absorbing, averaged over beginnings."""
    with np.errstate(invalid="ignore"):
        kl = np.where(p > -np.inf, np.exp(p) * (p - q), 0.0).sum(1)
    step = np.exp(p)
    state = np.bincount(last, minlength=len(p)) / len(last)
    total = 0.0
    for _ in range(tokens):
        total += float(state @ kl)
        state = state @ step
        state[END] = 0.0
    return total


def test_k_holds_the_exact_value_and_nothing_else_is_made_up(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREERUN_SERVER_KEY", SECRET)
    fake = Fake()
    server = served("vllm", fake)
    fake.faults = lambda path, body, attempt: "forbidden" if len(fake.seen) > 40 else None
    with pytest.raises(BackendError, match="HTTP 401"):
        distance(server, Checkpoint(OTHER), corpus, out=tmp_path / "run", **SIZE)
    fake.faults = lambda path, body, attempt: None
    done = distance(server, Checkpoint(OTHER), corpus, out=tmp_path / "run", **SIZE)
    result = from_json(DistanceResult, json.loads((tmp_path / "run" / "result.json").read_text()))
    estimates = {e.name: e for f in result.findings for e in f.estimates}
    prefixes = read_distance(RunFolder(tmp_path / "run")).texts["a"].prefix_ids
    assert prefixes is not None
    last = [int(ids[-1]) for ids in prefixes]
    for name, (p, q) in {"k_nats": (TABLE, OTHER), "k_reverse_nats": (OTHER, TABLE)}.items():
        k = estimates[name]
        assert k.low <= exact_k(p, q, last, 16) <= k.high  # type: ignore[operator]
    tv, auc = estimates["tv"], estimates["best_auc"]
    assert 0 < tv.low < tv.value < tv.high < 1  # type: ignore[operator]
    assert auc.low <= 1 - 0.5 * (1 - tv.high) ** 2  # type: ignore[operator]
    assert auc.high >= 0.5 * (1 + tv.low)  # type: ignore[operator]
    assert result.certificate is not None
    assert result.certificate.sides_agree
    assert "loss_difference_nats" in estimates
    assert not {"kl_nats", "kl_reverse_nats", "same_top", "token_tv"} & set(estimates)
    assert "need whole laws of both" in done.findings["tokens"]["sentence"]
    (gate,) = judge_distance(done.result, [parse_gate("kl_nats>0.01", relative=False, known=GATES)])
    assert gate.decision == "undecided"
    assert gate.needed == "load the weights of both models"
    assert done.result["requests"]["failed"] >= 1
    assert done.result["command"].startswith("freerun distance vllm/m@")
    schema = json.loads((Path(__file__).parents[3] / "docs" / "distance.schema.json").read_text())
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(done.result)) == []
    n = len(fake.seen)
    assert distance(server, Checkpoint(OTHER), corpus, out=tmp_path / "run", **SIZE).findings == done.findings
    assert len(fake.seen) == n
    no_key_in(tmp_path, at_least=10)


def test_the_same_law_is_near_0_and_the_sides_change_places(served: Served, corpus: str, tmp_path: Path) -> None:
    done = distance(Checkpoint(), served("sglang", Fake()), corpus, out=tmp_path / "run", **SIZE)
    estimates = {e["name"]: e for f in done.findings.values() for e in f["estimates"]}
    assert estimates["k_nats"]["value"] == pytest.approx(0, abs=1e-9)
    auc = estimates["best_auc"]  # of sums that differ by rounding alone
    assert auc["low"] <= 0.5 <= auc["high"]
    assert done.result["certificate"]["tv"] < 0.25


def test_what_needs_whole_laws_is_refused_by_name(served: Served, corpus: str, tmp_path: Path) -> None:
    server = served("vllm", Fake())
    for more, flag in (
        ({"protocol": "llama.cpp"}, "--protocol llama.cpp"),
        ({"redact_text": True, "prefix": 16}, "--redact-text"),
    ):
        with pytest.raises(UsageError, match=f"{flag} needs whole laws"):
            distance(server, Checkpoint(), corpus, out=tmp_path / "run", **{**SIZE, **more})
    assert not (tmp_path / "run").exists()
