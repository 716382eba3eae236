"""The result of a power table: rates of rejection with their intervals, the null against its band, what every defect costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from freerun.results.verdict import NextStep, Point


@dataclass(frozen=True, kw_only=True)
class PowerSettings:
    """What was simulated."""

    bases: tuple[str, ...]
    organisms: tuple[str, ...]
    metrics: tuple[str, ...]
    lengths: tuple[int, ...] = (16, 64, 256)
    texts: tuple[int, ...] = (20, 60)
    """Texts of each kind in a rerun."""
    reruns: int = 200
    null_reruns: int = 2000
    block: int = 50
    """Reruns of a unit of work."""
    alpha: float = 0.05
    permutations: int = 199
    level: float = 0.95
    seed: int = 0
    version: int


@dataclass(frozen=True)
class PowerBase:
    """A law that writes the real text; `ngram`: what the n-gram organism over it is."""

    name: str
    meaning: str
    ngram: str


@dataclass(frozen=True)
class PowerOrganism:
    """A planted defect."""

    name: str
    label: str
    meaning: str


@dataclass(frozen=True)
class PowerMetric:
    """One test. `size` is the kind of its size, declared before it was measured; a `control` is true of every organism.

    `knows_truth`: it reads the law that writes the real texts, which no one has of a real model; its power is an upper limit.
    """

    name: str
    label: str
    null: str
    unit: str
    test: str
    size: str
    source: str
    control: bool
    knows_truth: bool = False


@dataclass(frozen=True)
class PowerCell:
    """One test of one organism at one length and number of texts; `inside`: not outside a band that it must lie in."""

    base: str
    organism: str
    metric: str
    tokens: int
    texts: int
    rejected: int
    runs: int
    rate: float
    low: float
    high: float
    inside: bool = True


@dataclass(frozen=True)
class MetricRates:
    """The rates of one metric over some cells."""

    metric: str
    size: str
    cells: int
    least: float
    most: float
    mean: float
    inside: bool


@dataclass(frozen=True)
class BandCheck:
    """Cells whose null holds against one simultaneous band, from `low` to `high`; `outside` names those that lie outside."""

    cells: int
    runs: int
    level: float
    low: float
    high: float
    all_inside: bool
    outside: tuple[str, ...]
    by_metric: tuple[MetricRates, ...]


@dataclass(frozen=True)
class PowerEffect:
    """What an organism costs on real texts: excess loss against the law it is declared to be, with its standard error over texts."""

    base: str
    organism: str
    tokens: int
    excess_nats_per_text: float
    standard_error: float
    texts: int


@dataclass(frozen=True)
class Expectation:
    """What someone expected of a metric on an organism beside what was found; None where that metric was not run."""

    organism: str
    planted: str
    column: str
    metric: str | None
    expected: str
    found: str | None
    by_base: dict[str, str]
    confirmed: bool | None


@dataclass(frozen=True, kw_only=True)
class PowerResult:
    """All that `freerun power` says; `expectations` are a study's, whose rule is `expectation_rule`."""

    schema_version: int
    kind: str
    freerun_version: str
    title: str
    command: str
    plan_hash: str
    plan: PowerSettings
    sentence: str
    status: Literal["good", "bad"]
    bases: tuple[PowerBase, ...]
    organisms: tuple[PowerOrganism, ...]
    metrics: tuple[PowerMetric, ...]
    cells: tuple[PowerCell, ...]
    null: BandCheck
    controls: BandCheck | None
    effects: tuple[PowerEffect, ...]
    expectations: tuple[Expectation, ...] = ()
    expectation_rule: str = ""
    seconds_of_work: float
    provenance: dict[str, Any]
    created: str
    points: tuple[Point, ...] = ()
    """What was measured, what came out and how sure that is, in plain words."""
    next_step: NextStep | None = None
