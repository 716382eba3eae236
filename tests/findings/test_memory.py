"""What the prefix is worth: hand-made records, an exact world, and records that lack the column."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence
from freerun.findings.memory import memory
from freerun.jobs.audit.audit import audit
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import Finding, to_json
from freerun.stats.position import log_spaced_edges
from freerun.worlds.catalogue import load_world
from tests.plans import plan_json

TOKENS = 16


def records(saved: np.ndarray, *, units: list[str] | None = None, prefix: int = 8) -> Records:
    """One real continuation a row of `saved` nats, with 3 nats a token where the prefix is read; and two free ones."""
    n = len(saved)
    arms = ["real"] * n + ["free"] * 2
    names = units or [f"d{i}" for i in range(n)]
    sequences = {"arm": np.array(arms, object), "unit": np.array([*names, "f0", "f1"], object)}
    own = np.full((n + 2, TOKENS), -3.0)
    alone = np.vstack([own[:n] - saved, np.full((2, TOKENS), np.nan)])
    tokens = {
        "log_prob_nats": own.ravel(),
        "without_prefix_log_prob_nats": alone.ravel(),
        "position": np.tile(np.arange(TOKENS), n + 2),
    }
    manifest = {"plan": plan_json(tokens=TOKENS, prefix=prefix)}
    return Records(manifest, sequences, tokens, np.arange(n + 3) * TOKENS)


def found(saved: np.ndarray, **more: object) -> Finding:
    finding = memory(Evidence(records(saved, **more)))  # type: ignore[arg-type]
    plain = to_json(finding)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    return finding


def value(finding: Finding, name: str) -> float:
    got = next(e.value for e in finding.estimates if e.name == name)
    assert got is not None
    return got


def noisy(mean: np.ndarray, *, n: int = 20) -> np.ndarray:
    return mean + 0.1 * np.random.default_rng(0).normal(size=(n, TOKENS))


def test_by_hand() -> None:
    saved = np.zeros((4, TOKENS))
    saved[:, 0], saved[:, 1] = [1.0, 2.0, 3.0, 2.0], 0.5
    finding = found(saved)
    assert value(finding, "prefix_worth_nats_per_token") == pytest.approx(2.5 / 16)
    assert value(finding, "prefix_worth_nats_per_document") == pytest.approx(2.5)
    assert value(finding, "prefix_worth_late_nats_per_token") == 0
    series = finding.charts[0].series[0]
    assert series.y[:2] == pytest.approx((2.0, 0.5))
    # 4 documents of 1, 2, 3, 2: standard deviation sqrt(2/3), t quantile of 3 degrees 3.1824
    assert series.low is not None
    assert series.low[0] == pytest.approx(2 - 3.18245 * np.sqrt(2 / 3) / 2, abs=1e-4)
    assert finding.charts[0].x[:2] == (1.0, 2.0)
    assert value(finding, "prefix_reach_tokens") == 2
    assert "seen up to 2 tokens after the cut" in finding.sentence
    assert finding.status == "neutral"


def test_the_reach_ends_at_the_first_bin_that_is_not_above_zero() -> None:
    mean = np.zeros(TOKENS)
    mean[:4], mean[12:] = 1.0, 1.0
    finding = found(noisy(mean))
    assert value(finding, "prefix_reach_tokens") == 4
    everywhere = found(noisy(np.ones(TOKENS)))
    assert next(e.text for e in everywhere.estimates if e.name == "prefix_reach_tokens") == "≥ 16"
    assert "the longest measured" in everywhere.sentence
    nowhere = found(noisy(np.zeros(TOKENS)) - 0.5)
    assert "no position shows a gain" in nowhere.sentence
    assert next(e for e in nowhere.estimates if e.name == "prefix_reach_tokens").value is None


def test_without_worth_the_reach_is_rarely_anything() -> None:
    """400 nulls of 12 documents: a reach is claimed in 2.5% of them; at most 20 (more by chance: 0.3%)."""
    rng = np.random.default_rng(1)
    reached = 0
    for _ in range(400):
        finding = memory(Evidence(records(rng.normal(size=(12, TOKENS)))))
        reached += next(e for e in finding.estimates if e.name == "prefix_reach_tokens").value is not None
    assert reached <= 20


def test_pieces_of_one_document_count_once() -> None:
    saved = np.repeat(noisy(np.full(TOKENS, 0.02), n=5), 4, axis=0)
    names = [f"u{i // 4}" for i in range(20)]
    one, other = found(saved), found(saved, units=names)
    for finding, n in ((one, 20), (other, 5)):
        assert next(e.n for e in finding.estimates if e.name == "prefix_worth_nats_per_token") == n
    widths = [
        next(e.high - e.low for e in f.estimates if e.name == "prefix_worth_nats_per_token") for f in (one, other)
    ]  # type: ignore[operator]
    assert widths[1] > 2 * widths[0]


def test_a_first_token_without_a_law_and_impossible_tokens_are_left_out_and_said() -> None:
    saved = noisy(np.ones(TOKENS))
    saved[:, 0] = np.nan
    saved[3, 5] = np.inf
    finding = found(saved)
    assert finding.charts[0].x[0] == 2.0
    assert value(finding, "prefix_worth_nats_per_token") == pytest.approx(
        np.delete(saved[:, 1:].ravel(), 3 * 15 + 4).mean()
    )
    assert any("first token has no law" in n for n in finding.notes)
    assert any(n.startswith("1 token has no mass") for n in finding.notes)


def test_records_without_the_column_say_what_to_do() -> None:
    old = records(np.ones((6, TOKENS)))
    del old.tokens["without_prefix_log_prob_nats"]
    for held, words in (
        (old, "an older version"),
        (records(np.full((6, TOKENS), np.nan)), "an older version"),
        (records(np.full((6, TOKENS), np.nan), prefix=0), "take --prefix 32"),
        (records(np.ones((3, TOKENS))), "Only 3 documents"),
    ):
        finding = memory(Evidence(held))
        assert finding.status == "unknown"
        assert words in finding.sentence
        assert not finding.estimates


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    folder = tmp_path_factory.mktemp("runs")
    return audit("world/markov", "world/markov", out=folder / "run", documents=200, prefix=4, tokens=16)


def test_a_chain_forgets_all_but_the_last_token(run: freerun.Run) -> None:
    """Order one: the prefix is worth the mutual information of neighbours at the first token and nothing, exactly, after it."""
    evidence = Evidence(load_records(RunFolder(Path(run.path))))
    finding = memory(evidence)
    y = finding.charts[0].series[0].y
    assert np.abs(np.array(y[1:], float)).max() < 1e-12
    world = load_world("markov")
    start = np.exp(world.law(world.start([np.zeros(0, np.int64)])).log_probs()[0])
    steps = np.exp(world.law(world.start([np.array([i]) for i in range(world.n_tokens)])).log_probs())
    joint = start[:, None] * steps
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nansum(joint * np.log(steps / (start @ steps)[None, :]))
    first = finding.charts[0].series[0]
    assert first.low is not None
    assert first.high is not None
    assert first.low[0] < information < first.high[0]
    assert len(finding.charts[0].x) == len(log_spaced_edges(16)) - 1
    assert value(finding, "prefix_reach_tokens") == 1
