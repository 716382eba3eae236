"""The command line of `freerun lab disagreement`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from freerun.commands.main import main
from freerun.jobs.lab.disagreement.ladders import Rung
from freerun.jobs.lab.disagreement.scoring import RungScores

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
        (["--parts", "s3://bucket/runs"], "leave it out"),
        (["--parts", "s3://bucket/runs", "--executor", "pool:2"], "hand what they make back to this process"),
        (["--parts", "x", "--models", "world/markov", "world/markov"], "leave it out"),
    ],
)
def test_what_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "disagreement", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_what_is_kept_and_the_same_command_goes_on(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["lab", "disagreement", "--plan", plan, "-o", "run", "--executor", "local"]
    monkeypatch.chdir(tmp_path)
    kept: list[object] = []

    def keep_two(*given: object) -> None:
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(given)
        keep(*given)

    keep = monkeypatch_of("freerun.jobs.lab.disagreement.kept", "_keep", keep_two, monkeypatch)
    capsys.readouterr()
    assert main(words) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    again = "freerun lab disagreement --plan"
    assert "interrupted; 2 finished parts are kept in run; the same command goes on from there: " + again in last
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "models").glob("*.safetensors")}
    assert main(words) == 0
    weights = {p.name: p for p in (tmp_path / "run" / "models").glob("*.safetensors")}
    assert {name: weights[name].stat().st_mtime_ns for name in before} == before
    assert len(weights) == 4


def monkeypatch_of(module: str, name: str, put: object, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put something in the place of a function, which is returned."""
    before: Callable[..., None] = getattr(import_module(module), name)
    monkeypatch.setattr(f"{module}.{name}", put)
    return before


def test_models_that_are_there_go_on_from_the_last_rung(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is scored is not scored again, a damaged file is, and the result is that of an undisturbed run."""
    models = ["world/markov", "world/markov,seed=1", "world/markov,seed=2"]
    words = ["lab", "disagreement", "world/markov", "--models", *models, "--tokens", "16", "--texts", "8"]
    monkeypatch.chdir(tmp_path)
    assert main([*words, "-o", "undisturbed"]) == 0
    scored: list[str] = []
    most = 3

    def score_some(family: object, rung: Rung) -> RungScores:
        if len(scored) == most:
            raise KeyboardInterrupt
        scored.append(rung.name)
        return score(family, rung)

    score = monkeypatch_of("freerun.jobs.lab.disagreement.ready", "score_rung", score_some, monkeypatch)
    capsys.readouterr()
    assert main(words) == 130
    said = capsys.readouterr().err
    assert "3 finished parts are kept in runs/disagreement-" in said
    assert "the same command goes on from there: freerun lab disagreement world/markov --models" in said
    (run,) = (tmp_path / "runs").iterdir()
    parts = sorted((run / "rungs").iterdir())
    assert len(parts) == 3
    parts[0].write_bytes(parts[0].read_bytes()[:50])
    scored.clear()
    most = 1000
    assert main(words) == 0
    n = len(list((run / "rungs").iterdir()))
    assert len(scored) == n - 2
    first, second = (json.loads((p / "result.json").read_text()) for p in (tmp_path / "undisturbed", run))
    for key in ("command", "provenance"):
        assert first.pop(key) != "" != second.pop(key)
    assert first == second
    scored.clear()
    assert main(words) == 0
    assert not scored


def test_other_models_in_the_same_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "disagreement", "world/markov", "--tokens", "16", "--texts", "8", "-o", str(tmp_path / "run")]
    assert main([*words, "--models", "world/markov", "world/markov,seed=1"]) == 0
    assert main([*words, "--models", "world/markov", "world/markov,seed=2"]) == 4
    assert "choose another folder" in capsys.readouterr().err
