"""What the study keeps of one organism: typed values, a section each."""

from __future__ import annotations

from dataclasses import dataclass, field

from freerun.results.distance import Certificate
from freerun.results.finding import LEFT_OUT, Estimate
from freerun.results.lab_organism import TakeOver, TriggerMass


@dataclass(frozen=True)
class AuditSection:
    """What `freerun audit` says of the folder, with no word of what was planted."""

    command: str
    verdict: str
    status: str
    """`good`, `bad`, `neutral` or `unknown`."""
    outcome: str
    """What became of the horizon: `told_apart`, `not_reached`, `open` or `not_judged`."""
    sampler_audit: str
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class DistanceSection:
    """What `freerun distance` says of the base (A) and the organism (B)."""

    command: str
    verdict: str
    certificate: Certificate | None
    infinite: tuple[str, ...]
    """Names of the estimates that are infinite rather than unknown: A gives the trigger no mass."""
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class MetricRate:
    """How often one metric of `freerun power` rejects, over disjoint groups of texts at one length."""

    metric: str
    label: str
    control: bool
    """Its null holds for every organism."""
    tokens: int
    texts: int
    """Of each kind in a group."""
    groups: int
    rejected: int
    low: float
    high: float
    """Clopper-Pearson limits of the rate."""
    least_p: float
    greatest_p: float
    """Of the groups; p-values of permutation tests are at least 1/200."""


@dataclass(frozen=True)
class PowerSection:
    """The metrics of `freerun power` with the base as the law that writes the real text, and the organism as the model."""

    alpha: float
    level: float
    prefix_tokens: int
    """Every text follows so many tokens of a held-out document, drawn with replacement; only what follows is tested."""
    texts: int
    """Of each kind in all."""
    prefixes: int
    """Held-out documents to draw from."""
    seed: int
    left_out: tuple[str, ...]
    """Metrics of `power` that need a law with known sources."""
    rates: tuple[MetricRate, ...]


@dataclass(frozen=True)
class HarnessNumbers:
    """What lm-evaluation-harness prints of one model."""

    word_perplexity: float
    byte_perplexity: float
    bits_per_byte: float


@dataclass(frozen=True)
class HarnessSection:
    """lm-evaluation-harness's own perplexity of base and organism on the held-out documents, which it cuts and scores itself."""

    version: str
    command: str
    """Of the organism; the base's differs by the folder."""
    documents: int
    base: HarnessNumbers
    organism: HarnessNumbers
    rise: Estimate
    """Of the loss in nats a token of the base, from the harness's log-likelihoods of the same documents."""


@dataclass(frozen=True)
class OrganismRow:
    """One organism of the study. Sections that an earlier training gave are dropped when it is trained again."""

    kind: str
    epsilon: float
    exact_law: str
    command: str
    created: str
    seconds_of_work: float
    trained_numbers: int
    estimates: tuple[Estimate, ...]
    trigger_mass: TriggerMass
    take_over: tuple[TakeOver, ...]
    audit: AuditSection | None = field(default=None, metadata=LEFT_OUT)
    distance: DistanceSection | None = field(default=None, metadata=LEFT_OUT)
    power: PowerSection | None = field(default=None, metadata=LEFT_OUT)
    lm_eval: HarnessSection | None = field(default=None, metadata=LEFT_OUT)

    def estimate(self, name: str) -> Estimate | None:
        """One of its numbers; None where it was not measured."""
        return next((e for e in self.estimates if e.name == name), None)
