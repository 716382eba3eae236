"""Calibration of whole laws and of the top token on exact worlds: own text is the control, a wrong model is seen."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import freerun
from freerun.findings.calibration import calibration
from freerun.findings.evidence import Evidence
from freerun.jobs.audit.audit import audit
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import Estimate, Finding, to_json
from freerun.stats.calibration import calibration_curve
from freerun.worlds.markov import random_chain

OPTIONS = {"documents": 64, "tokens": 64, "prefix": 8}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    folder = tmp_path_factory.mktemp("runs")
    text = random_chain(8, seed=0).corpus(64, 73, seed=3)
    made: dict[str, freerun.Run] = {
        "perfect": audit("world/markov", "world/markov", out=folder / "perfect", **OPTIONS),
        "sure": audit("world/markov+temperature,t=0.6", text, out=folder / "sure", **OPTIONS),
    }
    return {name: Evidence(load_records(RunFolder(run.path))) for name, run in made.items()}


def estimates(finding: Finding) -> dict[str, Estimate]:
    return {e.name: e for e in finding.estimates}


def test_own_text_is_calibrated_whatever_the_model(evidence: dict[str, Evidence]) -> None:
    """Committed seeds; 3 of about 10 bins outside their 95% intervals would have probability .01 on each of two runs."""
    for one in evidence.values():
        finding = calibration(one)
        seen = estimates(finding)
        own = seen["top1_overconfidence_own"]
        assert own.value is not None
        assert abs(own.value) < 0.03
        assert any("within its 95% interval" in n and "NOT" not in n for n in finding.notes)
        rows = one.records.chosen(arm="free")
        curve = calibration_curve(
            one.records.sequences["observed_counts"][rows].astype(float),
            one.records.sequences["expected_counts"][rows].astype(float),
            one.units[rows],
        )
        known = [r for r in curve.ratio if r is not None]
        assert sum(not r.low <= 1 <= r.high for r in known) <= 2


def test_a_model_that_is_too_sure_is_said_to_be(evidence: dict[str, Evidence]) -> None:
    finding = calibration(evidence["sure"])
    seen = estimates(finding)
    assert seen["top1_overconfidence"].low is not None
    assert seen["top1_overconfidence"].low > 0.05
    assert seen["top1_rms_error"].low is not None
    assert seen["top1_rms_error"].low > 0.05
    assert "comes less often than it says" in finding.sentence
    perfect = estimates(calibration(evidence["perfect"]))
    assert perfect["top1_rms_error"].low == 0.0


def test_the_top_token_by_hand(evidence: dict[str, Evidence]) -> None:
    one = evidence["sure"]
    tokens, mine = one.records.tokens, one.tokens_of("real")
    confidence = np.exp(tokens["top_log_prob_nats"][mine].astype(float))
    hit = tokens["token_id"][mine] == tokens["top_id"][mine]
    seen = estimates(calibration(one))["top1_overconfidence"]
    assert seen.value == pytest.approx(float((confidence - hit).mean()), abs=1e-9)
    assert seen.n == 64
    chart = next(c for c in calibration(one).charts if c.name == "top1_reliability")
    below = [y for y in chart.series[0].y if y is not None]
    assert np.mean(below) == pytest.approx(-seen.value, abs=0.02)


def test_intervals_are_clustered_by_document(evidence: dict[str, Evidence]) -> None:
    one = evidence["perfect"]
    before = estimates(calibration(one))["top1_overconfidence"]
    records = one.records
    merged = {u: f"pair {i // 2}" for i, u in enumerate(sorted(set(records.sequences["unit"])))}
    units = np.array([merged[u] for u in records.sequences["unit"]], object)
    joined = replace(records, sequences={**records.sequences, "unit": units})
    again = estimates(calibration(Evidence(joined)))["top1_overconfidence"]
    assert again.value == pytest.approx(before.value)
    assert (before.n, again.n) == (64, 32)


def test_the_finding_is_plain_json(evidence: dict[str, Evidence]) -> None:
    for one in evidence.values():
        plain = to_json(calibration(one))
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
