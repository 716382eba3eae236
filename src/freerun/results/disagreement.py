"""The result of `freerun lab disagreement`: which models were trained or named, and how far they differ as texts grow improbable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.results.finding import LEFT_OUT, Estimate, Finding
from freerun.results.verdict import Point

DISAGREEMENT_VERSION = 1


@dataclass(frozen=True)
class Member:
    """One trained model: a level of each factor."""

    architecture: str
    optimizer: str
    size: str
    seed: int
    order: int

    @property
    def name(self) -> str:
        return f"{self.architecture}-{self.size}-{self.optimizer}-seed{self.seed}-order{self.order}"

    @property
    def initial_weights(self) -> str:
        """Members that share this begin with the same weights."""
        return f"{self.architecture}/{self.size}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class DisagreementSettings:
    """What is trained and measured."""

    source: str = "world/authors"
    tokenizer: str = "bytes"
    """Of a corpus: bytes, bpe:N, or a file tokenizer.json; a world has tokens of its own."""
    models: int = 24
    architectures: tuple[str, ...] = ("transformer", "recurrence", "lstm")
    optimizers: tuple[str, ...] = ("adamw", "sgd", "muon")
    sizes: tuple[str, ...] = ("small", "large")
    seeds: int = 2
    orders: int = 2
    tokens: int = 64
    train_texts: int = 20_000
    validation_texts: int = 256
    test_texts: int = 256
    batch: int = 32
    steps: int = 1500
    """At most; training stops at the target."""
    warmup_steps: int = 50
    evaluate_every: int = 25
    target_excess: float = 0.02
    """On a world, the target is this many nats a token above the loss of the truth."""
    target_loss: float | None = None
    """The target itself, nats a token; on a corpus, None takes the mean of a bigram's and a trigram's loss."""
    texts_per_rung: int = 48
    permutations: int = 1999
    level: float = 0.95
    seed: int = 0
    version: int


@dataclass(frozen=True)
class TrainedMember:
    """How a member came out. `reached`: whether its validation loss met the target; only then it is compared."""

    member: Member
    parameters: int
    steps: int
    reached: bool
    validation_nats: float
    seconds: float
    tokens_per_second: float
    curve: tuple[tuple[int, float], ...]
    """Steps and validation loss."""
    weights_sha256: str


@dataclass(frozen=True)
class RungResult:
    """Disagreement at one rung of a ladder; estimates are `js`, `sd`, `top`, `loo`, and `truth` on worlds."""

    ladder: str
    rung: str
    texts: int
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class FactorEffect:
    """A factor on one kind of text: what differing in it adds to the divergence of two models, and its permutation test.

    `share`: of the variation that the other factors leave. `p_holm`: adjusted within the kind of text. None: not tested.
    """

    region: str
    factor: str
    added: Estimate
    share: float | None
    pseudo_f: float | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Prediction:
    """What was expected, by which rule that is decided, and what came out."""

    text: str
    rule: str
    outcome: Literal["confirmed", "in part", "not confirmed", "not tested"]
    found: str


@dataclass(frozen=True)
class PartingText:
    """A text on which models part: who finds it most and least probable."""

    ladder: str
    rung: str
    text: str
    js_nats: float
    loo_nats: float
    highest: str
    highest_nats: float
    lowest: str
    lowest_nats: float


@dataclass(frozen=True, kw_only=True)
class DisagreementResult:
    """All that `freerun lab disagreement` says."""

    schema_version: int
    kind: str
    freerun_version: str
    title: str
    command: str
    plan_hash: str
    plan: DisagreementSettings | None
    """None where the models were there already."""
    sentence: str
    status: str
    predictions: tuple[Prediction, ...]
    """What was expected before anything was trained."""
    members: tuple[TrainedMember, ...]
    models: tuple[str, ...]
    """Models that are compared."""
    left_out: tuple[str, ...]
    target_nats: float | None
    rungs: tuple[RungResult, ...]
    factors: tuple[FactorEffect, ...]
    findings: tuple[Finding, ...]
    parting: tuple[PartingText, ...]
    provenance: dict[str, Any]
    points: tuple[Point, ...] = field(default=(), metadata=LEFT_OUT)
    """What was measured, what came out and how sure that is, for somebody who knows none of the words."""
