"""The result of a certificate: what an excess loss allows, what it guarantees, and what an event's rate proves."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.results.finding import Chart
from freerun.results.verdict import NextStep, Point
from freerun.stats.bounds.certificates import Horizon


@dataclass(frozen=True)
class LargestTv:
    """Bounds of the total variation: the exact one, and closed forms above it."""

    exact: float
    gilardoni: float
    bretagnolle_huber: float
    pinsker: float


@dataclass(frozen=True)
class AbsorbingModel:
    """The model of this excess that puts `mass` on one extra token that never lets go."""

    mass: float
    tv: float
    corrupted_tokens: float


@dataclass(frozen=True)
class ObservedRate:
    """An event's rate in generations, and what it proves; `kl_proven_nats` is None where that is infinite."""

    rate: float
    counts: tuple[int, int] | None
    base_high: float
    low: float
    infinite: bool
    kl_proven_nats: float | None
    excess_proven_nats_per_token: float | None
    within_the_given_loss: bool


@dataclass(frozen=True)
class EventRate:
    """An event's rate in text, and the highest that it can have in generations. `level`: where the rate is one of counts."""

    base_rate: float
    base_counts: tuple[int, int] | None
    base_high: float
    level: float | None
    ceiling: float
    observed: ObservedRate | None


@dataclass(frozen=True)
class PrintedExample:
    """The example of an extra token, worked out, beside what its text prints."""

    mass: float
    nats_per_token: float
    bits_per_token: float
    tokens: int
    probability: float
    prints: dict[str, float]
    sentence: str


@dataclass(frozen=True)
class CertifyResult:
    """All that `freerun certify` says of an excess loss over texts of so many tokens."""

    schema_version: int
    kind: str
    excess_nats_per_token: float
    excess_bits_per_token: float
    tokens: int
    kl_nats: float
    largest_tv: LargestTv
    absorbing: AbsorbingModel
    horizons: tuple[Horizon, ...]
    event: EventRate | None
    source_text: PrintedExample
    guaranteed: tuple[str, ...]
    not_guaranteed: tuple[str, ...]
    chart: Chart
    points: tuple[Point, ...] = ()
    """What was measured, what came out and how sure that is, in plain words."""
    next_step: NextStep | None = None
