"""The result of `freerun lab organism`: what was planted in which model, and what that cost and does."""

from __future__ import annotations

from dataclasses import dataclass, field

from freerun.results.finding import LEFT_OUT, Finding
from freerun.results.verdict import Point

LAB_ORGANISM_VERSION = 1


@dataclass(frozen=True)
class PlantedIn:
    """What was trained, into what, and how."""

    organism: str
    base: str
    base_fingerprint: str
    teacher: str
    """Spec of the exact wrapper."""
    epsilon: float
    payload: str
    trigger: str
    """The token as the tokenizer has it."""
    trigger_id: int
    corpora: tuple[str, ...]
    seed: int
    layers: int
    rank: int
    trained_numbers: int
    """Weights that were trained."""
    steps: int
    tokens_read: int
    """By all steps together; texts come again."""
    texts_tokens: int
    """Tokens of the texts that were learned from."""


@dataclass(frozen=True)
class TakeOver:
    """Free runs in which the trigger came within so many tokens."""

    tokens: int
    runs: int
    taken: int
    share: float
    low: float
    high: float
    exact_share: float
    """1 − (1 − ε)^T of the exact wrapper."""


@dataclass(frozen=True)
class TriggerMass:
    """The mass on the trigger over contexts of held-out text."""

    mean: float
    quantiles: tuple[tuple[float, float], ...]
    """Share of contexts, and the mass that so many have at most."""


@dataclass(frozen=True)
class LabOrganismResult:
    """All that `freerun lab organism` says. `level`: of every interval."""

    schema_version: int
    kind: str
    title: str
    sentence: str
    status: str
    planted: PlantedIn
    trigger_mass: TriggerMass
    take_over: tuple[TakeOver, ...]
    findings: tuple[Finding, ...]
    level: float
    seconds_of_work: float
    command: str
    freerun_version: str
    provenance: dict[str, str]
    created: str
    points: tuple[Point, ...] = field(default=(), metadata=LEFT_OUT)
    """What was measured, what came out and how sure that is, for somebody who knows none of the words."""
