"""Comparing runs: differences that are known exactly, the same numbers as each run's own report, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.commands.main import main
from freerun.comparisons.curves import run_curve
from freerun.comparisons.gates import judge_compare, parse_gate
from freerun.errors import DataError, UsageError
from freerun.findings.evidence import lengths_up_to
from freerun.findings.registry import sums_of
from freerun.jobs.compare import compare as compare_typed
from freerun.report.pages.compare import render_compare
from freerun.results.finding import to_json
from freerun.runs.run import evidence_of


def compare(*paths: Path, **options: Any) -> dict[str, Any]:
    """The comparison as it stands in JSON."""
    return dict(to_json(compare_typed(*paths, **options)))


@pytest.fixture(scope="module")
def found(base: freerun.Run, cold: freerun.Run) -> dict[str, Any]:
    return compare(base.path, cold.path)


def differences(result: dict[str, Any], pair: int = 0) -> dict[str, dict[str, Any]]:
    return {d["name"]: d for d in result["pairs"][pair]["differences"]}


def test_document_values_add_up_to_every_estimate_of_the_report(base: freerun.Run, cold: freerun.Run) -> None:
    """A second way: the sums over documents give the numbers that the findings computed by themselves."""
    for run in (base, cold):
        known = {(f["name"], e["name"]): e["value"] for f in run.result["findings"] for e in f["estimates"]}
        sums = sums_of(evidence_of(run.path))
        assert len(sums) >= 15
        for s in sums:
            q = s.quantity
            if known.get((q.finding, q.name)) is not None:
                assert s.value == pytest.approx(known[q.finding, q.name], abs=1e-9), q.name


def test_curves_are_those_of_the_report(base: freerun.Run) -> None:
    charts = {c["name"]: c for c in base.findings["detectability"]["charts"]}
    drawn = charts["auc_by_length"]["series"][0]["y"]
    evidence = evidence_of(base.path)
    curve = run_curve(evidence, lengths_up_to(evidence.panel.length))
    assert curve.aucs.aucs.tolist() == pytest.approx(drawn, abs=1e-12)


def test_the_loss_difference_is_paired_token_by_token(
    base: freerun.Run, cold: freerun.Run, found: dict[str, Any]
) -> None:
    """By hand from both records, and much narrower than what two separate intervals would allow."""
    a, b = (evidence_of(run.path).records for run in (base, cold))
    gaps = []
    for i in a.chosen(arm="real"):
        (j,) = b.chosen(arm="real", document_id=a.sequences["document_id"][i])
        gaps.append((a.tokens["log_prob_nats"][a.rows(int(i))] - b.tokens["log_prob_nats"][b.rows(int(j))]).mean())
    d = differences(found)["loss_nats_per_token"]
    assert d["value"] == pytest.approx(np.mean(gaps))
    assert d["standard_error"] == pytest.approx(np.std(gaps, ddof=1) / np.sqrt(64), rel=1e-9)
    assert d["high"] - d["value"] >= 1.9983 * d["standard_error"]  # t(63) at 97.5%, and more where documents are skewed
    assert d["low"] > 0
    assert d["found"]
    assert found["verdict"]["status"] == "bad"


def test_loss_and_horizon_come_first_and_own_text_does_not_change_the_loss(
    base: freerun.Run, deployed: freerun.Run
) -> None:
    result = compare(base.path, deployed.path)
    rows = result["pairs"][0]["differences"]
    assert [d["name"] for d in rows[:2]] == ["loss_nats_per_token", "h75"]
    assert [d["primary"] for d in rows[:3]] == [True, True, False]
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"], rows[0]["found"]) == (0.0, None, None, False)
    assert rows[0]["identical"]
    assert not rows[1]["identical"]
    assert "lose the same on every document" in result["verdict"]["sentence"]
    assert any("different rules" in c for c in result["cautions"])
    assert differences(result)["own_surprisal_nats_per_token"]["found"]


def test_what_no_document_shows_has_no_interval(found: dict[str, Any]) -> None:
    loops = differences(found)["loop_incidence"]
    assert (loops["value"], loops["low"], loops["high"], loops["p_value"], loops["found"]) == (
        0.0,
        None,
        None,
        None,
        False,
    )


def test_draws_with_the_same_keys_are_paired(base: freerun.Run, found: dict[str, Any]) -> None:
    assert found["pairs"][0]["draws"]["texts_with_same_key"] == 128
    again = compare(base.path, shutil.copytree(base.path, base.path.parent / "copy", dirs_exist_ok=True))
    draws = again["pairs"][0]["draws"]
    assert (draws["texts_with_same_key"], draws["texts_the_same"], draws["tokens_until_they_differ"]) == (
        128,
        128,
        16.0,
    )
    assert not any(d["found"] for d in again["pairs"][0]["differences"])
    assert again["verdict"]["status"] == "neutral"
    assert all(d["identical"] and d["low"] is d["p_value"] is None for d in again["pairs"][0]["differences"])
    assert "to" not in "".join(card["interval"] for card in again["headline"])
    gates = [parse_gate(text, relative=True) for text in ("loss_nats>+0.02", "horizon<-1", "auc>+0.01", "loops>+0.1")]
    assert [j.decision for j in judge_compare(again, gates)] == ["pass"] * 4
    (same,) = judge_compare(again, [parse_gate("loss_nats<+0.02", relative=True)])
    assert same.decision == "fail"


def test_three_runs_give_a_trend(base: freerun.Run, cold: freerun.Run, deployed: freerun.Run) -> None:
    result = compare(base.path, cold.path, deployed.path, x=[1, 2, 1.5], x_label="dose")
    assert result["kind"] == "trend"
    assert len(result["pairs"]) == 2
    slope = {d["name"]: d for d in result["trends"]}["loss_nats_per_token"]
    losses = [r["loss_nats_per_token"]["value"] for r in result["runs"]]
    assert slope["value"] == pytest.approx(np.polyfit([1, 2, 1.5], losses, 1)[0])
    page = render_compare(result)
    assert "Trends over dose" in page
    assert "Loss on real text, by run" in page


def test_a_run_that_rules_out_real_tokens_has_an_infinite_loss_and_no_finite_means(
    base: freerun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ruling out the hardest tokens must not look like a lower loss."""
    from freerun.jobs import compare as module

    real = module.evidence_in

    def truncated(folder: Any) -> Any:
        evidence = real(folder)
        if folder.path.name == "other":
            log_prob = evidence.records.tokens["log_prob_nats"].copy()
            log_prob[(log_prob < -3) & evidence.tokens_of("real")] = -np.inf
            evidence.records.tokens["log_prob_nats"] = log_prob
        return evidence

    monkeypatch.setattr(module, "evidence_in", truncated)
    result = compare(base.path, shutil.copytree(base.path, tmp_path / "other"))
    held = differences(result)
    assert "infinite" in held["loss_nats_per_token"]["text"]
    assert "differ without bound" in result["verdict"]["sentence"]
    assert "loss_bits_per_byte" not in held
    assert any("no mass to some real tokens" in c for c in result["cautions"])


def changed(run: freerun.Run, folder: Path, **plan: Any) -> Path:
    """A copy of a run whose plan says something else."""
    shutil.copytree(run.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["plan"] |= plan
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("plan", "what", "lost"),
    [
        ({"corpus_fingerprint": "x", "corpus": "other"}, "corpora", "those of the texts"),
        ({"model": "vllm/some@http://host:1"}, "backends", "how the backend computes"),
        ({"context_rule": {"window": 8, "lead": []}}, "context rules", "different contexts"),
        ({"prefix": 9}, "prefixes", "different amounts of text before the cut"),
        ({"exemplars": 2}, "exemplars", "other documents first"),
    ],
)
def test_what_must_be_shared_is_refused_unless_asked_for(
    base: freerun.Run, tmp_path: Path, plan: dict[str, Any], what: str, lost: str
) -> None:
    other = changed(base, tmp_path / "other", **plan)
    with pytest.raises(UsageError, match=f"{what}.*--anyway"):
        compare(base.path, other)
    result = compare(base.path, other, anyway=True)
    assert [b["what"] for b in result["broken"]] == [what]
    assert lost in result["broken"][0]["lost"]
    assert what in result["verdict"]["detail"]
    assert "What no longer holds" in render_compare(result)


def test_other_tokens_are_seen_in_the_records(
    base: freerun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freerun.jobs import compare as module

    real = module.evidence_in

    def shifted(folder: Any) -> Any:
        evidence = real(folder)
        if folder.path.name == "other":
            evidence.records.tokens["token_id"] = evidence.records.tokens["token_id"] + 1
        return evidence

    monkeypatch.setattr(module, "evidence_in", shifted)
    other = shutil.copytree(base.path, tmp_path / "other")
    with pytest.raises(UsageError, match="tokenisations"):
        compare(base.path, other)
    result = compare(base.path, other, anyway=True)
    assert result["pairs"][0]["real_tokens_paired"] == 0
    assert "no tokens in common" in result["verdict"]["sentence"]


def test_bad_input_gets_one_line(base: freerun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="given twice"):
        compare(base.path, base.path)
    with pytest.raises(DataError, match="no run here"):
        compare(base.path, tmp_path)
    for words in (
        ["compare", str(base.path)],
        ["compare", "a", "b", "--x", "1,b"],
        ["compare", "a", "b", "--fail-on", "loss>1"],
    ):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("freerun: ")


def test_on_the_command_line(
    base: freerun.Run, cold: freerun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    code = main(["compare", str(base.path), str(cold.path), "-o", str(page), "--json", "--fail-on", "loss_nats>+0.02"])
    out = capsys.readouterr().out
    result = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in the result"))
    assert code == 1
    assert result["gates_decision"] == "fail"
    assert result["kind"] == "compare"
    text = page.read_text()
    assert "<script" not in text
    assert "loses" in text
    assert main(["compare", str(base.path), str(cold.path)]) == 0
    assert "Free-run horizon H75" in capsys.readouterr().out
