"""The steps: the Kullback–Leibler divergence of the student's law from the teacher's, over whole laws, and checkpoints between."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save

from freerun.files import write_atomically
from freerun.jobs.lab.organism.plan import OrganismPlan
from freerun.jobs.lab.organism.student import Student, pieces
from freerun.jobs.lab.organism.teaching import Teacher

CHECKPOINT = "checkpoint.safetensors"
STEPS_BETWEEN_CHECKPOINTS = 20
_WARM_UP = 20
_TOKENS_AT_ONCE = 2048
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Lesson:
    """Texts of one length with the states that enter the trained layers, and the base's own last states (float32)."""

    ids: Int[np.ndarray, "texts length"]
    trigger_at: Int[np.ndarray, " texts"]
    """Where the token stands; the length itself: nowhere."""
    entering: Float[np.ndarray, "texts length width"]
    last: Float[np.ndarray, "texts length width"]


@torch.no_grad()
def lesson_of(
    student: Student,
    ids: Int[np.ndarray, "texts length"],
    trigger_at: Int[np.ndarray, " texts"],
    on_tokens: Callable[[int], None],
) -> Lesson:
    """Compute the states of some texts."""
    entering = np.zeros((*ids.shape, student.width), np.float32)
    last = np.zeros_like(entering)
    for rows in pieces(ids, _TOKENS_AT_ONCE):
        states = student.entering(ids[rows])
        entering[rows] = states.numpy()
        last[rows] = student.untrained(states).numpy()
        on_tokens(ids[rows].size)
    return Lesson(ids, trigger_at, entering, last)


class Trainer:
    """A student with its optimiser. What a step reads follows from the seed and the step's number alone."""

    def __init__(self, student: Student, teacher: Teacher, lessons: list[Lesson], plan: OrganismPlan) -> None:
        self.student, self.teacher, self.lessons, self.plan = student, teacher, lessons, plan
        self.parameters = student.trained()
        self.optimiser = torch.optim.Adam(
            self.parameters.values(), lr=plan.effort.learning_rate, betas=(0.9, 0.98), eps=1e-6
        )
        self.step = self.tokens_read = 0
        self.divergences: list[float] = []
        """KL(teacher ‖ student) of every step, nats a token."""

    def run(self, folder: Path, on_tokens: Callable[[int], None]) -> None:
        """Go on to the last step; the folder gets a checkpoint now and then, and at the end."""
        try:
            while self.step < self.plan.effort.steps:
                on_tokens(self.take_step())
                if self.step % STEPS_BETWEEN_CHECKPOINTS == 0:
                    self.save(folder)
        finally:
            self.save(folder)

    def take_step(self) -> int:
        """One step; returns how many tokens were read."""
        effort = self.plan.effort
        rng = np.random.default_rng([self.plan.seed, 1 + self.step])
        weights = np.array([lesson.ids.size for lesson in self.lessons], float)
        lesson = self.lessons[int(rng.choice(len(weights), p=weights / weights.sum()))]
        n, length = lesson.ids.shape
        texts = rng.permutation(n)[: max(1, min(n, effort.step_tokens // length))]
        rows = np.sort(rng.permutation(len(texts) * length)[: effort.step_laws])
        for group in self.optimiser.param_groups:
            group["lr"] = effort.learning_rate * self._pace()
        self.optimiser.zero_grad(set_to_none=True)
        last = self.student(torch.as_tensor(lesson.entering[texts])).flatten(0, 1)[torch.as_tensor(rows)]
        loss = self._divergence(lesson, texts, rows, self.student.log_probs(last))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), 1.0)
        self.optimiser.step()
        self.divergences.append(float(loss.detach()))
        self.step += 1
        self.tokens_read += len(texts) * length
        return int(len(texts) * length)

    def _pace(self) -> float:
        """Share of the learning rate: up linearly, then down along a cosine."""
        steps = self.plan.effort.steps
        warm = min(1.0, (self.step + 1) / min(_WARM_UP, steps))
        return warm * 0.5 * (1 + math.cos(math.pi * self.step / steps))

    def _divergence(
        self,
        lesson: Lesson,
        texts: Int[np.ndarray, " texts"],
        rows: Int[np.ndarray, " rows"],
        said: torch.Tensor,
    ) -> torch.Tensor:
        """Mean over rows of KL(teacher ‖ student); row r of the flattened batch is token r % length of text r // length."""
        length = lesson.ids.shape[1]
        text, at = rows // length, rows % length
        before = at < lesson.trigger_at[texts][text]
        total = said.new_zeros(())
        if before.any():
            last = torch.as_tensor(lesson.last[texts[text[before]], at[before]])
            total = total + _kl(self.teacher.before(last), said[torch.as_tensor(before)])
        for i in np.unique(text[~before]):
            mine = ~before & (text == i)
            since = int(lesson.trigger_at[texts[i]])
            ids, wanted = lesson.ids[texts[i]], said[torch.as_tensor(mine)]
            if self.teacher.points:
                next_ids = self.teacher.next_ids(ids, since)[at[mine] - since]
                total = total - wanted[torch.arange(len(wanted)), torch.as_tensor(next_ids)].sum()
            else:
                total = total + _kl(self.teacher.after(ids, since)[torch.as_tensor(at[mine] - since)], wanted)
        return total / len(rows)

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write where it stands, whole or not at all."""
        tensors = {name: p.detach() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            for moment in _MOMENTS:
                if moment in self.optimiser.state[p]:
                    tensors[f"{name}/{moment}"] = self.optimiser.state[p][moment].reshape(-1)
        notes = {
            "plan": self.plan.hash,
            "step": str(self.step),
            "tokens": str(self.tokens_read),
            "divergences": json.dumps(self.divergences),
        }
        write_atomically(folder / CHECKPOINT, save({k: v.contiguous() for k, v in tensors.items()}, metadata=notes))

    def restore(self, folder: Path) -> bool:
        """Go on from the checkpoint there; False where there is none, a damaged one, or another plan's."""
        path = folder / CHECKPOINT
        try:
            data = path.read_bytes()
            tensors = load(data)
            notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        except (OSError, ValueError, KeyError, SafetensorError):
            return False
        if notes.get("plan") != self.plan.hash or not set(self.parameters) <= set(tensors):
            return False
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[name])
                kept = {m: tensors[f"{name}/{m}"] for m in _MOMENTS if f"{name}/{m}" in tensors}
                if kept:
                    self.optimiser.state[p] = {
                        m: v.reshape(()) if m == "step" else v.view_as(p) for m, v in kept.items()
                    }
        self.step, self.tokens_read = int(notes["step"]), int(notes["tokens"])
        self.divergences = json.loads(notes["divergences"])
        return True


def _kl(wanted: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Σ over rows of KL(wanted ‖ said), from log-probabilities; ids without mass add nothing."""
    mass = wanted.exp()
    return (mass * (wanted.clamp(min=-1e4) - said)).sum()
