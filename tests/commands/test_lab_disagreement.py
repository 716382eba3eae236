"""The command line of `freerun lab disagreement`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freerun.commands.main import main

TINY = """\
source = "world/mess3"
models = 4
sizes = ["small"]
architectures = ["lstm", "transformer"]
optimizers = ["adamw", "muon"]
tokens = 12
train_texts = 32
validation_texts = 8
test_texts = 16
batch = 4
steps = 2
warmup_steps = 1
evaluate_every = 1
target_loss = 2.0
texts_per_rung = 8
permutations = 19
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["lab", "disagreement", "--help"])
    assert left.value.code == 0
    assert "freerun lab disagreement --dry-run" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "disagreement", "--plan", plan, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["members"]) == 4
    assert said["most_training_seconds"] > 0
    assert main(["lab", "disagreement", "--plan", plan, "--dry-run"]) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_run_prints_one_object(plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "disagreement", "--plan", plan, "-o", str(tmp_path / "run"), "--executor", "local"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["schema_version"], said["kind"], len(said["models"])) == (1, "disagreement", 4)
    assert err.index("expected 1") < err.index("models to train")
    assert main(words) == 0
    assert "Do the nulls sit where they must?" in capsys.readouterr().out


def test_another_plan_in_the_same_folder_is_refused(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lab", "disagreement", "--plan", plan, "-o", str(tmp_path / "run"), "--executor", "local"]
    assert main(words) == 0
    assert main([*words, "--seed", "1"]) == 4
    assert "plan" in capsys.readouterr().err


def test_models_that_are_there_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["world/markov", "world/markov,seed=1", "world/markov"]
    words = ["lab", "disagreement", "world/markov", "--models", *models, "--tokens", "16", "--texts", "8"]
    assert main([*words, "-o", str(tmp_path / "run"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["members"] == []
    assert next(f for f in said["findings"] if f["name"] == "nulls")["status"] == "good"
    assert (tmp_path / "run" / "report.html").exists()


def test_two_models_are_one_number_and_have_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "disagreement", "world/markov", "--models", "world/markov", "world/markov,seed=1"]
    assert main([*words, "--tokens", "16", "--texts", "8", "-o", str(tmp_path / "run"), "--json"]) == 0
    rise = json.loads(capsys.readouterr().out)["findings"][0]
    assert rise["status"] == "unknown"
    assert "2 models are too few" in rise["sentence"]
    assert rise["estimates"][0]["value"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "world/markov"], "at least two"),
        (["--models", "world/markov", "world/mess3"], "do not share a tokenizer"),
        (["--models", "world/markov", "world/markov", "--steps", "3"], "--models trains none"),
        (["world/marko"], "markov"),
        (["--models-trained", "2"], "at least 4"),
        (["--plan", "absent.toml"], "absent.toml"),
    ],
)
def test_what_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "disagreement", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
