"""Dose and response: exact excess, the certificate, and the committed result that obeys it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import DataError, UsageError
from freerun.jobs.audit.options import AuditOptions
from freerun.text.documents import Document, assemble
from freerun.worlds.catalogue import load_world
from freerun.worlds.chain import row_entropy
from studies.dose_response.models import Dose, RoundedLaw, build, in_bf16, on_grid, world_doses
from studies.dose_response.others import halves, run_responses
from studies.dose_response.picture import LOOKS, dose_response_svg
from studies.dose_response.responses import certified_nats, exact_excess, respond, tv_needed
from studies.dose_response.words import block, table
from studies.files import read_result

DOCS = Path(__file__).parents[2] / "docs"
STUDY = DOCS.parent / "studies" / "dose_response"


# ---- the certificate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tv", [0.05, 0.2929, 0.6, 0.95])
def test_the_largest_auc_at_a_total_variation(tv: float) -> None:
    """A second way: P uniform, Q with the mass δ moved from a sliver of P's to a place where P has none, and that sliver vanishing,
    has ROC min(1, δ + fpr): its area by numbers, and back."""
    fpr = np.linspace(0, 1, 200_001)
    largest = float(np.trapezoid(np.minimum(1.0, fpr + tv), fpr))
    assert largest == pytest.approx(1 - (1 - tv) ** 2 / 2, abs=1e-6)
    assert tv_needed(largest) == pytest.approx(tv, abs=1e-5)


def test_what_an_auc_of_three_quarters_costs() -> None:
    """By hand: δ = 1 − √½; K_min by brute force over two outcomes. Less than ln 2, which the absorbing model pays."""
    delta = 1 - math.sqrt(0.5)
    p = np.linspace(delta + 1e-9, 1 - 1e-9, 400_001)
    q = p - delta
    brute = float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).min())
    assert certified_nats() == pytest.approx(brute, abs=1e-8)
    assert 0.17 < certified_nats() < math.log(2)
    with pytest.raises(DataError, match=r"between 0\.5 and 1"):
        tv_needed(0.4)


# ---- models and their excess -------------------------------------------------------------------------------------------


def test_every_dose_can_be_built_and_is_a_law() -> None:
    doses = world_doses()
    assert {d.family for d in doses} <= set(LOOKS)
    assert len({d.model for d in doses}) == len(doses)
    for dose in doses:
        if "documents" in dose.spec or dose.family != "n-gram":
            made = build(dose)
            probs = made.law(made.start([np.array([0, 1, 2]), np.array([7])])).probs()
            assert probs.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_rounding() -> None:
    assert on_grid(np.array([[-3.0, -1.4, -0.1]]), 3).tolist() == [[-3.0, -1.0, 0.0]]
    values = np.array([[-1.0 / 3, -2.5, -0.1]])
    assert np.abs(in_bf16(values) / values - 1).max() <= 2.0**-9
    with pytest.raises(UsageError, match="no grid 'int5'"):
        RoundedLaw(load_world("markov"), grid="int5")


@pytest.mark.parametrize("epsilon", [0.01, 0.2])
def test_the_absorbing_excess_is_exact_at_every_token(epsilon: float) -> None:
    truth = load_world("authors")
    documents = [np.array(d.ids) for d in truth.corpus(6, 20, seed=3).documents]
    model = build(Dose("absorbing ε", "", f"world/authors+absorbing,epsilon={epsilon}"))
    found = exact_excess(truth, model, documents, first=4)
    assert found.shape == (6, 16)
    assert found == pytest.approx(-math.log1p(-epsilon), abs=1e-12)


def test_the_excess_of_a_forgetful_model_is_the_rise_of_its_entropy() -> None:
    """An order-2 chain seen through a window of one letter: mean excess a token = H(X₂|X₁) − H(X₃|X₁X₂), exactly from the tables;
    2,000 tokens' worth of documents come within 5 standard errors."""
    truth = load_world("markov,symbols=3,order=2,seed=4")
    model = build(Dose("short window", "", "world/markov,symbols=3,order=2,seed=4+short_window,window=1"))
    documents = [np.array(d.ids) for d in truth.corpus(200, 12, seed=1).documents]
    found = exact_excess(truth, model, documents, first=2)
    pair = truth.initial  # type: ignore[attr-defined]
    one = pair.sum(1)
    expected = float(one @ row_entropy(pair / one[:, None])) - float(truth.entropy_rate() or 0.0)
    error = found.mean(axis=1).std(ddof=1) / math.sqrt(200)
    assert abs(found.mean() - expected) < 5 * error
    assert expected > 0.01
    assert exact_excess(truth, truth, documents, first=2).max() < 1e-12


def test_the_chain_rule_gives_the_same_as_log_ratios() -> None:
    """Σ KL(p_t‖q_t) and ln p/q of the whole continuation have the same mean over texts: within 5 standard errors of 400."""
    truth = load_world("authors")
    model = build(Dose("temperature", "", "world/authors+temperature,t=0.7"))
    documents = [np.array(d.ids) for d in truth.corpus(400, 24, seed=2).documents]
    by_law = exact_excess(truth, model, documents, first=8).sum(axis=1)
    p, q = (m.log_probs(documents, first=8) for m in (truth, model))
    by_token = np.array([a.sum() - b.sum() for a, b in zip(p, q, strict=True)])
    error = (by_token - by_law).std(ddof=1) / math.sqrt(400)
    assert abs(by_token.mean() - by_law.mean()) < 5 * error
    assert by_law.std() < by_token.std()


def test_a_point_with_everything_known() -> None:
    """ε = 0.2: excess exactly −ln 0.8. The best detector sees the absorbing token and nothing else: AUC ½ + ½(1 − e^−K) reaches
    ¾ at K = ln 2, that is 3.1 tokens; 64 documents with two continuations fix that to about ±1.5."""
    dose = Dose("absorbing ε", "ε = 0.2", "world/authors+absorbing,epsilon=0.2")
    point = respond(dose, "world/authors", AuditOptions(documents=64, prefix=8, tokens=16))
    assert point.excess_nats == pytest.approx(-math.log(0.8))
    assert point.known == "exact"
    assert point.best_h75 == pytest.approx(math.log(2) / -math.log(0.8), abs=1.5)
    assert point.certified_tokens == pytest.approx(certified_nats() / -math.log(0.8))
    assert point.contradiction == ""
    assert point.h75_high is None or point.h75_high * point.excess_nats > certified_nats()


def test_a_point_under_the_certificate_would_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: with an excess that is claimed a hundred times too small, the same texts are a contradiction."""
    from studies.dose_response import responses as module

    real = module.exact_excess
    monkeypatch.setattr(module, "exact_excess", lambda *a, **k: real(*a, **k) / 100)
    dose = Dose("absorbing ε", "ε = 0.3", "world/authors+absorbing,epsilon=0.3")
    point = respond(dose, "world/authors", AuditOptions(documents=48, prefix=4, tokens=16))
    assert "interval of H75 ends at" in point.contradiction


# ---- points from elsewhere ---------------------------------------------------------------------------------------------


def test_halves_of_a_corpus_share_no_unit() -> None:
    documents = [Document(f"d{i}", f"text number {i}", f"u{i % 80}") for i in range(100)]
    corpus = assemble(documents, name="n", spec="s")
    one, other = halves(corpus)
    assert len(one.documents) + len(other.documents) == len(corpus.documents)
    assert not {d.unit for d in one.documents} & {d.unit for d in other.documents}
    assert one.fingerprint != other.fingerprint
    assert min(one.n_units, other.n_units) > 0.3 * corpus.n_units


def test_finished_runs_are_points(tmp_path: Path) -> None:
    """Two runs of the same texts: the one of less loss is what the other is held against. One alone has its own reference."""
    example = json.loads((DOCS / "examples" / "audit-smollm2-135m-python-docs.json").read_text(encoding="utf-8"))
    estimates = {(f["name"], e["name"]): e for f in example["findings"] for e in f["estimates"]}
    h75, loss = estimates["detectability", "h75"], estimates["loss", "loss_nats_per_token"]
    for name in ("worse", "better"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(example))
        example["plan"]["model"], loss["value"] = "another", loss["value"] - 0.125
    (point,) = run_responses([tmp_path / "better", tmp_path / "worse"])
    assert point.excess_nats == pytest.approx(0.125)
    assert (point.model, point.family, point.known) == ("smollm2-135m-instruct", "audited models", "at least")
    assert (point.h75, point.h75_low, point.h75_high) == (h75["value"], h75["low"], h75["high"])
    assert point.n_train + point.n_test == example["counts"]["pairs"]
    assert point.longest_tokens == example["plan"]["tokens"]
    (alone,) = run_responses([tmp_path / "worse"])
    assert alone.excess_nats == estimates["loss", "excess_at_least_nats_per_token"]["value"]
    with pytest.raises(DataError, match="cannot be read"):
        run_responses([tmp_path])


# ---- the committed result ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return read_result(STUDY)


def test_no_committed_point_lies_under_the_certificate(result: dict[str, Any]) -> None:
    """Every point with an exact excess, by the end of its interval and of the likelihood ratio's."""
    nats = result["certificate"]["nats"]
    assert nats == pytest.approx(certified_nats())
    exact = [p for p in result["points"] if p["known"] == "exact"]
    assert len(exact) == len(world_doses())
    for p in exact:
        assert p["contradiction"] == ""
        if p["h75_high"] is not None:
            assert p["h75_high"] * p["excess_high"] >= nats
        if p["best_h75"] is not None and p["best_high"] is not None:
            assert p["best_high"] * p["best_excess_nats"] >= 0.95 * nats


def test_page_table_and_picture_are_those_of_the_result(result: dict[str, Any]) -> None:
    assert block(result) in (DOCS / "dose-response.md").read_text(encoding="utf-8")
    assert (STUDY / "points.md").read_text(encoding="utf-8") == table(result)
    assert (STUDY / "picture.svg").read_text(encoding="utf-8") == dose_response_svg(result)


def test_the_picture_says_every_point(result: dict[str, Any]) -> None:
    svg = dose_response_svg(result)
    for p in result["points"]:
        if p["excess_nats"] > 0:
            assert p["amount"].replace("<", "&lt;") in svg
    assert svg.startswith("<svg xmlns=")
    assert "certificate: no model lies below" in svg
    assert "<script" not in svg
