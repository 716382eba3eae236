"""The three claims on exact worlds, what z cannot see, and the size and power of the sampler's audit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence
from freerun.findings.recognition.finding import self_recognition
from freerun.jobs.audit.audit import audit
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import Finding, to_json
from freerun.stats.detection.auc import auc
from freerun.stats.intervals import clopper_pearson
from freerun.worlds.markov import random_chain
from studies.sampler_audit import run as study
from tests.laws import from_probs

OPTIONS = {"documents": 64, "tokens": 64, "prefix": 8}
ROOT = Path(__file__).parents[2]


def found(run: freerun.Run) -> tuple[Finding, Evidence]:
    evidence = Evidence(load_records(RunFolder(run.path)))
    return self_recognition(evidence), evidence


def values(finding: Finding) -> dict[str, float | None]:
    return {e.name: e.value for e in finding.estimates}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, freerun.Run]:
    folder = tmp_path_factory.mktemp("runs")
    text = random_chain(8, seed=0).corpus(64, 73, seed=3)
    return {
        "perfect": audit("world/markov", "world/markov", out=folder / "perfect", **OPTIONS),
        "bad": audit(random_chain(8, seed=1), text, out=folder / "bad", **OPTIONS),
        "cold": audit("world/markov", text, out=folder / "cold", sample_with="t=0.9", **OPTIONS),
    }


def test_a_perfect_predictor_is_its_own_text(runs: dict[str, freerun.Run]) -> None:
    """One committed seed. At most 5% of 64 or 128 texts are rejected: 11 of 64 or 16 of 128 have probability below .001."""
    finding, _ = found(runs["perfect"])
    seen = values(finding)
    assert finding.status == "good"
    for name in ("own_share_e_20", "real_share_e_20", "own_share_lr_05", "real_share_lr_05"):
        assert seen[name] is not None
        assert seen[name] < 11 / 64
    gap = {e.name: e for e in finding.estimates}["introspective_auc"]
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low < 0.5 + 0.1
    assert gap.high > 0.5 - 0.1
    assert seen["real_rank_p"] is not None
    assert seen["real_rank_p"] > 0.001


def test_a_bad_model_is_seen_and_the_reference_sees_more(runs: dict[str, freerun.Run]) -> None:
    finding, evidence = found(runs["bad"])
    seen = values(finding)
    assert seen["real_share_lr_05"] == 1.0
    assert seen["own_share_lr_05"] is not None
    assert seen["own_share_lr_05"] < 16 / 128
    assert seen["lr_real_mean_nats"] is not None
    assert seen["lr_real_mean_nats"] < -10
    assert seen["lr_own_mean_nats"] is not None
    assert seen["lr_own_mean_nats"] > 0  # a KL
    assert seen["reference_lr_auc"] is not None
    assert seen["reference_lr_auc"] > 0.99
    real = next(e for e in finding.estimates if e.name == "lr_real_mean_nats")
    assert real.n == int((~evidence.panel.train).sum())  # test documents only


def test_the_numbers_a_second_way(runs: dict[str, freerun.Run]) -> None:
    finding, evidence = found(runs["bad"])
    seen, records = values(finding), evidence.records
    q, r = records.tokens["log_prob_nats"], evidence.reference_log_prob
    sums, least = [], []
    for i in records.chosen(arm="real", split="test"):
        path = np.cumsum((q - r)[records.rows(int(i))])
        sums.append(path[-1])
        least.append(path.min())
    assert seen["lr_real_mean_nats"] == pytest.approx(np.mean(sums))
    assert seen["real_share_lr_05"] == pytest.approx(np.mean(np.array(least) <= np.log(0.05)))
    own = [(q - r)[records.rows(int(i))].sum() for i in records.chosen(arm="free", split="test")]
    by_hand = auc(np.array(own), np.array(sums))
    last = next(c for c in finding.charts if c.name == "checking").series[2].y[-1]
    row = next(t for t in finding.tables if t.name == "checking").rows[-1]
    assert row[4] != "reference" or last == pytest.approx(by_hand)
    ranks = next(c for c in finding.charts if c.name == "ranks")
    mine = evidence.tokens_of("free")
    assert ranks.series[1].y[0] == pytest.approx((records.tokens["rank"][mine] == 1).mean())
    assert ranks.x == (1.0, 8.0)


def test_another_sampler_fails_the_audit_and_is_named(runs: dict[str, freerun.Run]) -> None:
    finding, _ = found(runs["cold"])
    assert finding.status == "bad"
    assert "As declared (temperature 0.9)" in finding.sentence


def test_the_finding_is_plain_json_and_says_three_claims(runs: dict[str, freerun.Run]) -> None:
    finding, _ = found(runs["bad"])
    plain = to_json(finding)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    claims = next(t for t in finding.tables if t.name == "claims")
    assert [row[0] for row in claims.rows] == ["information-theoretic", "introspective", "verbal"]
    for name in ("own_z_total", "own_z_mean", "own_z_sd", "real_z_mean", "sampler_audit_p", "control_z_total"):
        assert name in values(finding)


def test_laws_without_varentropy_have_no_z_but_a_rank(tmp_path: Path) -> None:
    fair = audit("world/even,p=0.5", "world/even,p=0.5", out=tmp_path / "fair", documents=32, tokens=32, prefix=8)
    finding, evidence = found(fair)
    flat = evidence.records.tokens["varentropy_nats2"].sum() < 1e-3
    assert (values(finding)["own_z_total"] is None) == flat
    assert finding.status == "good"
    assert values(finding)["real_rank_p"] is not None


def test_blind_spot() -> None:
    """Seed committed. At the temperature where E_P[D] = 0, z rejects real text about as often as its own: 2,000 texts, 2% to 6%;
    the total variation is above .94; the likelihood ratio against bigram counts of 64 texts rejects nine in ten.
    """
    seen = study.blind_spot()
    assert abs(seen["mean_drift_nats"]) < 1e-9
    assert 0.02 < seen["z_rejected"] < 0.06
    assert seen["total_variation"] > 0.94
    assert seen["lr_rejected"] > 0.9


def test_laws_of_the_study_are_what_records_hold() -> None:
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(70, 0.1), 5) + 1e-9
    law = from_probs(table / table.sum(1, keepdims=True))
    laws, ids = study.Laws.of(law), rng.integers(0, 70, 5)
    golden, rows = law.observe(ids), np.arange(5)
    assert laws.log_probs[rows, ids] == pytest.approx(golden.log_prob_nats)
    assert laws.entropy == pytest.approx(golden.entropy_nats)
    assert laws.varentropy == pytest.approx(golden.varentropy_nats2)
    assert laws.below[rows, ids] == pytest.approx(golden.cdf_below, abs=1e-12)
    assert laws.above[rows, ids] == pytest.approx(golden.mass_above, abs=1e-12)
    assert laws.power_sums == pytest.approx(golden.log_power_sum, abs=1e-5)
    assert laws.mass_by_bin == pytest.approx(golden.expected_counts)


def test_the_verdict_says_how_small_a_fault_it_would_have_seen(runs: dict[str, freerun.Run]) -> None:
    """16 texts of 64 tokens are scored again and no u is missed: .8 power at ln 5 misses of 1,024."""
    finding, _ = found(runs["perfect"])
    seen = values(finding)
    assert seen["seeded_miss_share"] == 0.0
    assert seen["smallest_foreign_share"] == pytest.approx(np.log(5) / 1024)
    assert seen["smallest_truncation_kept_mass"] == pytest.approx(1 - np.log(5) / 1024)
    assert seen["smallest_temperature_gap"] is not None
    assert 0.001 < seen["smallest_temperature_gap"] < 0.02
    assert (
        "down to one token in 636 from elsewhere, a truncation that keeps 0.9984 of the mass, or a temperature"
        in finding.sentence
    )
    cold = values(found(runs["cold"])[0])
    assert cold["seeded_miss_share"] is not None
    assert 0.01 < cold["seeded_miss_share"] < 0.2
    assert cold["sampler_audit_p"] == 0.0


def test_runs_without_uniforms_do_not_say_how_small(runs: dict[str, freerun.Run]) -> None:
    records = load_records(RunFolder(runs["perfect"].path))
    records.tokens["uniform"] = np.full(len(records.tokens["sequence"]), np.nan)
    finding = self_recognition(Evidence(records))
    assert "though how small a fault would have been seen is not known" in finding.sentence
    assert "smallest_foreign_share" not in values(finding)


def test_a_token_that_was_not_drawn_is_seen(runs: dict[str, freerun.Run]) -> None:
    """One uniform of 8,192 is another: its token cannot have been drawn with it from the recorded law."""
    records = load_records(RunFolder(runs["perfect"].path))
    uniform = records.tokens["uniform"].copy()
    at = np.flatnonzero(~np.isnan(uniform))[77]
    uniform[at] = (records.tokens["cdf_below"][at] + np.exp(records.tokens["log_prob_nats"][at]) + 0.01) % 1
    records.tokens["uniform"] = uniform
    finding = self_recognition(Evidence(records))
    assert finding.status == "bad"
    assert values(finding)["sampler_audit_p"] == 0.0


def test_the_committed_rates_are_as_promised() -> None:
    held = json.loads((ROOT / "studies" / "sampler_audit" / "result.json").read_text())
    assert held["as_promised"]
    for design in held["null"]:
        assert design["runs"] == (2000 if design["laws"] == "bigram" else 20_000)
        for row in design["rates"]:
            limits = clopper_pearson(int(row["rejected"]), design["runs"])
            assert (row["low"], row["high"]) == pytest.approx((limits.low, limits.high))
            assert row["low"] <= row["alpha"] or row["test"] != "all"
    for design in held["power"]:
        overall = study.rate(design["rates"])
        assert overall["low"] >= 0.95 or design["sampler"] not in study.PROMISED
    for faults in held["smallest_faults"]:
        for name in ("share_from_elsewhere", "truncation_kept_mass", "temperature_gap"):
            assert faults[f"{name}_power_high"] >= 0.8
