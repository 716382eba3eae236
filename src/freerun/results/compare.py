"""What is concluded of runs that measured the same documents: their differences, and what may be said of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from freerun.results.finding import LEFT_OUT, Chart, Table
from freerun.results.first_look import FirstLook
from freerun.results.horizons import HorizonSummary
from freerun.results.quantity import Quantity
from freerun.results.verdict import Card, Status, Verdict
from freerun.stats.design.detectable import smallest_detectable_difference
from freerun.stats.detection.paired_horizon import DrawnDifference
from freerun.stats.intervals import Interval
from freerun.stats.paired import PairedDifference

ALPHA = 0.05


@dataclass(frozen=True)
class Bounds:
    """A number between the limits of its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> Bounds:
        return cls(interval.value, interval.low, interval.high)


@dataclass(frozen=True)
class Difference:
    """Second run minus first (or a slope over runs) of one quantity.

    `a`, `b`: the quantity in each run on the documents that both have. `low` or `high` None: the interval is open there, because a
    horizon lies beyond the lengths measured (or there is no interval at all). `adjusted_p`: Holm over the primary ones, Benjamini & Yekutieli over
    all others. `smallest_detectable`: the true difference that is told from zero with at least 80% power after that adjustment, from the
    standard error; None where it is not known, as for a difference of horizons, whose spread changes with the horizon itself. `text` says what a number cannot.

    `identical`: both runs hold the same records of what is compared, so that the difference is zero by identity and needs no interval.
    `degenerate`: every document, or every draw, gives the same difference; an interval would have no width, so there is none.
    `found`: it is told from zero, after adjustment at 5% and by its interval where it has one.
    """

    finding: str
    name: str
    label: str
    unit: str
    a: float | None
    b: float | None
    value: float
    low: float | None
    high: float | None
    level: float
    n: int
    p_value: float | None
    adjusted_p: float | None
    standard_error: float | None
    smallest_detectable: float | None
    method: str
    primary: bool = False
    own_text: bool = False
    text: str = ""
    identical: bool = False
    degenerate: bool = False
    found: bool = False

    @classmethod
    def of(
        cls,
        quantity: Quantity,
        d: PairedDifference | DrawnDifference,
        a: float | None,
        b: float | None,
        *,
        method: str,
        label: str = "",
        primary: bool = False,
        text: str = "",
    ) -> Difference:
        """The difference in a quantity that is `a` in the first run and `b` in the second."""
        drawn = isinstance(d, DrawnDifference)
        low, high = open_ends(d) if isinstance(d, DrawnDifference) else (d.low, d.high)
        p_value: float | None = d.p_value
        if d.degenerate:
            low = high = None
            text = text or f"the same in every {'draw' if drawn else 'document'}: no interval"
            # that all documents agree on a sign is a test (2^(1-n)); that all draws agree is none
            p_value = p_value if d.value and not drawn else None
        return cls(
            quantity.finding,
            quantity.name,
            label or quantity.label,
            quantity.unit,
            a,
            b,
            d.value,
            low,
            high,
            d.level,
            d.n,
            p_value,
            None,
            d.standard_error if isinstance(d, PairedDifference) else None,
            None,
            method,
            primary,
            quantity.own_text,
            text,
            degenerate=d.degenerate,
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval, unadjusted, lies on one side of zero."""
        return (self.low is not None and self.low > 0.0) or (self.high is not None and self.high < 0.0)

    def without_interval(self, text: str, *, identical: bool = False) -> Difference:
        """The same where nothing varies, and so nothing is tested."""
        nothing: dict[str, Any] = dict.fromkeys(("low", "high", "p_value", "standard_error"))
        return replace(self, **nothing, text=text, identical=identical, degenerate=False)

    def adjusted(self, p_value: float | None, alpha: float) -> Difference:
        """The same with its p-value adjusted for the tests beside it; `alpha`: the p-value that is significant however they come out."""
        significant = p_value is not None and p_value <= ALPHA
        differs = self.excludes_zero or (self.degenerate and self.value != 0.0)
        least = None
        if self.standard_error and not self.degenerate:
            least = smallest_detectable_difference(self.standard_error, self.n, alpha=alpha)
        return replace(self, adjusted_p=p_value, smallest_detectable=least, found=significant and differs)


def open_ends(d: DrawnDifference) -> tuple[float | None, float | None]:
    """The limits of a difference of horizons: none where the truth may lie beyond the lengths measured, or nothing varies."""
    tail = (1.0 - d.level) / 2.0
    return (
        d.low if d.beyond_a <= tail and not d.degenerate else None,
        d.high if d.beyond_b <= tail and not d.degenerate else None,
    )


@dataclass(frozen=True)
class Breach:
    """Something that two runs must share to be compared, and do not; `lost` says what no longer holds, `run` is the second run."""

    run: str
    what: str
    first: str
    second: str
    lost: str

    def __str__(self) -> str:
        return f"{self.what} ({self.first} against {self.second})"


@dataclass(frozen=True)
class SharedDraws:
    """Own texts of two runs that were drawn with the same keys: how far the same random numbers gave the same tokens."""

    texts_with_same_key: int
    texts_the_same: int
    tokens_until_they_differ: float | None


@dataclass(frozen=True)
class TextTest:
    """How well a detector tells own text of the second run from own text of the first."""

    auc: float
    low: float
    high: float
    p_value: float
    n_test: int
    method: str


@dataclass(frozen=True)
class RunPair:
    """Two runs, the second against the first. Of the differences the loss and the horizon come first.

    `impossible_tokens`: shared real tokens to which the first and the second run give no mass. `own_text_refused`: the runs of the
    two whose own text is refused as evidence, so that texts are not compared.
    """

    first: str
    second: str
    sentence: str
    documents_shared: int
    documents_of_other_tokens: int
    real_tokens_paired: int
    impossible_tokens: tuple[int, int]
    own_text_refused: tuple[str, ...]
    differences: tuple[Difference, ...]
    draws: SharedDraws
    told_apart: TextTest | None


@dataclass(frozen=True)
class QuestionCompared:
    """A question of the audits: its clearest difference (or slope), and in how many of its numbers the runs differ."""

    name: str
    question: str
    status: Status
    cards: tuple[Card, ...]
    n_tested: int
    n_found: int


@dataclass(frozen=True)
class RunSummary:
    """One of the runs by itself: what it is, its loss and its horizon."""

    name: str
    x: float
    model: str
    corpus: str
    sampling: str
    dtype: str
    documents: int
    tokens: int
    plan_hash: str
    own_text: dict[str, str | bool | None]
    loss_nats_per_token: Bounds | None
    h75_tokens: HorizonSummary | None
    first_look: FirstLook | None = field(default=None, metadata=LEFT_OUT)
    """How many of the run's documents were compared, where not all of them are measured yet."""


@dataclass(frozen=True)
class CompareResult:
    """All that `freerun compare` says; with more than two runs (`trend`) also the slope of every quantity over `x`."""

    schema_version: int
    kind: str
    freerun_version: str
    title: str
    verdict: Verdict
    runs: tuple[RunSummary, ...]
    headline: tuple[Card, ...]
    pairs: tuple[RunPair, ...]
    trends: tuple[Difference, ...]
    x_label: str
    charts: tuple[Chart, ...]
    beside: Table | None
    broken: tuple[Breach, ...]
    cautions: tuple[str, ...]
    licence: str
    command: str
    created: str
    questions: tuple[QuestionCompared, ...] = field(default=(), metadata=LEFT_OUT)
