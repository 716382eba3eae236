"""Organisms that are interrupted: training, own text and measurement go on, and nothing is made twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from freerun.errors import DataError
from freerun.jobs.lab.organism.base import load_trainable
from freerun.jobs.lab.organism.beginning import begin
from freerun.jobs.lab.organism.kept import Kept
from freerun.jobs.lab.organism.organism import MARK, plant
from freerun.jobs.lab.organism.plan import Measurement
from freerun.jobs.lab.organism.student import Student
from freerun.jobs.lab.organism.teaching import Teacher
from freerun.jobs.lab.organism.training import CHECKPOINT, Trainer, lesson_of
from freerun.results.lab_organism import LabOrganismResult
from freerun.runs.progress import Silent
from freerun.specs.spec import load_predictor
from tests.jobs.lab.planting import SMALL, WORDS, ids_of, plan_of


def trainer_of(folder: Path, **changed: Any) -> Trainer:
    plan = plan_of(folder, "absorbing", **changed)
    exact = load_predictor(plan.teacher)
    model, _, _ = load_trainable(plan.base)
    student = Student(model, ids_of(8, 64), layers=1, rank=4, end_id=1, seed=0)
    ids = ids_of(16, 64)
    ids[::2, 30:] = WORDS
    at = np.where(np.arange(16) % 2 == 0, 30, 64)
    teacher, lessons = Teacher(exact, student.head), [lesson_of(student, ids, at, lambda _: None)]
    begin(student, teacher, lessons)
    return Trainer(student, teacher, lessons, plan)


def test_a_resumed_training_is_an_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    whole, begun, resumed = (trainer_of(folder, steps=12) for _ in range(3))
    for _ in range(12):
        whole.take_step()
    for _ in range(5):
        begun.take_step()
    begun.save(tmp_path)
    assert resumed.restore(tmp_path)
    assert resumed.step == 5
    resumed.run(tmp_path, lambda _: None)
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name]), name
    assert resumed.divergences == whole.divergences
    assert resumed.tokens_read == whole.tokens_read


def test_a_checkpoint_of_another_plan_or_a_damaged_one_is_not_used(folder: Path, tmp_path: Path) -> None:
    begun = trainer_of(folder, steps=12)
    begun.take_step()
    begun.save(tmp_path)
    assert not trainer_of(folder, steps=13).restore(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:100])
    assert not trainer_of(folder, steps=12).restore(tmp_path)
    assert not trainer_of(folder, steps=12).restore(tmp_path / "nowhere")


def test_a_finished_folder_is_not_trained_again_and_another_plan_is_refused(
    absorbing: tuple[Path, LabOrganismResult], folder: Path, tmp_path: Path
) -> None:
    out, first = absorbing
    before = (out / "model.safetensors").stat().st_mtime_ns
    again = plant(plan_of(folder, "absorbing"), out, measurement=SMALL)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert again.take_over == first.take_over
    with pytest.raises(DataError, match="another organism"):
        plant(plan_of(folder, "absorbing", steps=7), out)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        plant(plan_of(folder, "absorbing"), tmp_path)
    assert not (tmp_path / MARK).exists()


def test_what_was_made_before_an_interruption_is_not_made_again(
    absorbing: tuple[Path, LabOrganismResult], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after every part in turn, the same command makes each part once and ends in the undisturbed one's numbers."""
    made: list[str] = []
    whole = Kept.take

    def take(self: Kept, name: str, make: Callable[[], Any], *, n_tokens: int) -> Any:
        n = len(made)

        def watched() -> Any:
            arrays = make()
            made.append(name)
            return arrays

        arrays = whole(self, name, watched, n_tokens=n_tokens)
        if len(made) > n and made[-1] == name:
            raise KeyboardInterrupt
        return arrays

    monkeypatch.setattr(Kept, "take", take)
    plan, out = plan_of(folder, "absorbing"), tmp_path / "out"
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            plant(plan, out, measurement=SMALL)
    told = Told()
    result = plant(plan, out, measurement=SMALL, progress=told)
    assert made == ["own-text", "lessons", "held-out", "free-runs-0-32", "after"]
    assert result.findings == absorbing[1].findings
    assert result.take_over == absorbing[1].take_over
    assert told.tokens >= 16 * 255 + 32 * 256  # what is there already counts as done
    # more runs are made anew with the rest kept; other documents are all measured anew
    for documents, runs in ((16, 70), (17, 32)):
        with pytest.raises(KeyboardInterrupt):
            plant(plan, out, measurement=Measurement(documents, runs))
    assert made[5:] == ["free-runs-0-64", "held-out"]


class Told(Silent):
    tokens = 0

    def advance(self, n_tokens: int) -> None:
        self.tokens += n_tokens


@pytest.mark.parametrize("harm", ["cut", "other plan", "not an archive"])
def test_what_is_damaged_or_of_another_plan_is_made_again(tmp_path: Path, harm: str) -> None:
    heard: list[int] = []
    kept = Kept(tmp_path, "mine", heard.append)
    kept.take("x", lambda: {"a": np.arange(3)}, n_tokens=7)
    assert heard == []
    assert kept.take("x", lambda: {"a": np.zeros(1)}, n_tokens=7)["a"].tolist() == [0, 1, 2]
    assert heard == [7]
    path = tmp_path / "x.npz"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif harm == "not an archive":
        path.write_text("nothing")
    else:
        kept = Kept(tmp_path, "yours", heard.append)
    assert kept.take("x", lambda: {"a": np.zeros(1)}, n_tokens=7)["a"].tolist() == [0]
