"""What is concluded of a sweep: runs of one plan that differ only in what stands before the same continuations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from freerun.results.compare import ALPHA, Bounds, open_ends
from freerun.results.finding import Chart, Table
from freerun.results.horizons import HorizonSummary
from freerun.results.verdict import Verdict
from freerun.stats.design.detectable import smallest_detectable_difference
from freerun.stats.detection.paired_horizon import DrawnDifference
from freerun.stats.paired import PairedDifference

Direction = Literal["falls", "grows", "none"]


@dataclass(frozen=True)
class Design:
    """What all settings share."""

    model: str
    corpus: str
    sampling: str
    documents: int
    tokens_before_cut: int
    tokens: int


@dataclass(frozen=True)
class LengthAuc:
    """The AUC at one length."""

    tokens: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SettingLoss:
    """Loss on the real tokens that the setting holds possible, nats a token, and how many it does not."""

    value: float
    low: float
    high: float
    impossible_tokens: int


@dataclass(frozen=True)
class Setting:
    """One run of a sweep; what is None was not measured."""

    name: str
    prefix: int
    exemplars: int
    exemplar_tokens: int
    plan_hash: str
    auc_by_length: tuple[LengthAuc, ...] = ()
    auc_last: Bounds | None = None
    mean_auc: Bounds | None = None
    h75_tokens: HorizonSummary | None = None
    loss_nats_per_token: SettingLoss | None = None
    pairs_left_out: int | None = None


@dataclass(frozen=True)
class Contrast:
    """A difference between settings, or a slope over them, with its test.

    `degenerate`: every document gives the same, as where the context changes nothing; an interval would have no width, so there is
    none, and no test of a value that is zero.
    """

    value: float
    low: float | None
    high: float | None
    level: float
    n: int
    standard_error: float
    p_value: float | None
    smallest_detectable: float | None
    unit: str = ""
    adjusted_p: float | None = None
    found: bool = False
    degenerate: bool = False

    @classmethod
    def of(cls, d: PairedDifference, unit: str, adjusted_p: float | None = None, *, tests: int = 1) -> Contrast:
        """With its p-value adjusted for the tests beside it (Holm), `found` says whether it is told from zero."""
        limits: dict[str, float | None] = {"low": d.low, "high": d.high, "p_value": d.p_value}
        least: float | None = smallest_detectable_difference(d.standard_error, d.n, alpha=ALPHA / tests)
        if d.degenerate:
            # that all documents agree on a sign is a test (2^(1-n)); that nothing differs is none
            limits = {"low": None, "high": None, "p_value": d.p_value if d.value else None}
            least, adjusted_p = None, adjusted_p if d.value else None
        return cls(
            **{**asdict(d), **limits},
            smallest_detectable=least,
            unit=unit,
            adjusted_p=adjusted_p,
            found=adjusted_p is not None and adjusted_p <= ALPHA,
            degenerate=d.degenerate,
        )


@dataclass(frozen=True)
class HorizonDifference:
    """A difference of horizons in tokens; a limit that is None lies beyond the lengths measured."""

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    degenerate: bool

    @classmethod
    def of(cls, d: DrawnDifference) -> HorizonDifference:
        return cls(d.value, *open_ends(d), None if d.degenerate else d.p_value, d.degenerate)


@dataclass(frozen=True)
class SettingDifference:
    """A setting, by the value that it has on the axis, minus the one with least context."""

    value: int
    mean_auc: Contrast
    h75_tokens: HorizonDifference
    loss_nats_per_token: Contrast | None


@dataclass(frozen=True)
class AxisResult:
    """What happens along one axis. `settings`: which of the sweep's settings stand on it, in the order of `values`."""

    key: str
    label: str
    values: tuple[int, ...]
    settings: tuple[int, ...]
    trend: Contrast
    loss_trend: Contrast | None
    differences: tuple[SettingDifference, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]
    outcome: Direction
    words: str
    sentence: str


@dataclass(frozen=True)
class SweepResult:
    """All that is said of a sweep; no axis where nothing can be."""

    schema_version: int
    kind: str
    freerun_version: str
    title: str
    verdict: Verdict
    design: Design
    settings: tuple[Setting, ...]
    axes: tuple[AxisResult, ...]
    cautions: tuple[str, ...]
    licence: str
    command: str
    created: str
