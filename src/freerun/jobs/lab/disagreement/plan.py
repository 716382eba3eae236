"""What is trained and measured: a plan whose hash names the run, and the members that its design chooses."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError, nearest
from freerun.jobs.lab.disagreement.tokens import BYTES, named
from freerun.results.disagreement import DisagreementSettings, Member

VERSION = 1
"""Of what the numbers mean: it goes into the plan's hash."""
FACTORS = ("architecture", "optimizer", "size", "seed", "order")
KNOWN = {
    "architectures": ("transformer", "recurrence", "lstm"),
    "optimizers": ("adamw", "sgd", "muon"),
    "sizes": ("small", "large"),
}


@dataclass(frozen=True, kw_only=True)
class DisagreementPlan(DisagreementSettings):
    """What is trained; its hash names the run."""

    version: int = VERSION

    def __post_init__(self) -> None:
        if self.tokenizer != BYTES and self.source.startswith("world/"):
            raise UsageError(f"--tokenizer is of a corpus; {self.source} has tokens of its own")
        for name, known in KNOWN.items():
            chosen = getattr(self, name)
            for word in chosen:
                if word not in known:
                    raise UsageError(f"{name}: no {word!r}{nearest(word, known)}; there are {', '.join(known)}")
            if not chosen or len(set(chosen)) < len(chosen):
                raise UsageError(f"{name}: name at least one, each once; there are {', '.join(known)}")
        for name in LEAST:
            check_least(name, getattr(self, name))
        for name in ("target_excess", "target_loss"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{_called(name)} must be a number of nats above 0, not {value:g}")
        whole = len(self.architectures) * len(self.optimizers) * len(self.sizes) * self.seeds * self.orders
        if self.models > whole:
            raise UsageError(f"the design has {whole} combinations; --models-trained {self.models} asks for more")

    @property
    def hash(self) -> str:
        settings = asdict(self)
        if self.tokenizer == BYTES:  # plans from before there was a choice keep their hash
            del settings["tokenizer"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def tokens_of_member(self) -> int:
        """Tokens that a member reads at most."""
        return self.steps * self.batch * self.tokens


LEAST = {
    "models": 4,
    "seeds": 1,
    "orders": 1,
    "tokens": 8,
    "train_texts": 8,
    "batch": 1,
    "steps": 1,
    "warmup_steps": 1,
    "evaluate_every": 1,
    "texts_per_rung": 8,
    "validation_texts": 8,
    "test_texts": 16,
    "permutations": 19,
    "seed": 0,
}
_OPTIONS = {"models": "--models-trained", "texts_per_rung": "--texts"}
"""Settings whose option has another name."""
_WITH_OPTION = ("tokens", "steps", "target_excess", "target_loss", "seed")


def check_least(name: str, value: int) -> None:
    """Refuse a setting that is too small.

    Raises:
        UsageError: it is.
    """
    if value < LEAST[name]:
        raise UsageError(f"{_called(name)} must be at least {LEAST[name]}, not {value}")


def _called(name: str) -> str:
    """A setting with its option, where it has one."""
    option = _OPTIONS.get(name) or (f"--{name.replace('_', '-')}" if name in _WITH_OPTION else None)
    return f"{name} ({option})" if option else name


def chosen_plan(changes: dict[str, Any]) -> DisagreementPlan:
    """The default plan with some settings changed, by their names.

    Raises:
        UsageError: no such setting, or a value of another kind. DataError: a tokenizer that cannot be read.
    """
    known = {f.name: f for f in fields(DisagreementPlan) if f.name != "version"}
    for name, value in changes.items():
        if name not in known:
            raise UsageError(f"a plan has no setting {name!r}{nearest(name, known)}; it has {', '.join(known)}")
        default = known[name].default
        kinds: tuple[type, ...] = (int, float) if isinstance(default, float) or default is None else (type(default),)
        if not isinstance(value, (list, tuple) if isinstance(default, tuple) else kinds) or isinstance(value, bool):
            raise UsageError(f"{name}={value!r}: a value such as {default!r} is wanted")
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    if "tokenizer" in given:
        given["tokenizer"] = named(given["tokenizer"])
    return DisagreementPlan(**given)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML file, not yet checked.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def candidates(plan: DisagreementPlan) -> list[Member]:
    """The whole factorial design."""
    levels = (plan.architectures, plan.optimizers, plan.sizes, range(plan.seeds), range(plan.orders))
    return [Member(*row) for row in product(*levels)]


def chosen_members(plan: DisagreementPlan) -> list[Member]:
    """The fraction of the design that is trained: D-optimal for its main effects, recipes and initial weights, by exchange.

    It maximises ln det XᵀX (Fedorov 1972), from a fixed start, so that a plan always has the same members.
    """
    every = candidates(plan)
    x = _design_matrix(every)
    rng = np.random.default_rng(0)
    best, best_value = np.arange(len(every)), -np.inf
    for _ in range(8 if plan.models < len(every) else 0):
        chosen = rng.choice(len(every), plan.models, replace=False)
        value = _exchange(x, chosen)
        if value > best_value + 1e-9:
            best, best_value = np.sort(chosen), value
    return [every[i] for i in best]


def _design_matrix(members: list[Member]) -> Float[np.ndarray, "members columns"]:
    labels = [
        [m.architecture for m in members],
        [m.optimizer for m in members],
        [m.size for m in members],
        [str(m.order) for m in members],
        [f"{m.architecture}/{m.optimizer}" for m in members],
        [m.initial_weights for m in members],
    ]
    columns = [[float(x == name) for x in row] for row in labels for name in dict.fromkeys(row)]
    return np.array([[1.0] * len(members), *columns]).T


def _exchange(x: Float[np.ndarray, "members columns"], chosen: np.ndarray) -> float:
    """Exchange members, in place, as long as one exchange raises ln det; returns it."""
    ridge = 1e-3 * np.eye(x.shape[1])
    value = _log_det(x[chosen], ridge)
    while True:
        information = np.linalg.inv(x[chosen].T @ x[chosen] + ridge)
        variance = x @ information @ x.T
        v = np.diag(variance)
        gain = (1 + v[None, :]) * (1 - v[chosen, None]) + variance[chosen] ** 2  # [leaves, enters]
        gain[:, chosen] = 0.0
        leaves, enters = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[leaves, enters] <= 1 + 1e-9:
            return value
        chosen[leaves] = enters
        value = _log_det(x[chosen], ridge)


def _log_det(x: Float[np.ndarray, "members columns"], ridge: Float[np.ndarray, "columns columns"]) -> float:
    return float(np.linalg.slogdet(x.T @ x + ridge)[1])


def stream(seed: int, *words: object) -> np.random.Generator:
    """Random numbers that belong to a purpose."""
    digest = hashlib.sha256("/".join(map(str, (seed, *words))).encode()).digest()
    return np.random.default_rng(list(digest[:16]))


def level_counts(members: list[Member]) -> Iterator[tuple[str, dict[str, int]]]:
    """How many members have each level of each factor."""
    for factor in FACTORS:
        values = [str(getattr(m, factor)) for m in members]
        yield factor, {v: values.count(v) for v in dict.fromkeys(values)}
