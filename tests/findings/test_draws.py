"""Old and new columns of the sampler's audit from records: what is counted, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.standing import audit_own_text
from freerun.jobs.audit.audit import audit
from freerun.records.store import Records, RunFolder, load_records
from freerun.stats.recognition.sampler_audit import SamplerAudit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return audit(
        "world/markov", "world/markov", out=tmp_path_factory.mktemp("run") / "run", documents=40, prefix=8, tokens=32
    )


def audit_of(records: Records) -> SamplerAudit:
    sampled = audit_own_text(Evidence(records)).sampled
    assert sampled is not None
    return sampled.audit


def without(records: Records, *names: str) -> Records:
    for name in names:
        records.tokens[name] = np.full(len(records.tokens["sequence"]), np.nan)
    return records


def test_every_test_is_made_and_an_older_run_makes_fewer(run: freerun.Run) -> None:
    assert len(audit_of(load_records(RunFolder(run.path))).parts) == 6
    old = audit_of(without(load_records(RunFolder(run.path)), "mass_above", "fresh_repeat_mass", "fresh_repeats"))
    assert (old.p_rank_order, old.p_repeats, len(old.parts)) == (None, None, 4)
    fresh = ("fresh_log_prob_nats", "fresh_cdf_below", "fresh_cdf_upto")
    older = audit_of(
        without(load_records(RunFolder(run.path)), "mass_above", "fresh_repeat_mass", "fresh_repeats", *fresh)
    )
    assert (older.seeded, len(older.parts)) == (None, 3)


def test_mass_above_is_uniform_with_a_share_of_its_own(run: freerun.Run) -> None:
    """Of the ids of a law, mass above and own mass tile the unit interval: the most probable begins at 0, and rank 1 alone does."""
    records = load_records(RunFolder(run.path))
    tokens = records.tokens
    first = tokens["rank"] == 1
    assert tokens["mass_above"][first].max() < 1e-12
    assert tokens["mass_above"][~first].min() > 0.1
    assert (tokens["mass_above"] + np.exp(tokens["log_prob_nats"])).max() <= 1 + 1e-9


def test_repeats_are_left_out_where_the_fresh_pass_is_not_the_samplers_law(run: freerun.Run) -> None:
    records = load_records(RunFolder(run.path))
    records.tokens["fresh_log_prob_nats"] = records.tokens["fresh_log_prob_nats"] - 0.5
    audited = audit_own_text(Evidence(records))
    assert audited.again.outcome == "failed"
    assert audited.sampled is not None
    assert audited.sampled.audit.p_repeats is None


def test_fewer_repeats_than_the_laws_say_are_seen(run: freerun.Run) -> None:
    records = load_records(RunFolder(run.path))
    repeats = records.tokens["fresh_repeats"].copy()
    known = np.flatnonzero(repeats > 0)
    repeats[known[::3]] = 0.0
    records.tokens["fresh_repeats"] = repeats
    p = audit_of(records).p_repeats
    assert p is not None
    assert p < 1e-6


def test_the_smallest_faults_are_those_of_the_rule_in_use(run: freerun.Run) -> None:
    """Fresh cells a little off: the level of one of six tests, by either of its two counts, decides what is seen."""
    records = load_records(RunFolder(run.path))
    for name in ("fresh_cdf_below", "fresh_cdf_upto"):
        edge = records.tokens[name]
        records.tokens[name] = edge + 0.02 * edge * (1 - edge)
    sampled = audit_own_text(Evidence(records)).sampled
    assert sampled is not None
    seeded, smallest = sampled.audit.seeded, sampled.smallest
    assert seeded is not None
    assert smallest is not None
    assert seeded.all.expected > 1
    missed = seeded.all.detectable_share(alpha=0.001 / 6 / 2, power=0.8)
    assert smallest.kept_mass == pytest.approx(1 - missed)
    assert smallest.share is not None
    assert smallest.share < missed
