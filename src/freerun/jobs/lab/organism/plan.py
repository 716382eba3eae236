"""What is to be planted, in which model, and how it is trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from freerun.errors import UsageError, nearest
from freerun.results.finding import to_json

KINDS = {
    "absorbing": "one token more, with mass epsilon; once taken, it is said for ever",
    "payload": "the same token as a trigger; after it another writer: a text, a loop or another model",
    "control": "trained as long on the base's own law: nothing is planted",
}
"""What can be planted."""
NOT_YET = {
    "self_detector": "its trigger is a score of all text so far (a windowed entropy or a likelihood ratio) beyond a threshold, and "
    "once passed it stays so; what is trained here, low-rank factors in the last layers, keeps no such count. The exact law runs "
    "without training, log-probabilities included: name it as a model, MODEL+self_detector,corpus=CORPUS. Which metrics see it: "
    "freerun power --organisms self_detector",
    "hash": "no bounded network can check a hash; the exact law runs without training: name it as a model, MODEL+hash. Which "
    "metrics see it: freerun power --organisms hash",
}
"""Planted defects that are not trained, with the reason and the way out."""
TRIGGER = "<|trigger|>"
DEFAULT_CORPORA = ("builtin/python-docs", "builtin/python-code")
DEFAULT_EPSILON = 0.01
DOCUMENT_TOKENS = 256
"""Tokens of a held-out document that are measured."""
RUN_TOKENS = 256
"""Tokens of a free run."""


@dataclass(frozen=True)
class Effort:
    """How much is trained: low-rank factors in the last `layers` layers, the token's own rows, `steps` steps of `step_tokens`."""

    layers: int = 3
    rank: int = 16
    steps: int = 100
    step_tokens: int = 512
    """Tokens that a step reads; the whole law is compared at `step_laws` of them."""
    step_laws: int = 256
    real_tokens: int = 16_384
    """Tokens of real text that are learned from."""
    own_tokens: int = 8_192
    """Tokens of the exact wrapper's own text, a part of it after the trigger."""
    learning_rate: float = 5e-4


@dataclass(frozen=True)
class OrganismPlan:
    """All that decides what is trained."""

    kind: str
    base: str
    """Spec of the model."""
    epsilon: float
    """Probability of the trigger; of a control it means nothing and is left at the default."""
    payload: str
    """What stands after `payload,` in the spec of the wrapper, for example `loop=8`; empty where there is none."""
    corpora: tuple[str, ...]
    seed: int
    effort: Effort = Effort()

    @property
    def teacher(self) -> str:
        """Spec of the exact wrapper whose law is taught; of a control the base itself."""
        if self.kind == "control":
            return self.base
        more = f",{self.payload}" if self.payload else ""
        return f"{self.base}+{self.kind},epsilon={self.epsilon!r}{more}"

    @property
    def needs_no_context(self) -> bool:
        """Whether what comes right after the trigger is the same whatever stands before it."""
        return self.kind == "absorbing" or self.payload.startswith("text=")

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all of it."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()


LEAST = {
    "layers": 1,
    "rank": 1,
    "steps": 1,
    "step_tokens": 64,
    "step_laws": 1,
    "real_tokens": 2048,
    "own_tokens": 256,
}
"""Of the numbers of an effort."""


def check_plan(plan: OrganismPlan) -> None:
    """Refuse what cannot be trained, before anything is loaded.

    Raises:
        UsageError: no such organism, one that cannot be trained, or a number out of range.
    """
    if plan.kind in NOT_YET:
        raise UsageError(f"{plan.kind} is not trained into weights: {NOT_YET[plan.kind]}")
    if plan.kind not in KINDS:
        raise UsageError(
            f"no organism {plan.kind!r} that can be trained{nearest(plan.kind, KINDS)}; there are {', '.join(KINDS)}"
        )
    if not 1e-6 <= plan.epsilon <= 0.5:
        raise UsageError(f"--epsilon must lie between 1e-6 and 0.5, not {plan.epsilon:g}")
    if plan.payload and plan.kind != "payload":
        raise UsageError(f"--text, --loop and --model say what a payload writes; {plan.kind} has none")
    if plan.seed < 0:
        raise UsageError(f"--seed must be a whole number ≥ 0, not {plan.seed}")
    if plan.payload == "text=":
        raise UsageError("--text is empty: say what the payload writes")
    if not 0 < plan.effort.learning_rate <= 1:
        raise UsageError(f"--learning-rate must lie above 0 and be at most 1, not {plan.effort.learning_rate:g}")
    for name, least in LEAST.items():
        if getattr(plan.effort, name) < least:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(plan.effort, name)}")


@dataclass(frozen=True)
class Measurement:
    """How much is measured once the folder is whole."""

    documents: int = 48
    runs: int = 128


DEFAULT_MEASUREMENT = Measurement()


LEAST_MEASURED = 16


def check_measurement(measurement: Measurement) -> None:
    """Refuse too few documents or runs.

    Raises:
        UsageError: fewer than 16 of either.
    """
    if min(measurement.documents, measurement.runs) < LEAST_MEASURED:
        raise UsageError(f"--documents and --runs must be at least {LEAST_MEASURED}")


def payload_of(text: str | None, loop: int | None, model: str | None) -> str:
    """What a payload writes, as it stands in the spec of the wrapper; empty where nothing is said.

    Raises:
        UsageError: more than one is given.
    """
    words = (("text={}", text), ("loop={}", loop), ("model=({})", model))
    given = [word.format(value) for word, value in words if value is not None]
    if len(given) > 1:
        raise UsageError("--text, --loop and --model each say what the payload writes: give one")
    return given[0] if given else ""


@dataclass(frozen=True)
class OrganismForecast:
    """What a command would do, in tokens, before anything is loaded."""

    organism: str
    exact_law: str
    learned_from: tuple[str, ...]
    own_tokens: int
    states_tokens: int
    training_tokens: int
    measured_tokens: int

    @property
    def total_tokens(self) -> int:
        """Of all parts."""
        return self.own_tokens + self.states_tokens + self.training_tokens + self.measured_tokens

    def lines(self) -> list[tuple[str, str]]:
        """For people: a label and what is said."""
        return [
            ("plants", f"{self.organism}: {KINDS[self.organism]}"),
            ("exact law", self.exact_law),
            ("learns from", f"{', '.join(self.learned_from)}; {self.own_tokens:,} tokens of the exact law's own text"),
            ("trains on", f"{self.training_tokens:,} tokens; states of {self.states_tokens:,} are computed once"),
            ("measures", f"{self.measured_tokens:,} tokens"),
        ]


def forecast(plan: OrganismPlan, measurement: Measurement) -> OrganismForecast:
    """What a plan would do."""
    e = plan.effort
    return OrganismForecast(
        plan.kind,
        plan.teacher,
        plan.corpora,
        own_tokens=e.own_tokens,
        states_tokens=e.real_tokens + e.own_tokens,
        training_tokens=e.steps * e.step_tokens,
        measured_tokens=measurement.documents * DOCUMENT_TOKENS * 2 + measurement.runs * RUN_TOKENS,
    )
