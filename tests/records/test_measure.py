"""Units may be made in any order, interrupted and made again; the records are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.predictors.draws import uniforms
from freerun.predictors.observation import N_BINS, bin_of
from freerun.predictors.rules import SamplingRule
from freerun.records.measure import MeasurePlan, units_of
from freerun.records.store import RunFolder, load_records
from freerun.stats.loops.lag_runs import LoopRule, first_loop

Job = Any  # of conftest.py


def same_records(a: RunFolder, b: RunFolder) -> bool:
    return all(a.read(kind).equals(b.read(kind)) for kind in ("sequences", "tokens"))


@pytest.fixture(scope="module")
def whole(job: Job, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The uninterrupted run."""
    return job.run(job.folder(tmp_path_factory.mktemp("whole") / "run"))


# ---- units -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    n_pairs=st.integers(0, 60),
    batch=st.integers(1, 20),
    continuations=st.integers(1, 5),
    tokens=st.integers(1, 9),
    first=st.sets(st.integers(0, 59)),
)
def test_units_cover_every_pair_of_every_arm_once(
    n_pairs: int, batch: int, continuations: int, tokens: int, first: set[int]
) -> None:
    """With and without a first look, whose pairs come before all others, in units of their own."""
    plan = MeasurePlan(tokens, batch, 0, continuations=continuations)
    looked_at = sorted(n for n in first if n < n_pairs)
    units = units_of(n_pairs, plan, looked_at)
    n_first = sum(u.name.startswith("first-") for u in units)
    assert {n for u in units[:n_first] for n in u.pairs} == set(looked_at)
    assert not {n for u in units[n_first:] for n in u.pairs} & set(looked_at)
    for arm, rows in (("real", 1), ("free", continuations), ("tempered", 1)):
        mine = [u for u in units if u.arm == arm]
        assert sorted(i for u in mine for i in u.pairs) == list(range(n_pairs))
        assert sum(u.n_tokens for u in mine) == n_pairs * rows * tokens
        assert all(len(u.pairs) * rows <= max(batch, rows) for u in mine)
    assert len({u.name for u in units}) == len({u.key("h") for u in units}) == len(units)
    assert units == units_of(n_pairs, plan, looked_at)


def test_a_unit_is_named_by_its_plan() -> None:
    unit = units_of(8, MeasurePlan(5, 4, 0))[0]
    assert unit.key("one") != unit.key("other")
    assert unit.key("hash") == "hash/free-00000/0-2"  # as the runs have it that were made before there were first looks
    (real,) = (u for u in units_of(8, MeasurePlan(5, 4, 0), (0, 1, 5)) if u.name == "first-real-00000")
    assert real.key("hash") == "hash/first-real-00000/0-2+5-6"


# ---- the records -----------------------------------------------------------------------------------------------------


def test_every_pair_has_its_sequences_in_every_arm(job: Job, whole: RunFolder) -> None:
    records = load_records(whole)
    n, stride = len(job.pairs), job.plan.stride
    assert records.sequences["sequence"].tolist() == list(range(n * stride))
    arms = ["real", "free", "free", "tempered"]
    assert records.sequences["arm"].tolist() == arms * n
    assert records.sequences["replicate"].tolist() == [0, 0, 1, 0] * n
    for i in range(records.n_sequences):
        pair, row = job.pairs[i // stride], {k: v[i] for k, v in records.sequences.items()}
        assert (row["document_id"], row["unit"], row["split"]) == (pair.document_id, pair.unit, pair.split)
        assert list(row["prefix_ids"]) == pair.prefix.tolist()
        ids = records.tokens["token_id"][records.rows(i)]
        assert len(ids) == row["n_tokens"]
        if row["arm"] == "real":
            assert ids.tolist() == pair.continuation.tolist()
        assert row["end_reason"] == ("end_of_text" if ids[-1] in job.predictor.end_ids else "length")
        assert row["n_bytes"] == records.tokens["n_bytes"][records.rows(i)].sum()
        data = b"".join(job.predictor.token_bytes(int(t)) for t in ids)
        assert row["text"] == data.decode(errors="replace")


def test_numbers_are_the_laws(job: Job, whole: RunFolder) -> None:
    """Every number of every token, from laws that are read afresh."""
    records, predictor = load_records(whole), job.predictor
    keys = set()
    for i in range(records.n_sequences):
        row = {k: v[i] for k, v in records.sequences.items()}
        token = {k: v[records.rows(i)] for k, v in records.tokens.items()}
        ids = token["token_id"].astype(np.int64)
        whole_text = np.concatenate([row["prefix_ids"], ids]).astype(np.int64)
        first = len(row["prefix_ids"])
        observed, expected = np.zeros(N_BINS), np.zeros(N_BINS)
        loops = _loop_masses(predictor, whole_text, first, job.plan.loop_rule)
        for t in range(len(ids)):
            law = predictor.law(predictor.start([whole_text[: first + t]]))
            seen = law.observe(ids[t : t + 1])
            np.testing.assert_allclose(token["log_prob_nats"][t], seen.log_prob_nats[0], atol=1e-12)
            np.testing.assert_allclose(token["entropy_nats"][t], seen.entropy_nats[0], atol=1e-12)
            np.testing.assert_allclose(token["varentropy_nats2"][t], seen.varentropy_nats2[0], atol=1e-12)
            np.testing.assert_allclose(token["cdf_below"][t], seen.cdf_below[0], atol=1e-12)
            np.testing.assert_allclose(token["log_power_sum"][t], seen.log_power_sum[0], atol=1e-6)
            assert (token["rank"][t], token["top_id"][t]) == (seen.rank[0], seen.top_id[0])
            np.testing.assert_allclose(token["loop_mass"][t], loops[t], atol=1e-6)
            observed += np.bincount(bin_of(seen.log_prob_nats), minlength=N_BINS)
            expected += seen.expected_counts[0]
            if row["arm"] == "tempered":
                hot = law.tempered(job.plan.control_temperature)
                assert hot.sample(token["uniform"][t : t + 1])[0] == ids[t]
                np.testing.assert_allclose(
                    token["sample_log_prob_nats"][t], hot.log_prob(ids[t : t + 1])[0], atol=1e-12
                )
            elif row["arm"] == "free":
                assert law.sample(token["uniform"][t : t + 1])[0] == ids[t]
        assert row["observed_counts"].tolist() == observed.tolist()
        np.testing.assert_allclose(row["expected_counts"], expected, atol=1e-9)
        np.testing.assert_allclose(expected.sum(), len(ids))
        if row["arm"] == "real":
            assert row["key"] == 0
            assert np.isnan(token["uniform"]).all()
        else:
            keys.add(int(row["key"]))
            np.testing.assert_array_equal(token["uniform"], uniforms(job.plan.seed, int(row["key"]), len(ids)))
        if row["arm"] != "tempered":
            assert np.isnan(token["sample_log_prob_nats"]).all()
        for t in range(len(ids)):
            alone = token["without_prefix_log_prob_nats"][t]
            if row["arm"] == "real":
                wanted = predictor.law(predictor.start([ids[:t]])).log_prob(ids[t : t + 1])[0]
                np.testing.assert_allclose(alone, wanted, atol=1e-12)
            else:
                assert np.isnan(alone)
        assert row["embedding"].shape == (0,)
        (reference,) = job.reference.log_probs([row["unit"]], [whole_text], first=first)
        np.testing.assert_allclose(token["reference_log_probs_nats"], reference, atol=1e-12)
    assert len(keys) == 3 * len(job.pairs)


def _loop_masses(predictor: Any, ids: np.ndarray, first: int, rule: LoopRule) -> list[float]:
    out = []
    for t in range(first, len(ids)):
        candidates = [int(ids[t - p]) for p in range(1, rule.max_period + 1) if t - p >= 0]
        hits = {c for c in candidates if first_loop(np.append(ids[:t], c), rule, start=t) == t}
        law = predictor.law(predictor.start([ids[:t]]))
        out.append(float(law.mass(sorted(hits))[0]) if hits else 0.0)
    return out


# ---- interruptions ---------------------------------------------------------------------------------------------------


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 0.8, 0.99])
def test_an_interrupted_run_goes_on_to_the_same_records(
    job: Job, whole: RunFolder, tmp_path: Path, share: float
) -> None:
    total = sum(u.n_tokens for u in units_of(len(job.pairs), job.plan))
    done = 0

    def until(n: int) -> None:
        nonlocal done
        done += n
        if done > share * total:
            raise Interrupted

    folder = job.folder(tmp_path / "run")
    with pytest.raises(Interrupted):
        job.run(folder, on_tokens=until)
    held = sum(folder.done(u.name, u.key(job.manifest["plan_hash"])) for u in units_of(len(job.pairs), job.plan))
    assert held < len(units_of(len(job.pairs), job.plan)) or share > 0.9  # the last report comes after the last part
    told: list[int] = []
    job.run(job.folder(tmp_path / "run"), on_tokens=told.append)
    assert sum(told) == total
    assert same_records(folder, whole)


def test_damaged_parts_are_made_again(job: Job, whole: RunFolder, tmp_path: Path) -> None:
    folder = job.run(job.folder(tmp_path / "run"))
    cut = folder.path / "tokens" / "free-00001.parquet"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (folder.path / "sequences" / "real-00000.parquet").write_bytes(b"")
    (folder.path / "tokens" / "tempered-00000.parquet").unlink()
    phases: list[str] = []
    job.run(folder, on_phase=phases.append)
    assert sorted(phases) == [
        "control",
        "running free",
        "scoring own text again",
        "scoring real text",
        "without its prefix",
    ]
    assert same_records(folder, whole)


def test_a_finished_run_is_not_run_again(job: Job, whole: RunFolder) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.path.rglob("*.parquet")}
    told: list[int] = []
    job.run(whole, on_phase=lambda name: pytest.fail(name), on_tokens=told.append)
    assert {p: p.stat().st_mtime_ns for p in whole.path.rglob("*.parquet")} == before
    assert sum(told) == sum(u.n_tokens for u in units_of(len(job.pairs), job.plan))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_changes_nothing_of_an_exact_predictor(
    job: Job, whole: RunFolder, tmp_path: Path, batch: int
) -> None:
    from dataclasses import replace

    other = replace(job, plan=replace(job.plan, batch=batch))
    a, b = load_records(whole), load_records(other.run(other.folder(tmp_path / "run")))
    for name in a.sequences:
        left, right = a.sequences[name], b.sequences[name]
        if name == "expected_counts":
            np.testing.assert_allclose(left, right, atol=1e-9)
        else:
            assert [str(x) for x in left] == [str(x) for x in right], name
    for name in a.tokens:
        np.testing.assert_allclose(a.tokens[name], b.tokens[name], atol=1e-12, err_msg=name)


def test_another_sampling_rule_reaches_the_free_arm_only(job: Job, whole: RunFolder, tmp_path: Path) -> None:
    from dataclasses import replace

    other = replace(job, plan=replace(job.plan, sampling=SamplingRule.of(top_k=2)))
    a, b = load_records(whole), load_records(other.run(other.folder(tmp_path / "run")))
    for arm in ("real", "free", "tempered"):
        same = all(
            a.tokens["token_id"][a.rows(i)].tolist() == b.tokens["token_id"][b.rows(i)].tolist()
            for i in a.chosen(arm=arm)
        )
        assert same == (arm != "free")
    for i in b.chosen(arm="free"):
        sampled = b.tokens["sample_log_prob_nats"][b.rows(i)]
        assert np.isfinite(sampled).all()
        assert (sampled >= b.tokens["log_prob_nats"][b.rows(i)] - 1e-12).all()  # a cut law gives what is left more


def test_another_seed_gives_other_samples_and_the_same_real_text(job: Job, whole: RunFolder, tmp_path: Path) -> None:
    from dataclasses import replace

    other = replace(job, plan=replace(job.plan, seed=4))
    a, b = load_records(whole), load_records(other.run(other.folder(tmp_path / "run")))
    for arm, equal in (("real", True), ("free", False)):
        ids = [[r.tokens["token_id"][r.rows(i)].tolist() for i in r.chosen(arm=arm)] for r in (a, b)]
        assert (ids[0] == ids[1]) == equal
