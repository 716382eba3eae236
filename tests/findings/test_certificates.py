"""What the losses prove: hand-made records, and an exact world where nothing may be proven."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.findings.certificates import certificates
from freerun.findings.evidence import Evidence
from freerun.jobs.audit.audit import audit
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import Finding, to_json
from freerun.stats.bounds.certificates import largest_tv
from freerun.stats.bounds.tv_from_loss import tv_from_loss_band
from freerun.stats.intervals import clopper_pearson_low
from tests.plans import plan_json

TOKENS = 4


def records(gain: np.ndarray, own: np.ndarray, *, ended: int = 0, units: list[str] | None = None) -> Records:
    """One real sequence for each row of `gain` = ln r − ln q, every other one for training; then `ended` free ones of 10."""
    n, n_free = len(gain), 10
    reasons = ["length"] * n + ["end_of_text"] * ended + ["length"] * (n_free - ended)
    names = units or [f"d{i}" for i in range(n)]
    sequences = {
        "arm": np.array(["real"] * n + ["free"] * n_free, object),
        "replicate": np.zeros(n + n_free, int),
        "split": np.array(["train" if i % 2 == 0 else "test" for i in range(n)] + ["test"] * n_free, object),
        "unit": np.array(names + [f"f{i}" for i in range(n_free)], object),
        "document_id": np.array([f"d{i}" for i in range(n + n_free)], object),
        "end_reason": np.array(reasons, object),
    }
    log_prob = np.concatenate([own.ravel(), np.full(n_free * TOKENS, -1.0)])
    with np.errstate(invalid="ignore"):
        reference = np.concatenate([(own + gain).ravel(), np.full(n_free * TOKENS, -1.0)])
    reference = np.where(np.isnan(reference), -1.0, reference)
    tokens = {"log_prob_nats": log_prob, "reference_log_probs_nats": reference[:, None]}
    manifest = {"plan": plan_json(tokens=TOKENS), "reference": {"components": ["r"], "interpolated": False}}
    return Records(manifest, sequences, tokens, np.arange(n + n_free + 1) * TOKENS)


def found(gain: np.ndarray, own: np.ndarray | None = None, **more: object) -> Finding:
    own = np.full(gain.shape, -3.0) if own is None else own
    return certificates(Evidence(records(gain, own, **more)))  # type: ignore[arg-type]


def estimate(finding: Finding, name: str):  # type: ignore[no-untyped-def]
    return next(e for e in finding.estimates if e.name == name)


def test_by_hand() -> None:
    # every document gains 1 nat a token: at 4 tokens ln c = 4, all 20 test documents are beyond; 3 lengths share 5%
    finding = found(np.ones((40, TOKENS)))
    tv = clopper_pearson_low(20, 20, alpha=0.05 / 3) - math.exp(-4)
    assert estimate(finding, "tv_from_loss_at_least").value == pytest.approx(tv, abs=1e-12)
    assert estimate(finding, "tv_from_loss_at_least").n == 20
    kl = estimate(finding, "kl_at_least_nats")
    assert kl.value == pytest.approx(4.0)
    assert (kl.low, kl.degenerate) == (None, True)  # all documents alike
    assert f"total variation of at least {tv:.2f}" in finding.sentence
    assert finding.charts[0].x == (1.0, 2.0, 4.0)
    assert finding.charts[0].series[0].y == pytest.approx(
        [clopper_pearson_low(20, 20, alpha=0.05 / 3) - math.exp(-n) for n in (1, 2, 4)]
    )
    assert [cell.value for cell in finding.tables[0].rows[2][3:5]] == pytest.approx([4, 20])


def test_training_documents_are_never_counted() -> None:
    gain = np.ones((40, TOKENS))
    gain[1::2] = 0.0  # test documents
    finding = found(gain)
    assert estimate(finding, "tv_from_loss_at_least").value == 0
    assert estimate(finding, "kl_at_least_nats").value == 0


def test_a_lower_bound_on_kl_is_not_sold_as_one_on_the_total_variation() -> None:
    gain = np.ones((40, TOKENS)) * 0.2
    finding = found(gain)
    low = estimate(finding, "kl_at_least_nats").value
    assert low == pytest.approx(0.8)
    note = next(n for n in finding.notes if "not a lower bound on the total variation" in n)
    assert f"{largest_tv(low):.3f}" in note
    assert estimate(finding, "tv_from_loss_at_least").value < largest_tv(low)


def test_conditional_table_is_arithmetic_and_marks_what_the_reference_excludes() -> None:
    finding = found(np.full((40, TOKENS), 0.05))
    table = finding.tables[1]
    assert table.title.startswith("Conditional")
    rows = {float(r[1].text): r for r in table.rows}
    assert set(rows) == {0.0001, 0.001, 0.01, 0.05, 0.1}
    # the loss is 3 nats in every document, so h = 3 - excess
    assert rows[0.1][0].value == pytest.approx(2.9)
    assert rows[0.1][3].value == pytest.approx(largest_tv(0.4))
    assert rows[0.1][4].value == 5
    assert [rows[x][5].split(":")[0] for x in sorted(rows)] == ["no", "no", "no", "yes", "yes"]


def test_nothing_is_claimed_from_above() -> None:
    for gain in (np.ones((40, TOKENS)), np.zeros((40, TOKENS))):
        finding = found(gain)
        assert "no bound from above" in finding.sentence
        assert any("No upper certificate" in n for n in finding.notes)
        assert estimate(finding, "tv_from_loss_at_least").high == 1.0
        assert finding.status == "neutral"


def test_a_reference_that_is_the_model_proves_nothing() -> None:
    finding = found(np.zeros((40, TOKENS)))
    assert estimate(finding, "tv_from_loss_at_least").value == 0
    assert "prove no difference" in finding.sentence
    assert set(finding.charts[0].series[0].y) == {0.0}
    assert any("does not make the model good" in n for n in finding.notes)


def test_impossible_tokens_are_counted_and_leave_no_finite_loss() -> None:
    own = np.full((40, TOKENS), -3.0)
    own[:, 1] = -np.inf
    finding = found(np.zeros((40, TOKENS)), own)
    assert finding.charts[0].series[0].y[0] == 0
    assert finding.charts[0].series[0].y[1] == pytest.approx(clopper_pearson_low(20, 20, alpha=0.05 / 3), abs=1e-8)
    assert estimate(finding, "kl_at_least_nats").value is None
    assert [t.name for t in finding.tables] == ["tv_from_loss", "references"]  # no promise from an infinite loss
    assert any("20 test documents hold a token that the model makes impossible" in n for n in finding.notes)


def test_a_reference_without_mass_proves_nothing() -> None:
    gain = np.ones((40, TOKENS))
    gain[:, 0] = -np.inf
    finding = found(gain)
    assert estimate(finding, "tv_from_loss_at_least").value == 0
    assert estimate(finding, "kl_at_least_nats").value is None
    assert any("no mass" in n for n in finding.notes)


def test_texts_that_end_take_their_share_away() -> None:
    finding = found(np.ones((40, TOKENS)), ended=2)
    note = next(n for n in finding.notes if "chosen to be long enough" in n)
    assert "20.0% of its own texts" in note
    tv = estimate(finding, "tv_from_loss_at_least").value
    assert f"{tv - 0.5561:.2f} of the total variation" in note  # Clopper-Pearson of 2 in 10: up to 0.5561
    assert not any("chosen to be long enough" in n for n in found(np.ones((40, TOKENS))).notes)


def test_pieces_of_one_unit_count_once() -> None:
    names = [f"u{i // 4}-{i % 2}" for i in range(40)]
    finding = found(np.ones((40, TOKENS)), units=names)
    assert estimate(finding, "tv_from_loss_at_least").n == 10


def test_too_few_documents() -> None:
    finding = found(np.ones((6, TOKENS)))
    assert finding.status == "unknown"
    assert "at least 4" in finding.sentence
    assert not finding.estimates


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[freerun.Run]:
    folder = tmp_path_factory.mktemp("runs")
    options = {"documents": 64, "tokens": 32, "prefix": 8}
    return [
        audit("world/markov", "world/markov", out=folder / "perfect", **options),
        audit("world/markov,seed=1", "world/markov", out=folder / "bad", **options),
    ]


def test_a_perfect_predictor_is_not_accused_and_a_bad_one_is(worlds: list[freerun.Run]) -> None:
    perfect, bad = (certificates(Evidence(load_records(RunFolder(Path(run.path))))) for run in worlds)
    assert estimate(perfect, "tv_from_loss_at_least").value == 0
    assert estimate(bad, "tv_from_loss_at_least").value > 0.5
    assert estimate(bad, "kl_at_least_nats").low > 1
    for finding in (perfect, bad):
        plain = to_json(finding)
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_the_band_is_the_stats_function_on_the_records(worlds: list[freerun.Run]) -> None:
    evidence = Evidence(load_records(RunFolder(Path(worlds[1].path))))
    real = evidence.records.chosen(arm="real")
    train = evidence.records.sequences["split"][real] == "train"
    gain = evidence.reference_log_prob - evidence.records.tokens["log_prob_nats"]
    sums = np.array([[gain[evidence.records.rows(i)][:n].sum() for n in (1, 2, 4, 8, 16, 32)] for i in real])
    band = tv_from_loss_band(sums[train], sums[~train], np.array([1, 2, 4, 8, 16, 32]))
    assert certificates(evidence).charts[0].series[0].y == pytest.approx(tuple(band.tv_low))
