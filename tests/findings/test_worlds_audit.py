"""The whole audit on an exact world: a perfect predictor must show nothing, a planted sampler must be caught."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.jobs.audit.audit import audit, report
from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.records.store import RunFolder, load_records
from freerun.stats.intervals import clopper_pearson
from freerun.worlds.markov import random_chain

OPTIONS = {"documents": 64, "tokens": 64, "prefix": 8}


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return audit("world/markov", "world/markov", out=tmp_path_factory.mktemp("runs") / "perfect", **OPTIONS)


def estimates(run: freerun.Run, finding: str) -> dict[str, dict]:
    return {e["name"]: e for e in run.findings[finding]["estimates"]}


def test_loss_of_a_perfect_predictor_is_near_the_entropy_rate(perfect: freerun.Run) -> None:
    found = estimates(perfect, "loss")["loss_nats_per_token"]
    # 64 × 64 tokens: the 95% interval misses once in twenty seeds; this seed was fixed before looking at a second one
    assert found["low"] - 0.05 < random_chain(8).entropy_rate() < found["high"] + 0.05


def test_a_perfect_predictor_shows_no_gap(perfect: freerun.Run) -> None:
    assert perfect.result["verdict"]["status"] == "neutral"
    assert "finds no difference" in perfect.verdict
    h75 = estimates(perfect, "detectability")["h75"]
    assert h75["value"] is None
    assert h75["text"] == "later than 64"


def test_the_audit_rejects_a_perfect_predictor_no_more_often_than_it_says(tmp_path: Path) -> None:
    """Size of `detected` (p < 0.01 at the last length) and of the sampler's audit (p < 0.001): 24 runs.

    Under their nominal sizes more than 3 and more than 1 rejections have probability below 1e-4 and 3e-4.
    """
    detected = failed = 0
    for seed in range(24):
        run = audit(
            "world/markov", "world/markov", out=tmp_path / str(seed), documents=32, tokens=16, prefix=4, seed=seed
        )
        detected += run.findings["detectability"]["status"] == "bad"
        failed += run.findings["self_recognition"]["status"] == "bad"
    assert detected <= 3
    assert failed <= 1


@pytest.mark.parametrize("rule", ["t=0.7", "top_k=3"])
def test_a_planted_sampler_is_caught(tmp_path: Path, rule: str) -> None:
    run = audit("world/markov", "world/markov", out=tmp_path / "run", sample_with=rule, **OPTIONS)
    assert run.result["verdict"]["status"] == "bad"
    assert "not the model's own law" in run.verdict
    assert estimates(run, "self_recognition")["sampler_audit_p"]["value"] < 1e-6


def test_a_bad_model_is_told_apart(tmp_path: Path) -> None:
    corpus = random_chain(8, seed=0).corpus(64, 73, seed=3)
    run = audit(random_chain(8, seed=1), corpus, out=tmp_path / "run", **OPTIONS)
    assert run.result["verdict"]["status"] == "bad"
    assert (
        estimates(run, "detectability")["h75"]["value"] is not None
        or estimates(run, "detectability")["h75"]["text"] == "first token"
    )
    assert estimates(run, "loss")["excess_at_least_nats_per_token"]["low"] > 0


def test_findings_come_from_the_records_alone(perfect: freerun.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("freerun.jobs.audit.preparing.load_predictor", refuse)
    before = json.loads((perfect.path / "result.json").read_text())
    again = report(perfect.path)
    assert json.loads(json.dumps(again.result)) == before


def test_records_keep_what_the_sampler_knew(perfect: freerun.Run) -> None:
    records = load_records(RunFolder(perfect.path))
    tokens = records.tokens
    drawn = ~np.isnan(tokens["uniform"])
    below, p = tokens["cdf_below"][drawn], np.exp(tokens["log_prob_nats"][drawn])
    # the uniform that drew a token of the model's own law lies in its interval of the CDF; the control's need not
    free = (records.sequences["arm"] == "free")[records.token_sequence_index()][drawn]
    u = tokens["uniform"][drawn]
    assert ((u >= below - 1e-12) & (u < below + p + 1e-12))[free].all()
    assert not ((u >= below - 1e-12) & (u < below + p + 1e-12))[~free].all()


def test_reference_weights_are_fitted_on_the_training_half_only(perfect: freerun.Run) -> None:
    records = load_records(RunFolder(perfect.path))
    weights = Evidence(records).reference_weights
    changed = load_records(RunFolder(perfect.path))
    test = (changed.sequences["split"] == "test")[changed.token_sequence_index()]
    changed.tokens["log_prob_nats"][test] -= 3.0
    assert np.array_equal(weights, Evidence(changed).reference_weights)
    assert weights.sum() == pytest.approx(1)


def test_result_is_json_without_nan_and_validates(perfect: freerun.Run) -> None:
    import jsonschema

    text = (perfect.path / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in result.json"))
    schema = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads(text), schema)


def test_share_of_documents_on_both_sides(perfect: freerun.Run) -> None:
    records = load_records(RunFolder(perfect.path))
    train = set(records.sequences["unit"][records.sequences["split"] == "train"])
    test = set(records.sequences["unit"][records.sequences["split"] == "test"])
    assert not train & test
    assert clopper_pearson(len(train), len(train | test)).value == pytest.approx(0.5)


def test_lengths_are_powers_of_two_and_the_end() -> None:
    assert lengths_up_to(1).tolist() == [1]
    assert lengths_up_to(100).tolist() == [1, 2, 4, 8, 16, 32, 64, 100]


def test_world_corpus_has_room_for_the_window() -> None:
    corpus = read_any_corpus("world/markov", AuditOptions(documents=20, prefix=8, tokens=16))
    assert all(len(d.ids or ()) == 25 for d in corpus.documents)
