"""`--sweep`: one plan, the same continuations in every setting, each a normal audit; and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.commands.sweep import tell_sweep_forecast, told
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.jobs.sweep.forecast import forecast_sweep
from freerun.jobs.sweep.sweep import Sweep, parse_axes, plan_sweep, report_sweep, run_sweep
from freerun.records.store import RunFolder, load_records
from freerun.runs.progress import Silent
from freerun.runs.run import open_run

WORDS = [
    "the",
    "marsh",
    "heron",
    "waits",
    "while",
    "copper",
    "lanterns",
    "drift",
    "past",
    "an",
    "old",
    "quarry",
    "gate",
]
OPTIONS: dict[str, Any] = {"documents": 32, "tokens": 8, "batch": 32}
AXES = {"prefix": (4, 24), "exemplars": (0, 2)}


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rng = np.random.default_rng(5)
    rows = [{"text": " ".join(rng.choice(WORDS, 40))} for _ in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def swept(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Prefixes 4 and 24, then 0 and 2 exemplars before the base prefix 24: three settings, one on both axes."""
    out = tmp_path_factory.mktemp("runs") / "sweep"
    return run_sweep(f"ngram/3@{corpus}", corpus, AXES, out=out, prefix=24, **OPTIONS)


# ---- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "a sweep needs an axis"),
        (["prefx=1,2"], "did you mean 'prefix'"),
        (["tokens=1,2"], "wanted prefix=N,N,… or exemplars=N,N,…"),
        (["prefix"], "wanted prefix="),
        (["prefix=8"], "at least two values"),
        (["prefix=8,"], "'' is not a number of tokens"),
        (["prefix=8,-1"], "'-1' is not a number of tokens"),
        (["prefix=8,1.5"], "'1.5' is not a number"),
        (["exemplars=1,two"], "'two' is not a number of documents"),
        (["prefix=8,32,8"], "holds 8 twice"),
        (["prefix=8,32", "prefix=1,2"], "prefix=… is given twice"),
    ],
)
def test_bad_axes_get_one_line(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("…", ".")):
        parse_axes(texts)


def test_axes_are_read_in_order() -> None:
    assert parse_axes(["exemplars=4,0, 1", "prefix=32,8"]) == {"exemplars": (0, 1, 4), "prefix": (8, 32)}


def test_all_settings_share_the_cut_and_a_shared_setting_is_measured_once() -> None:
    plan = plan_sweep({"prefix": (8, 64), "exemplars": (0, 2)}, AuditOptions(prefix=64))
    assert plan.names == ("prefix-8", "prefix-64", "exemplars-2")
    assert [(s.prefix, s.exemplars, s.cut) for s in plan.settings] == [(8, 0, 64), (64, 0, 64), (64, 2, 64)]
    assert [axis.members for axis in plan.axes] == [(0, 1), (1, 2)]
    only = plan_sweep({"exemplars": (1, 3)}, AuditOptions(prefix=16))
    assert [(s.prefix, s.exemplars, s.cut) for s in only.settings] == [(16, 1, 16), (16, 3, 16)]
    later = plan_sweep({"prefix": (8, 64)}, AuditOptions(cut=100))
    assert {s.cut for s in later.settings} == {100}


@pytest.mark.parametrize(
    ("axes", "options", "said"),
    [
        ({"prefix": (8, 16)}, {"prefix": 64}, "--prefix 64 has no place beside --sweep prefix"),
        ({"exemplars": (0, 1)}, {"exemplars": 2}, "--exemplars 2 has no place beside"),
        ({"prefix": (8, 64)}, {"cut": 32}, "--cut 32 lies inside the prefix of 64 tokens"),
        ({"prefix": (8, 64)}, {"redact_text": True}, "--redact-text needs --prefix 16"),
    ],
)
def test_plans_that_contradict_themselves(axes: dict[str, tuple[int, ...]], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_sweep(axes, AuditOptions(**options))


def test_prefixes_longer_than_the_documents_say_how_many_would_be_left(corpus: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, TooFewDocuments)) as caught:
        run_sweep(f"ngram/2@{corpus}", corpus, {"prefix": (8, 100, 4000)}, out=tmp_path / "s", **OPTIONS)
    said = str(caught.value)
    assert "a sweep cuts every document after its longest prefix" in said
    assert "40 if the longest were 8, 40 if the longest were 100, 0 if the longest were 4000" in said
    assert not (tmp_path / "s").exists()
    with pytest.raises(TooFewDocuments, match=r"^--exemplars 40 needs at least 41 train units"):
        run_sweep(f"ngram/2@{corpus}", corpus, {"exemplars": (0, 40)}, out=tmp_path / "s", **OPTIONS)


# ---- what is made ------------------------------------------------------------------------------------------------------


def test_settings_hold_the_same_continuations_after_different_context(swept: Sweep) -> None:
    held = {name: load_records(RunFolder(swept.path / name)) for name in ("prefix-4", "prefix-24", "exemplars-2")}
    long = held["prefix-24"]
    for name, records in held.items():
        assert [str(d) for d in records.sequences["document_id"]] == [str(d) for d in long.sequences["document_id"]]
        real = records.chosen(arm="real")
        for i in real:
            assert np.array_equal(records.tokens["token_id"][records.rows(i)], long.tokens["token_id"][long.rows(i)])
            mine, theirs = (list(r.sequences["prefix_ids"][i]) for r in (records, long))
            assert mine == theirs[len(theirs) - len(mine) :]
            assert len(mine) == (4 if name == "prefix-4" else 24)
        assert records.sequences["key"].tolist() == long.sequences["key"].tolist()  # the same random numbers


def test_each_setting_is_the_audit_that_its_command_makes(swept: Sweep, corpus: str) -> None:
    """Plans by hand: --prefix 4 --cut 24, and --prefix 24, which needs no cut."""
    by_hand = prepare(f"ngram/3@{corpus}", corpus, AuditOptions(prefix=4, cut=24, **OPTIONS)).manifest
    held = json.loads((swept.path / "prefix-4" / "manifest.json").read_text())
    assert held["plan_hash"] == by_hand["plan_hash"]
    assert "--prefix 4" in held["command"]
    assert "--cut 24" in held["command"]
    plain = prepare(f"ngram/3@{corpus}", corpus, AuditOptions(prefix=24, **OPTIONS)).manifest
    held = json.loads((swept.path / "prefix-24" / "manifest.json").read_text())
    assert held["plan_hash"] == plain["plan_hash"]
    assert held["plan"]["cut"] == held["plan"]["prefix"]
    said = json.dumps(open_run(swept.path / "prefix-4").findings["loss"])
    assert "tokens 25 to 32 of each document, given the 4 before the cut and all after it" in said


def test_only_documents_that_are_whole_everywhere_are_compared(swept: Sweep) -> None:
    """A byte n-gram ends texts by itself; what ends in one setting is left out of all."""
    whole = []
    for name in ("prefix-4", "prefix-24", "exemplars-2"):
        s = load_records(RunFolder(swept.path / name)).sequences
        ended = {
            d
            for d, n, arm in zip(s["document_id"], s["end_reason"], s["arm"], strict=True)
            if arm == "free" and n == "end_of_text"
        }
        whole.append(set(s["document_id"]) - ended)
    kept = len(set.intersection(*whole))
    assert kept < 32
    assert [s["pairs_left_out"] for s in swept.result["settings"]] == [32 - kept] * 3


def test_what_a_window_does_not_reach_changes_nothing(swept: Sweep) -> None:
    """A trigram reads two tokens, so that every setting has the same texts: no trend, no interval and no test by rounding."""
    for axis in swept.result["axes"]:
        assert axis["outcome"] == "none"
        for contrast in (axis["trend"], axis["loss_trend"], axis["differences"][0]["mean_auc"]):
            assert contrast["value"] == 0.0
            assert contrast["degenerate"]
            assert [contrast[k] for k in ("low", "high", "p_value", "adjusted_p")] == [None] * 4
        assert "(the same in every setting)" in axis["sentence"]
        assert f"the loss is the same whatever the {axis['key']}" in swept.result["verdict"]["detail"]
    assert swept.result["verdict"]["next_step"] is None  # more documents would show no more
    assert "no interval" in swept.report.read_text()


def test_slope_and_loss_a_second_way(corpus: str, tmp_path: Path) -> None:
    """Of a model whose window reaches the prefix."""
    swept = run_sweep(f"ngram/7@{corpus}", corpus, {"prefix": (1, 24)}, out=tmp_path / "sweep", **OPTIONS)
    axis = next(a for a in swept.result["axes"] if a["key"] == "prefix")
    mean = [np.mean([a["value"] for a in swept.result["settings"][i]["auc_by_length"]]) for i in axis["settings"]]
    assert axis["trend"]["value"] == pytest.approx((mean[1] - mean[0]) / np.log2(25 / 2))
    assert axis["trend"]["low"] < axis["trend"]["value"] < axis["trend"]["high"]
    assert not axis["trend"]["degenerate"]
    losses = []
    for name in ("prefix-1", "prefix-24"):
        records = load_records(RunFolder(swept.path / name))
        real = (records.sequences["arm"] == "real")[records.token_sequence_index()]
        losses.append(-records.tokens["log_prob_nats"][real].mean())
    assert axis["differences"][0]["loss_nats_per_token"]["value"] == pytest.approx(losses[1] - losses[0])


def test_the_verdict_claims_no_causes(swept: Sweep) -> None:
    assert [a["key"] for a in swept.result["axes"]] == ["prefix", "exemplars"]
    assert "with this much context" in swept.verdict
    assert "context also changes the predictor's own error" in swept.result["verdict"]["detail"]
    assert "equal" not in swept.verdict
    page = swept.report.read_text()
    assert "<script" not in page
    assert "prefix‑4" in page
    assert "--sweep prefix=4,24 --sweep exemplars=0,2" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_sweep_again_measures_nothing(swept: Sweep, corpus: str) -> None:
    parts = {p: p.stat().st_mtime_ns for p in swept.path.rglob("*.parquet")}
    heard = Heard()
    again = run_sweep(f"ngram/3@{corpus}", corpus, AXES, out=swept.path, progress=heard, prefix=24, **OPTIONS)
    assert {p: p.stat().st_mtime_ns for p in swept.path.rglob("*.parquet")} == parts
    assert sum(" is finished" in line for line in heard.lines) == 3
    assert {**again.result, "created": ""} == {**swept.result, "created": ""}
    with pytest.raises(DataError, match="holds a sweep of another plan"):
        run_sweep(f"ngram/3@{corpus}", corpus, {"prefix": (4, 24)}, out=swept.path, **OPTIONS)
    with pytest.raises(DataError, match="is there and is not a sweep"):
        run_sweep(f"ngram/3@{corpus}", corpus, AXES, out=swept.path / "prefix-4", prefix=24, **OPTIONS)


def test_a_setting_that_is_gone_is_named(swept: Sweep, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text((swept.path / "sweep.json").read_text())
    with pytest.raises(DataError, match="setting prefix-4 is not there; go on with: freerun audit"):
        report_sweep(tmp_path)
    with pytest.raises(DataError, match="no sweep here"):
        report_sweep(tmp_path / "none")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        report_sweep(tmp_path)


# ---- on the command line -----------------------------------------------------------------------------------------------


def test_report_derives_it_again(swept: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(swept.path), "--json"]) == 0
    read = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} in the result"))
    assert {**read, "created": ""} == {**swept.result, "created": ""}
    assert told(swept, as_json=False) == 0
    out = capsys.readouterr().out
    assert "mean AUC" in out
    assert "exemplars-2" in out
    assert main(["report", str(swept.path), "--transfer", "x"]) == 2
    assert "is a sweep" in capsys.readouterr().err


def test_gates_are_refused_and_a_dry_run_adds_up(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["audit", f"ngram/3@{corpus}", corpus, "--documents", "32", "--tokens", "16", "--sweep", "prefix=4,24"]
    assert main([*words, "--fail-on", "horizon<4"]) == 2
    assert "--fail-on judges one run" in capsys.readouterr().err
    assert main([*words, "--dry-run", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["kind"] == "sweep_forecast"
    parts = [one["seconds"]["low"] for one in read["settings"].values()]
    assert read["seconds"]["low"] == pytest.approx(sum(parts) + read["comparing_seconds"]["low"])
    assert read["disk_bytes"]["high"] == pytest.approx(sum(o["disk_bytes"]["high"] for o in read["settings"].values()))
    assert read["folder"].startswith("runs/ngram-3")
    assert "-sweep-" in read["folder"]
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_for_people(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = AuditOptions(**OPTIONS)
    tell_sweep_forecast(forecast_sweep(f"ngram/3@{corpus}", corpus, {"prefix": (4, 24)}, options), sys.stdout)
    out = capsys.readouterr().out
    assert "2 settings" in out
    assert "prefix-24" in out
    assert "nothing was written" in out
