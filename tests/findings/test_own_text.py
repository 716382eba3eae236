"""A sampler whose record is not the scorer's law: refused as evidence, everywhere, and no right one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import freerun
from freerun.commands.main import main
from freerun.comparisons.gates import HORIZON_LEVELS, NAMES, judge_audit, judge_compare, parse_gate
from freerun.exports.model_card import card_section, model_index
from freerun.exports.tables import document_columns, estimate_columns
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.registry import GATES, QUESTIONS
from freerun.jobs.audit import preparing
from freerun.jobs.audit.audit import audit
from freerun.jobs.compare import compare
from freerun.predictors.base import Predictor
from freerun.records.rescoring import n_rescored_texts
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import to_json
from freerun.runs.run import evidence_of

from .planted_samplers import Planted, StaleJoin, StaleSelect, chain, counted, letters

OPTIONS: dict[str, Any] = {"documents": 40, "prefix": 8, "tokens": 32}
ROOT = Path(__file__).parents[2]


def estimates(run: freerun.Run, finding: str = "self_recognition") -> dict[str, dict[str, Any]]:
    return {e["name"]: e for e in run.findings[finding]["estimates"]}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return audit(chain(), "world/markov", out=tmp_path_factory.mktemp("right") / "run", **{**OPTIONS, "documents": 64})


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    out = tmp_path_factory.mktemp("refused") / "run"
    return audit(Planted(chain(), chain(1)), "world/markov", out=out, **{**OPTIONS, "documents": 64})


# ---- what is refused, and what is not ----------------------------------------------------------------------------------


PLANTED: dict[str, Any] = {
    "another sampler": lambda: Planted(chain(), chain(1)),
    "another scorer": lambda: Planted(chain(1), chain()),
    "only after token 24": lambda: Planted(chain(), chain(1), after=24),
    "only the last token": lambda: Planted(chain(), chain(1), after=31),
    "only every fourth row": lambda: Planted(chain(), chain(1), every=4),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_law_behind_the_sampler_is_refused(name: str, tmp_path: Path) -> None:
    """The sampler's audit passes: text and record agree with each other. Committed seeds; a true null is rejected once in 1,000."""
    run = audit(PLANTED[name](), "world/markov", out=tmp_path / "run", **OPTIONS)
    assert run.result["own_text"] == {
        "sampler_audit": "passed",
        "rescoring": "failed",
        "own_law": True,
        "fault": "rescoring",
    }
    assert run.result["verdict"]["status"] == "unknown"
    assert "refused as evidence" in run.verdict
    assert estimates(run)["rescoring_gap_max_nats"]["value"] > 0.1
    share, first = (estimates(run)[f"rescoring_off_{what}"]["value"] for what in ("share", "from_token"))
    after, every = {"only after token 24": 24, "only the last token": 31}.get(name, 0), 4 if "fourth" in name else 1
    assert share == (1.0 if every == 1 else 0.25) or after == 31
    assert after < first <= after + 4
    assert "AUC" not in run.findings["self_recognition"]["sentence"]


@pytest.mark.parametrize("kind", [StaleSelect, StaleJoin])
def test_a_stale_state_is_refused(kind: Any, tmp_path: Path) -> None:
    """Rows that end leave their state to others, or new rows get an old one: the small relatives of a stale cache."""
    options = {**OPTIONS, "batch": 16, "prefix": 4}
    run = audit(counted(kind), letters(), out=tmp_path / "run", **options)
    assert run.result["own_text"]["fault"] == "rescoring"
    assert run.result["own_text"]["sampler_audit"] == "passed"
    good = audit(counted(), letters(), out=tmp_path / "good", **options)
    assert good.result["own_text"]["fault"] is None
    assert estimates(good)["rescoring_gap_max_nats"]["value"] < 1e-9


@pytest.mark.parametrize(
    "spec",
    [
        "world/markov",
        "world/mess3",
        "world/pcfg",
        "world/markov+temperature,t=0.5",
        "world/markov+absorbing,epsilon=0.02",
    ],
)
def test_right_predictors_pass(spec: str, tmp_path: Path) -> None:
    run = audit(spec, spec.split("+")[0], out=tmp_path / "run", documents=24, prefix=8, tokens=16)
    assert run.result["own_text"]["rescoring"] == "passed"
    assert estimates(run)["rescoring_gap_max_nats"]["value"] < 1e-9
    assert estimates(run)["rescored_tokens"]["n"] == n_rescored_texts(48, 16)


def test_another_sampling_rule_is_scored_again_under_the_models_law(tmp_path: Path) -> None:
    run = audit(chain(), "world/markov", out=tmp_path / "run", sample_with="t=0.6", **OPTIONS)
    assert run.result["own_text"] == {
        "sampler_audit": "failed",
        "rescoring": "passed",
        "own_law": False,
        "fault": None,
    }
    wrong = audit(Planted(chain(), chain(1)), "world/markov", out=tmp_path / "wrong", sample_with="t=0.6", **OPTIONS)
    assert wrong.result["own_text"]["fault"] == "rescoring"


def test_old_records_are_not_refused(refused: freerun.Run) -> None:
    """Without the columns nothing is measured: the run is what it was before there was a second look."""
    records = load_records(RunFolder(refused.path))
    records.tokens["fresh_log_prob_nats"] = np.full(len(records.tokens["sequence"]), np.nan)
    own = own_text_of(Evidence(records))
    assert (own.rescoring, own.fault) == ("not_measured", None)


def test_one_law_without_mass_is_an_infinite_difference(right: freerun.Run) -> None:
    records = load_records(RunFolder(right.path))
    fresh = records.tokens["fresh_log_prob_nats"].copy()
    at = np.flatnonzero(~np.isnan(fresh))[5]
    fresh[at] = -np.inf
    records.tokens["fresh_log_prob_nats"] = fresh
    assert own_text_of(Evidence(records)).fault == "rescoring"
    log_prob = records.tokens["log_prob_nats"].copy()
    log_prob[at] = -np.inf
    records.tokens["log_prob_nats"] = log_prob
    assert own_text_of(Evidence(records)).rescoring == "passed"  # neither law gives it mass


# ---- everything that asks ----------------------------------------------------------------------------------------------


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "world/markov", "world/markov", "--documents", "64", "--prefix", "8", "--tokens", "32"]
    assert main([*words, "-o", str(tmp_path / "right"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["own_text"]["fault"] is None
    monkeypatch.setattr(preparing, "load_predictor", lambda *_, **__: Planted(chain(), chain(1)))
    words += ["-o", str(tmp_path / "run")]
    assert main(words) == 3
    assert "refused as evidence" in capsys.readouterr().out.replace("\n", " ")
    assert main([*words, "--fail-on", "loss_nats>0.1"]) == 1
    assert main([*words, "--fail-on", "horizon<4"]) == 3
    assert main([*words, "--fail-on", "sampler_p<0.001"]) == 3
    assert main(["report", str(tmp_path / "run")]) == 3


def test_gates_on_own_text_are_undecided_and_those_on_real_text_are_judged(refused: freerun.Run) -> None:
    for name, gauge in ((n, GATES[n]) for n in NAMES):
        gate = parse_gate(f"{name}<{64 if GATES[name] in HORIZON_LEVELS else -1000}", relative=False)
        (judged,) = judge_audit(refused.result, [gate])
        if gauge.own_text:
            assert judged.decision == "undecided", name
            assert "refused" in judged.words
        elif name not in ("sampler_p", "prefix_worth", "rare_tokens"):  # not measured in a world of 8 symbols
            assert judged.decision == "pass", name


def test_no_estimate_of_own_text_is_left(right: freerun.Run, refused: freerun.Run) -> None:
    allowed = {(q.finding, q.name) for question in QUESTIONS for q in question.quantities if not q.own_text}
    own = {(g.finding, g.name) for g in GATES.values() if g.own_text}
    assert not own & allowed
    for finding in refused.result["findings"]:
        for e in finding["estimates"]:
            assert (finding["name"], e["name"]) in allowed or e["name"].startswith(("rescored", "rescoring")), e["name"]
        for chart in finding["charts"]:
            if chart["name"] != "rescoring_by_position":
                assert not {s["role"] for s in chart["series"]} & {"free", "tempered", "control"}, chart["name"]
    assert refused.result["texts"] == []
    assert refused.result["yardsticks"] is None
    for name in ("loss", "calibration", "memory", "certificates"):  # as they are in the right run: the same scorer
        a, b = (estimates(r, name) for r in (right, refused))
        assert {k: b[k]["value"] for k in b} == pytest.approx({k: a[k]["value"] for k in b}, abs=1e-12)
        assert refused.findings[name]["sentence"][:60] == right.findings[name]["sentence"][:60]
        assert b


def test_the_result_is_valid_and_the_page_shows_the_second_look(refused: freerun.Run, right: freerun.Run) -> None:
    schema = json.loads((ROOT / "docs" / "result.schema.json").read_text())
    for run in (refused, right):
        jsonschema.validate(json.loads((run.path / "result.json").read_text()), schema)
        page = run.report.read_text()
        assert "Own text scored again" in page
        assert [c["name"] for c in run.findings["self_recognition"]["charts"]].count("rescoring_by_position") == 1
    assert "refused" in refused.report.read_text()


def test_comparisons_leave_out_what_rests_on_refused_text(right: freerun.Run, refused: freerun.Run) -> None:
    result = to_json(compare(right.path, refused.path))
    (pair,) = result["pairs"]
    assert pair["own_text_refused"] == ["world/planted"]
    assert not [d["name"] for d in pair["differences"] if d["own_text"]]
    assert pair["told_apart"] is None
    assert "own text" in result["verdict"]["sentence"].lower()
    assert "refused" in result["verdict"]["sentence"]
    loss = next(d for d in pair["differences"] if d["name"] == "loss_nats_per_token")
    assert loss["value"] == 0.0
    (judged,) = judge_compare(result, [parse_gate("horizon<-1", relative=True)])
    assert judged.decision == "undecided"
    assert "refused" in judged.words
    third = to_json(compare(right.path, refused.path, _again(right)))
    assert not [d["name"] for d in third["trends"] if d["own_text"]]


def _again(run: freerun.Run) -> Path:
    return audit(
        chain(), "world/markov", out=run.path.parent / "again", **{**OPTIONS, "batch": 64, "documents": 64}
    ).path


def test_exports_hold_no_refused_number(refused: freerun.Run) -> None:
    assert "refused as evidence" in card_section(refused.result)
    shown = {m["type"] for m in model_index(refused.result)["model-index"][0]["results"][0]["metrics"]}
    assert shown <= {"loss_nats_per_token", "loss_bits_per_byte", "top1_overconfidence"}
    assert "own_surprisal_nats_per_token" not in estimate_columns(refused.result)["name"]
    documents = document_columns(evidence_of(refused.path))
    assert "loss_nats_per_token" in documents["name"]
    assert not {"own_surprisal_nats_per_token", "loop_incidence", "own_z_mean"} & set(documents["name"])


def test_a_sweep_says_which_setting_is_refused(tmp_path: Path) -> None:
    from freerun.jobs.sweep.sweep import run_sweep

    wrong: Predictor = Planted(chain(), chain(1))
    done = run_sweep(wrong, "world/markov", {"prefix": (4, 8)}, out=tmp_path / "sweep", documents=40, tokens=16)
    assert done.result["verdict"]["status"] == "unknown"
    assert "refused as evidence in prefix" in done.result["verdict"]["detail"]
