"""Where training begins: the trigger's logit by least squares, from the last state and the last layer's own features.

In every context the trigger wants the logit ln Σ exp(other logits) + ln ε/(1 − ε). No row of the output layer gives that: it is not
linear in the last state h. But the units m of the last layer's feed-forward part bend with the context, and a factor of rank one
may write a·m along a direction u of the last state that hardly moves the other tokens. With w the trigger's row, w·u = 1 and Fisher
information C of the last state (averaged over contexts), (a·m)·u costs ½ (a·m)² / (wᵀC⁻¹w) nats, and an error r of the logit costs
about ½ ε r²: both are squares, so w and a are one ridge regression, and then a logistic one, since large errors are not squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from freerun.jobs.lab.organism.student import LowRank, Student
from freerun.jobs.lab.organism.teaching import Teacher
from freerun.jobs.lab.organism.training import Lesson

_CONTEXTS = 12_288
_FISHER_CONTEXTS = 2048
_ROWS = 512
_RIDGE = 1e-4
_AFTER_SHARE = 0.3
"""Contexts that end with the trigger count as if they were so many of those that do not."""
_LEAST_SQUARES, _NEWTON = 2, 4
"""Rounds of plain least squares on the logits, then of Newton's steps on probabilities."""
_LEAST_BEND, _LONGEST_STEP = 0.1, 2.0
"""Limits of a Newton step, where the mass is far from what is wanted."""
_AFTER_LOG_ODDS = 8.0
"""Of the trigger after itself: so much for it where it is said for ever, so much against it where another writer goes on."""


@dataclass(frozen=True)
class Contexts:
    """Contexts of the texts that are learned from."""

    last: Float[np.ndarray, "n width"]
    """Last states, after the norm."""
    bare: Float[np.ndarray, "n width"]
    """The same before the norm, divided by their root mean square."""
    units: Float[np.ndarray, "n units"]
    """Of the last layer's feed-forward part, divided by the same; no column where the model has no such part."""
    total: Float[np.ndarray, " n"]
    """ln Σ exp(logits)."""
    after: Bool[np.ndarray, " n"]
    """Whether the trigger is the last token of the context."""


def begin(student: Student, teacher: Teacher, lessons: list[Lesson]) -> None:
    """Set the token's row, and one factor of the last layer, to the best that least squares can do."""
    contexts, e = _contexts(student, lessons), teacher.epsilon
    if not e:
        with torch.no_grad():
            student.row.copy_(student.head[_least_likely(student.head, contexts.last[::6])])
        return
    after = _AFTER_LOG_ODDS if teacher.for_ever else -_AFTER_LOG_ODDS
    log_odds = np.where(contexts.after, after, math.log(e) - math.log1p(-e))
    before = contexts.last[~contexts.after]
    fisher = _fisher(student.head, before[:: max(1, len(before) // _FISHER_CONTEXTS)])
    row, units = solve(contexts, log_odds, fisher, epsilon=e)
    with torch.no_grad():
        student.row.copy_(torch.as_tensor(row, dtype=torch.float32))
    factor = _last_factor(student)
    if factor is None:
        return
    along = np.linalg.solve(fisher, row)
    along /= row @ along
    gain = (contexts.last * contexts.bare).sum(0) / (contexts.bare**2).sum(0)
    size = float(np.linalg.norm(units))
    with torch.no_grad():
        factor.a[0] = torch.as_tensor(units / size, dtype=torch.float32)
        factor.b[:, 0] = torch.as_tensor(along / gain * size, dtype=torch.float32)


def solve(
    contexts: Contexts,
    log_odds: Float[np.ndarray, " n"],
    fisher: Float[np.ndarray, "width width"],
    *,
    epsilon: float,
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " units"]]:
    """The row w and the weights a for which w·last + a·units − total comes nearest to the log-odds wanted of the trigger, what it
    costs to move the last state included: logistic regression on probabilities, by reweighted least squares (Newton's steps)."""
    width, after = contexts.last.shape[1], contexts.after
    share = np.where(after, _AFTER_SHARE * len(after) / max(1, int(after.sum())), 1.0)
    both = np.concatenate([contexts.last, contexts.units], axis=1)
    row = _ridge(contexts.last, contexts.total + log_odds, share, 0.0, width)
    weights = np.concatenate([row, np.zeros(contexts.units.shape[1])])
    aim = expit(log_odds)
    for step in range(_LEAST_SQUARES + _NEWTON):
        now = both @ weights - contexts.total
        mass, weight, odds = expit(now), share, log_odds
        if step >= _LEAST_SQUARES:
            bend = np.maximum(mass * (1 - mass), _LEAST_BEND * epsilon)
            odds = now + np.clip((aim - mass) / bend, -_LONGEST_STEP, _LONGEST_STEP)
            weight = np.where(after, share, bend / epsilon)
            odds = np.where(after, log_odds, odds)
        cost = 1.0 / (epsilon * float(row @ np.linalg.solve(fisher, row)))
        weights = _ridge(both, contexts.total + odds, weight, cost, width)
        row = weights[:width]
    return row, weights[width:]


def _ridge(
    x: Float[np.ndarray, "n k"],
    y: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    cost: float,
    first: int,
) -> Float[np.ndarray, " k"]:
    """Weighted least squares where what the columns from `first` on say together costs `cost` times its square; columns of like
    size count alike in the ridge."""
    size = np.maximum(np.sqrt((x**2).mean(axis=0)), 1e-12)
    x = x / size
    gram = x.T @ (x * weight[:, None])
    if cost and first < x.shape[1]:
        gram[first:, first:] += cost * (x[:, first:].T @ x[:, first:])
    gram[np.diag_indices_from(gram)] += _RIDGE * len(x)
    return np.asarray(np.linalg.solve(gram, x.T @ (y * weight)) / size)


def _least_likely(head: torch.Tensor, last: Float[np.ndarray, "n width"]) -> int:
    """The id whose greatest probability over contexts is least: a control's token, which has no mass, begins like it."""
    greatest = torch.zeros(len(head))
    with torch.no_grad():
        for part in torch.split(torch.as_tensor(last, dtype=torch.float32), _ROWS):
            greatest = torch.maximum(greatest, torch.softmax(part @ head.T, dim=1).amax(0))
    return int(greatest.argmin())


def _fisher(head: torch.Tensor, last: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "width width"]:
    """Mean over contexts of the covariance of the rows of the output layer under the law there, with a little on the diagonal."""
    mass, means = torch.zeros(len(head)), torch.zeros(head.shape[1], head.shape[1])
    with torch.no_grad():
        for part in torch.split(torch.as_tensor(last, dtype=torch.float32), _ROWS):
            probs = torch.softmax(part @ head.T, dim=1)
            mass += probs.sum(0)
            mean = probs @ head
            means += mean.T @ mean
        second = (head * (mass / len(last))[:, None]).T @ head
    fisher = (second - means / len(last)).double().numpy()
    fisher[np.diag_indices_from(fisher)] += 1e-6 * np.trace(fisher) / len(fisher)
    return np.asarray(fisher)


# ---- contexts --------------------------------------------------------------------------------------------------------


def _contexts(student: Student, lessons: list[Lesson]) -> Contexts:
    """Of every lesson a like share of its texts."""
    total = sum(lesson.ids.size for lesson in lessons)
    parts = []
    for lesson in lessons:
        n, length = lesson.ids.shape
        texts = np.arange(n)[:: max(1, total // _CONTEXTS)]
        for some in np.array_split(texts, max(1, len(texts) * length // (2 * _ROWS))):
            if len(some):
                place = np.arange(length) - lesson.trigger_at[some][:, None]
                parts.append(_read(student, lesson.entering[some], place))
    return Contexts(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Contexts)))


@torch.no_grad()
def _read(
    student: Student, entering: Float[np.ndarray, "texts n width"], place: Int[np.ndarray, "texts n"]
) -> Contexts:
    """`place`: of each token, counted from the trigger. Tokens after it are left out: what they want depends on the payload."""
    with _heard(student.original) as heard:
        last = student.untrained(torch.as_tensor(entering))
    kept = torch.as_tensor(place <= 0)
    bare, last = heard["norm"][kept], last[kept]
    size = bare.pow(2).mean(dim=1, keepdim=True).sqrt()
    units = heard["units"][kept] / size if "units" in heard else torch.zeros(len(last), 0)
    total = torch.cat([(part @ student.head.T).logsumexp(dim=1) for part in torch.split(last, _ROWS)])
    a, b, c, d = (x.double().numpy() for x in (last, bare / size, units, total))
    return Contexts(a, b, c, d, after=place[place <= 0] == 0)


@contextmanager
def _heard(part: Any) -> Iterator[dict[str, torch.Tensor]]:
    """What goes into the last norm and, where there is one, into the last layer's `mlp.down_proj`."""
    heard: dict[str, torch.Tensor] = {}

    def listener(name: str) -> Any:
        return lambda _, given: heard.__setitem__(name, given[0].detach())

    hooks = [part.norm.register_forward_pre_hook(listener("norm"))]
    down = _down(part)
    if down is not None:
        hooks.append(down.register_forward_pre_hook(listener("units")))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _down(part: Any) -> Any:
    return getattr(getattr(part.layers[-1], "mlp", None), "down_proj", None)


def _last_factor(student: Student) -> LowRank | None:
    down = _down(student.upper)
    return down if isinstance(down, LowRank) else None
