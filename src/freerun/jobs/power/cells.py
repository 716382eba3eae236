"""What a power table consists of: the plan, its units of work, and the counts that one unit gives."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from freerun.errors import UsageError, nearest
from freerun.jobs.power.bases import BASES, load_base
from freerun.jobs.power.lengths import by_length
from freerun.jobs.power.metrics import METRICS, Trial
from freerun.jobs.power.organisms import NULL, PLANTED, build_declared, build_organism
from freerun.jobs.power.texts import TESTS, draw_block, stream
from freerun.results.power import PowerSettings
from freerun.stats.design.permutation import relabellings

VERSION = 1
"""Of what the numbers mean: it goes into the plan, so that parts made by another version are not added up."""


@dataclass(frozen=True)
class PowerPlan(PowerSettings):
    """What is simulated; its hash names the run."""

    bases: tuple[str, ...] = tuple(BASES)
    organisms: tuple[str, ...] = tuple(PLANTED)
    metrics: tuple[str, ...] = tuple(METRICS)
    version: int = VERSION

    def __post_init__(self) -> None:
        for name, chosen, known in (
            ("--organisms", self.organisms, PLANTED),
            ("--metrics", self.metrics, METRICS),
            ("bases", self.bases, BASES),
        ):
            for word in chosen:
                if word not in known:
                    raise UsageError(f"{name}: no {word!r}{nearest(word, known)}; there are {', '.join(known)}")
            if not chosen or len(set(chosen)) < len(chosen):
                raise UsageError(f"{name}: name at least one, each once; there are {', '.join(known)}")
        if NULL not in self.organisms:
            raise UsageError("--organisms: the null must be among them; without its rate no power means anything")
        for name, sizes, least in (("lengths", self.lengths, 4), ("texts", self.texts, 8)):
            if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < least:
                raise UsageError(f"{name} must ascend and begin at {least} or more, not {list(sizes)}")
        for name, value in (("reruns", self.reruns), ("null reruns", self.null_reruns), ("block", self.block)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if (1 + self.permutations) * self.alpha != round((1 + self.permutations) * self.alpha):
            raise UsageError(
                f"{self.permutations} permutations at level {self.alpha}: (1 + permutations)·level must be whole, or no test has "
                "that level"
            )

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def runs_of(self, organism: str) -> int:
        return self.null_reruns if organism == NULL else self.reruns

    def cells(self, base: str) -> Iterator[tuple[str, int, int]]:
        """Metric, length and number of texts of the tests over a base."""
        for name in self.metrics:
            metric = METRICS[name]
            for tokens in self.lengths:
                for texts in self.texts:
                    enough = tokens >= metric.least_tokens and (
                        not metric.largest_texts_only or texts == self.texts[-1]
                    )
                    if enough and (not metric.needs_sources or base in WITH_SOURCES):
                        yield name, tokens, texts

    def units(self) -> list[Unit]:
        """All units of work: of each base the null first, then the organisms."""
        return [
            Unit(base, organism, first, min(first + self.block, self.runs_of(organism)))
            for base in self.bases
            for organism in sorted(self.organisms, key=lambda o: o != NULL)
            for first in range(0, self.runs_of(organism), self.block)
        ]

    def tokens_of(self, unit: Unit) -> int:
        """Tokens that a unit samples."""
        return (unit.stop - unit.first) * 3 * self.texts[-1] * self.lengths[-1]


WITH_SOURCES = ("authors",)
"""Bases that are mixtures of sources with an exact posterior."""
QUICK = PowerPlan(lengths=(16, 64), texts=(20, 40), reruns=40, null_reruns=200, block=40)
FULL = PowerPlan()


def chosen_plan(
    *,
    full: bool = False,
    metrics: tuple[str, ...] | None = None,
    organisms: tuple[str, ...] | None = None,
    seed: int = 0,
) -> PowerPlan:
    """The full plan or the quick one, of some metrics and organisms only; the null is always there.

    Raises:
        UsageError: an unknown name.
    """
    plan = replace(FULL if full else QUICK, seed=seed)
    if metrics is not None:
        plan = replace(plan, metrics=metrics)
    if organisms is not None:
        if not organisms:
            raise UsageError(f"--organisms: name at least one; there are {', '.join(PLANTED)}")
        wanted = organisms if NULL in organisms else (NULL, *organisms)
        plan = replace(plan, organisms=wanted)
    return plan


@dataclass(frozen=True)
class Unit:
    """Reruns `first` to `stop` of one organism over one base."""

    base: str
    organism: str
    first: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.base}-{self.organism}-{self.first:05d}"

    def key(self, plan_hash: str) -> str:
        return f"{plan_hash}/{self.name}-{self.stop:05d}"


@dataclass(frozen=True)
class Part:
    """What a unit gives: of `runs` reruns, how many reject, by metric and `"TOKENSxTEXTS"`.

    `excess`, by tokens: number, sum and sum of squares of the excess loss of real texts against the declared law, nats a text.
    """

    unit: str
    base: str
    organism: str
    runs: int
    rejected: dict[str, dict[str, int]]
    excess: dict[str, tuple[float, float, float]]
    seconds: float


def run_unit(plan: PowerPlan, unit: Unit) -> Part:
    """Sample the reruns of a unit, test every cell, and count rejections."""
    began = time.monotonic()
    base, longest = load_base(unit.base), plan.lengths[-1]
    block = draw_block(
        unit.base,
        unit.organism,
        base.truth,
        None if unit.organism == NULL else build_organism(unit.base, unit.organism, longest),
        declared=build_declared(unit.base, unit.organism, longest),
        reruns=range(unit.first, unit.stop),
        texts=plan.texts[-1],
        tokens=longest,
        seed=plan.seed,
    )
    cells = list(plan.cells(unit.base))
    rejected = {name: {f"{t}x{n}": 0 for m, t, n in cells if m == name} for name, _, _ in cells}
    excess: dict[str, tuple[float, float, float]] = {}
    streams = [stream(TESTS, plan.seed, unit.base, unit.organism, rerun=r) for r in range(unit.first, unit.stop)]
    chosen = {n: [relabellings(n, plan.permutations, rng=rng) for rng in streams] for n in plan.texts}
    for at in by_length(block, plan.lengths, plan.metrics, base.sources if "sources" in plan.metrics else None):
        gaps = ((at.real_loss - at.declared_loss) * at.tokens).ravel()
        excess[str(at.tokens)] = (float(gaps.size), float(gaps.sum()), float(np.square(gaps).sum()))
        for texts in plan.texts:
            for k, rng in enumerate(streams):
                trial = Trial(block, at, k, texts, chosen[texts][k], rng)
                for name, *size in cells:
                    if size == [at.tokens, texts]:
                        rejected[name][f"{at.tokens}x{texts}"] += METRICS[name].p_value(trial) <= plan.alpha
    seconds = round(time.monotonic() - began, 3)
    runs = unit.stop - unit.first
    return Part(unit.key(plan.hash), unit.base, unit.organism, runs, rejected, excess, seconds)
