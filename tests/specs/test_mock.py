"""A backend that can only score and write whole texts, with holes in what it observes, from its name to the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.observation import Observation
from freerun.predictors.stepwise import Stepwise
from freerun.records.measure import measure
from freerun.records.store import load_records
from freerun.specs.spec import load_predictor

WORLD = "markov,seed=1"
TEXTS = [np.array([1, 4, 2, 0, 3, 3, 7]), np.array([5, 5, 6])]
UNKNOWN = (
    "entropy_nats",
    "varentropy_nats2",
    "cdf_below",
    "mass_above",
    "log_power_sum",
    "loop_mass",
    "expected_counts",
)


@pytest.fixture(scope="module")
def world() -> Predictor:
    return load_predictor(f"world/{WORLD}")


@pytest.fixture(scope="module", params=[0, 2])
def mock(request: pytest.FixtureRequest) -> Any:
    return load_predictor(f"mock/{request.param}@{WORLD}")


def check_shown(shown: Observation, whole: Observation, n_top: int) -> None:
    np.testing.assert_array_equal(shown.token_id, whole.token_id)
    np.testing.assert_array_equal(shown.log_prob_nats, whole.log_prob_nats)
    assert all(np.isnan(getattr(shown, name)).all() for name in UNKNOWN)
    known = whole.rank <= n_top
    np.testing.assert_array_equal(shown.rank, np.where(known, whole.rank, -1))
    np.testing.assert_array_equal(shown.top_id, whole.top_id if n_top else np.full(len(known), -1))
    np.testing.assert_array_equal(
        shown.top_log_prob_nats, whole.top_log_prob_nats if n_top else np.full(len(known), np.nan)
    )


def test_it_scores_and_writes_as_the_world_and_tells_less(mock: Any, world: Predictor) -> None:
    for shown, whole in zip(mock.score(TEXTS, first=1), world.score(TEXTS, first=1), strict=True):
        np.testing.assert_array_equal(shown.row, whole.row)
        check_shown(shown.observation, whole.observation, mock.n_top)
    for a, b in zip(mock.log_probs(TEXTS, first=1), world.log_probs(TEXTS, first=1), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    asked = Continuations([TEXTS[0][:3]], np.arange(4, dtype=np.uint64)[None], 9, seed=5)
    for sample, drawn in zip(mock.generate(asked), world.generate(asked), strict=True):
        check_shown(sample.observation, drawn.observation, mock.n_top)
        assert sample.uniform is None


def test_what_needs_steps_is_refused_by_name(mock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert not isinstance(mock, Stepwise)
    name = mock.identity.name
    with pytest.raises(UsageError, match=f"{name} gives no whole law token by token, which an organism .null. needs"):
        load_predictor(f"{name}+null")
    with pytest.raises(UsageError, match=f"{name} gives no whole law token by token, which a payload needs"):
        load_predictor(f"world/{WORLD}+payload,model=({name})")
    assert main(["predict", name, "abc"]) == 2
    assert f"{name} gives no law token by token, which predict needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("mock/markov", "give mock/TOP@WORLD"),
        ("mock/3@mrkov", "did you mean 'markov'"),
        ("(mock/3@markov),round=int8", "has no weights"),
    ],
)
def test_a_name_that_is_no_mock_is_one_clear_line(typed: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_predictor(typed)


def test_the_records_hold_nulls_where_nothing_is_known(mock: Any, tmp_path: Path) -> None:
    options = AuditOptions(documents=16, prefix=4, tokens=8, batch=8)
    ready = prepare(mock, f"world/{WORLD}", options, out=tmp_path / "run")
    assert ready.manifest["model"]["full_law"] is False
    ready.folder.open(ready.manifest)
    hash_ = ready.manifest["plan_hash"]
    measure(mock, ready.pairs.pairs, plan=ready.plan, plan_hash=hash_, folder=ready.folder, reference=ready.reference())
    parts = list(ready.folder.parts("tokens", ("rank", "top_id", "top_log_prob_nats", "entropy_nats", "uniform")))
    parts += list(ready.folder.parts("tokens", ("cdf_below", "loop_mass", "varentropy_nats2")))
    nulls = {
        name: sum(p[name].null_count for p in parts if name in p.column_names) for p in parts for name in p.column_names
    }
    records = load_records(ready.folder)
    n = sum(records.sequences["n_tokens"])
    always = ("entropy_nats", "varentropy_nats2", "uniform", "cdf_below", "loop_mass")
    assert all(nulls[name] == n for name in always)
    assert nulls["top_id"] == nulls["top_log_prob_nats"] == (0 if mock.n_top else n)
    assert 0 < nulls["rank"] < n if mock.n_top else nulls["rank"] == n
    assert np.isnan(records.sequences["expected_counts"].astype(float)).all()
    assert np.isfinite(records.tokens["log_prob_nats"]).all()


def test_an_audit_says_what_is_not_known_and_makes_no_number_of_it(
    mock: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--documents", "60", "--prefix", "4", "--tokens", "24", "-o", str(tmp_path / "run"), "--json"]
    assert main(["audit", mock.identity.name, f"world/{WORLD}", *words]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    findings = {f["name"]: f for f in result["findings"]}
    assert result["own_text"]["sampler_audit"] == "not_measured"
    for name in ("self_recognition", "drift", "calibration"):
        assert findings[name]["status"] == "unknown"
        assert "tells no whole laws" in findings[name]["sentence"]
    known = {name: {e["name"] for e in f["estimates"] if e["value"] is not None} for name, f in findings.items()}
    assert known["drift"] == known["calibration"] == set()
    assert known["self_recognition"] == {
        "rescored_tokens",
        *(f"rescoring_gap_{q}_nats" for q in ("median", "q90", "q99", "max")),
    }  # a fresh pass needs the tokens' own probabilities alone
    assert not {e for e in known["loops"] if "mass" in e}
    assert {"loss_nats_per_token"} <= known["loss"]
    assert {"auc_last"} <= known["detectability"]
    assert (tmp_path / "run" / "report.html").read_text().count("not measured")


def test_what_it_tells_is_what_the_world_tells(mock: Any, tmp_path: Path) -> None:
    run = {"documents": 60, "prefix": 4, "tokens": 24}
    one, two = (
        audit(m, f"world/{WORLD}", out=tmp_path / str(i), **run) for i, m in enumerate((mock, f"world/{WORLD}"))
    )
    values = [
        {
            (f["name"], e["name"]): e["value"]
            for f in json.loads(json.dumps(r.result))["findings"]
            for e in f["estimates"]
        }
        for r in (one, two)
    ]
    for key in (
        ("loss", "loss_nats_per_token"),
        ("memory", "prefix_worth_nats_per_token"),
        ("loops", "loop_incidence"),
    ):
        assert values[0][key] == values[1][key] is not None


def test_models_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    (listed,) = [p for p in json.loads(capsys.readouterr().out)["providers"] if p["spec"].startswith("mock/")]
    assert listed["exact"]
    assert not listed["weights"]
    assert listed["extra"] is None
