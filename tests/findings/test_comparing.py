"""The comparisons of an audit on exact worlds: trained on train, adjusted, moved to other runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.comparisons.gates import judge_audit, parse_gate
from freerun.findings.detectability.comparison import KINDS, Comparison, compare, features_at, score_kinds
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.findings.plain_text import PlainText
from freerun.findings.summary import derive
from freerun.jobs.audit.audit import report
from freerun.records.store import Records, RunFolder, load_records
from freerun.stats.detection.two_sample import paired_permutation_p, smallest_detectable_auc

OPTIONS: dict[str, Any] = {"documents": 64, "tokens": 32, "prefix": 4}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    """A chain audited against another one: any detector sees it."""
    folder = tmp_path_factory.mktemp("runs")
    return freerun.audit("world/markov,seed=1", "world/markov,seed=0", out=folder / "bad", **OPTIONS)


@pytest.fixture(scope="module")
def found(bad: freerun.Run) -> Comparison:
    return compare(Evidence(load_records(RunFolder(bad.path))))


def test_the_detector_is_chosen_on_training_documents(bad: freerun.Run) -> None:
    """Test rows changed beyond recognition leave penalties and left-out scores as they were."""

    def trained(records: Records) -> list[tuple[tuple[float, ...], list[float]]]:
        evidence = Evidence(records)
        lengths, rng = lengths_up_to(evidence.panel.length), np.random.default_rng(0)
        each = (score_kinds(features_at(evidence, int(n)), evidence.panel.train, rng)["both"] for n in lengths)
        return [(scores.penalties, scores.train.ravel().tolist()) for scores in each]

    before = trained(load_records(RunFolder(bad.path)))
    records = load_records(RunFolder(bad.path))
    test = (records.sequences["split"] == "test")[records.token_sequence_index()]
    records.tokens["log_prob_nats"][test] = -1.0
    records.tokens["entropy_nats"][test] = 2.0
    assert trained(records) == before


def test_a_bad_model_is_detected_by_every_means(found: Comparison) -> None:
    assert found.detected
    assert found.first_rejected is not None
    assert found.first_rejected <= 8
    assert found.wealth.rejected_after is not None
    assert found.own_wealth.rejected_after is None  # at most 5%, at a seed fixed before
    assert found.tv_low[-1] > 0.3
    assert (np.diff(found.tv_low) >= 0).all()
    assert found.kinds["text"][-1].auc.value > 0.9
    assert list(found.kinds) == [name for name, kind in KINDS.items() if not kind.own_lengths]
    assert found.main.detections is found.kinds["both"] or found.main.detections == found.kinds["both"]


def test_adjusted_p_values_cover_every_detector_and_length(found: Comparison) -> None:
    raw = np.array([[d.p_value for d in found.kinds[k]] for k in found.kinds])
    assert found.adjusted_p.shape == raw.shape == (3, 6)
    assert (found.adjusted_p >= raw).all()
    assert found.adjusted_p.min() == pytest.approx(min(1.0, raw.min() * raw.size))


def test_smallest_detectable_auc_has_the_power_that_it_says() -> None:
    """Scores shifted so that the AUC is the one promised: rejected at 0.01 in 80% of 300 runs, give or take; the normal
    law and equal spread are approximations, and fewer than 65% or more than 93% would have probability below 1e-8 at 80%."""
    rng = np.random.default_rng(0)
    n = 60
    auc = smallest_detectable_auc(rng.normal(size=n), rng.normal(size=(n, 1)), alpha=0.01, power=0.8)
    from scipy.special import ndtri

    shift = np.sqrt(2) * ndtri(auc)
    hits = sum(
        paired_permutation_p(rng.normal(size=n), rng.normal(shift, 1, (n, 1)), n_permutations=999, rng=rng) < 0.01
        for _ in range(300)
    )
    assert 0.65 * 300 < hits < 0.93 * 300


def test_null_spread_is_that_of_random_swaps() -> None:
    """The exact spread against 20 000 random swaps with two replicates (standard error 0.5%)."""
    from scipy.special import ndtri

    rng = np.random.default_rng(3)
    real, free = rng.normal(size=12), rng.normal(size=(12, 2))
    spread = (smallest_detectable_auc(real, free, alpha=0.01, power=0.8) - 0.5) / (ndtri(0.99) + ndtri(0.8))
    pooled = np.concatenate([real[:, None], free], axis=1)
    aucs = []
    for _ in range(20_000):
        at = rng.integers(0, 3, 12)
        mine = pooled[np.arange(12), at]
        others = pooled[np.arange(3) != at[:, None]]
        aucs.append((others[:, None] > mine).mean())
    assert np.std(aucs) == pytest.approx(spread, rel=0.03)


def test_tables_and_charts_of_the_finding(bad: freerun.Run) -> None:
    finding = bad.findings["detectability"]
    tables = {t["name"]: t for t in finding["tables"]}
    assert set(tables) == {"controls", "battery", "giveaways", "leaks"}
    assert len(tables["battery"]["rows"]) == 6
    assert [c["name"] for c in finding["charts"]] == ["auc_by_length", "tv_by_length", "wealth"]
    assert bad.result["verdict"]["outcome"] == "told_apart"


def test_a_detector_moves_between_runs_of_one_defect_and_not_to_none(bad: freerun.Run, tmp_path: Path) -> None:
    """Trained on seed 5 of the same pair it sees this run; the bad run's detector sees nothing in a perfect one (AUC of 32 test
    documents: standard error 0.07, within 0.5 ± 0.28 but for 1e-4)."""
    again = freerun.audit("world/markov,seed=1", "world/markov,seed=0", out=tmp_path / "again", seed=5, **OPTIONS)
    result = report(bad.path, transfer=again.path).findings["transfer"]
    values = {e["name"]: e["value"] for e in result["estimates"]}
    assert values["transferred_auc"] > 0.9
    perfect = freerun.audit("world/markov", "world/markov", out=tmp_path / "perfect", **OPTIONS)
    result = report(perfect.path, transfer=bad.path).findings["transfer"]
    values = {e["name"]: e["value"] for e in result["estimates"]}
    assert 0.22 < values["transferred_auc"] < 0.78
    report(bad.path)


def test_text_is_cut_after_tokens(bad: freerun.Run) -> None:
    records = load_records(RunFolder(bad.path))
    words = PlainText(Evidence(records))
    for s in (0, 5, records.n_sequences - 1):
        assert words.first(s, 1000) == str(records.sequences["text"][s]).encode()
        assert len(words.first(s, 3)) == records.tokens["n_bytes"][records.rows(s)][:3].sum()
    spelled = words.spelling
    records.sequences["text"][0] = (
        "�" + str(records.sequences["text"][0])[1:]
    )  # a byte that is not a character shows as three
    again = PlainText(Evidence(records))
    assert not again.whole(0)
    assert again.first(0, 4) == b"".join(spelled[int(i)] for i in records.tokens["token_id"][records.rows(0)][:4])


# ---- texts that end early ----------------------------------------------------------------------------------------------


def ended(records: Records, last: dict[int, int]) -> Records:
    """The records with some sequences ended by themselves after so many tokens."""
    kept = np.ones(len(records.tokens["token_id"]), bool)
    lengths = np.diff(records.starts).copy()
    reasons = records.sequences["end_reason"].copy()
    for i, n in last.items():
        kept[int(records.starts[i]) + n : int(records.starts[i + 1])] = False
        lengths[i], reasons[i] = n, "end_of_text"
    tokens = {name: records.tokens[name][kept] for name in records.tokens}
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Records(records.manifest, records.sequences | {"end_reason": reasons}, tokens, starts)


def test_where_few_reach_the_end_the_longest_length_that_enough_reach_is_judged(bad: freerun.Run) -> None:
    """52 of 64 first free texts end at token 20 of 32, one at token 16 with its end as its sixteenth: 12 whole pairs, 63 at 16."""
    records = load_records(RunFolder(bad.path))
    free = records.chosen(arm="free", replicate=0)
    short = ended(records, {int(i): 20 for i in free[:52]} | {int(free[0]): 16})
    evidence = Evidence(short)
    assert (evidence.whole_panel.n_pairs, evidence.whole_panel.enough) == (12, False)
    assert (evidence.panel.length, evidence.panel.n_pairs, evidence.panel.n_dropped) == (16, 63, 1)
    found = compare(evidence)
    assert found.lengths.tolist() == [1, 2, 4, 8, 16]
    at = int(records.chosen(arm="free", replicate=0)[3])
    columns = evidence.panel.columns(np.array([at]))
    np.testing.assert_array_equal(columns.ids[0], records.tokens["token_id"][records.rows(at)][:16])

    result = derive(short)
    by_name = {f.name: f for f in result.findings}
    assert "at 16 tokens" in by_name["detectability"].sentence
    assert any("only 12 of 64 pairs reach token 32" in note for note in by_name["detectability"].notes)
    assert by_name["divergences"].status == "unknown"  # places whole texts
    assert any("judged up to token 16 only" in threat.title for threat in result.threats)


def test_a_horizon_beyond_the_judged_length_is_undecided_and_not_passed() -> None:
    """The curve ends at 16 of 32 tokens and stays at chance: at least 12 is decided, at least 24 is not."""
    e = {
        "name": "h75",
        "label": "H75",
        "value": None,
        "low": None,
        "high": None,
        "level": 0.95,
        "n": 32,
        "unit": "tokens",
        "text": "> 16",
        "ends": {"first_tokens": 1, "last_tokens": 16, "value": "beyond", "low": "beyond", "high": "beyond"},
    }
    result = {
        "plan": {"tokens": 32, "documents": 64, "sampling": "temperature 1, full vocabulary"},
        "findings": [{"name": "detectability", "estimates": [e]}],
    }
    decisions = {
        text: judge_audit(result, [parse_gate(text, relative=False)])[0] for text in ("horizon<12", "horizon<24")
    }
    assert decisions["horizon<12"].decision == "pass"
    assert decisions["horizon<24"].decision == "undecided"
    assert "up to 16 tokens only" in decisions["horizon<24"].words
