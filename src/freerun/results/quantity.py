"""A number is defined once: what it is called, its unit, how it is printed, which gates it has, and its sums over documents.

From a quantity come the estimate of a finding, the paired difference of two runs, the gate, the row of an export, the line of a
model card and the row of the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from freerun.results.finding import Estimate
from freerun.results.horizons import Ends
from freerun.stats.intervals import Interval, ratio_of_group_sums
from freerun.stats.proportions import clustered_rate

LEAST_DOCUMENTS = 64
"""Fewest documents on which gates believe a mean over documents: with fewer, a tenth of them that is twice as hard is too often not
there at all."""
LEAST_SEQUENCES = 24
"""The same for a share of documents with an event, whose limits are those of a binomial law."""


@dataclass(frozen=True)
class Quantity:
    """One number that a finding estimates; `name` is its key among the estimates of `finding`."""

    finding: str
    name: str
    label: str
    unit: str
    own_text: bool = field(default=False, kw_only=True)
    """It speaks of generated text: nothing can be said of it where that is not evidence of the model's law."""
    possible_tokens: bool = field(default=False, kw_only=True)
    """A mean over the real tokens that a run itself holds possible: runs that rule out different tokens do not compare on it."""
    gates: tuple[str, ...] = field(default=(), kw_only=True)
    """What `--fail-on` calls it: the name that is shown, then other names for the same."""
    card: bool = field(default=False, kw_only=True)
    """It stands in the section of a model card."""
    paired: bool = field(default=True, kw_only=True)
    """Two runs of the same documents have a paired difference in it."""
    exact: bool = field(default=False, kw_only=True)
    """It has no interval and needs none, such as a p-value."""
    least: int = field(default=LEAST_DOCUMENTS, kw_only=True)
    """Fewest independent units at which its interval misses no more than 2.5% on either side; gates are undecided below."""
    against_reference: bool = field(default=False, kw_only=True)
    """It is held against the reference that was fitted to the run: runs with references of their own do not compare on it."""
    events: bool = field(default=False, kw_only=True)
    """Its sums are counts of events over the number expected of them."""
    chance: float | None = field(default=None, kw_only=True)
    """Its value where two kinds of text do not differ."""

    def estimate(
        self,
        interval: Interval | None,
        *,
        method: str = "",
        label: str = "",
        text: str = "",
        independent_unit: str = "document",
        ends: Ends | None = None,
    ) -> Estimate:
        """The estimate with this interval; None where nothing can be said, and `text` says why."""
        return Estimate.of(
            self.name,
            label or self.label,
            interval,
            self.unit,
            method=method,
            text=text,
            independent_unit=independent_unit,
            ends=ends,
        )

    def number(
        self,
        value: float | None,
        *,
        n: int | None = None,
        method: str = "",
        label: str = "",
        text: str = "",
        independent_unit: str = "document",
        level: float | None = None,
    ) -> Estimate:
        """The estimate as a number without an interval; `level` where one was set to find it."""
        return Estimate(
            self.name,
            label or self.label,
            value,
            self.unit,
            level=level,
            n=n,
            method=method,
            text=text,
            independent_unit=independent_unit,
        )


@dataclass(frozen=True)
class Sums:
    """A quantity document by document: its estimate is Σ tops / Σ bottoms over independent units.

    A unit without it has zeros in both. Runs are compared on these, pair by pair, and they leave a run as a table of documents.
    """

    quantity: Quantity
    tops: Float[np.ndarray, " units"]
    bottoms: Float[np.ndarray, " units"]

    @property
    def value(self) -> float | None:
        """The ratio; None where no unit has it."""
        total = float(self.bottoms.sum())
        return float(self.tops.sum()) / total if total > 0 else None

    @property
    def by_unit(self) -> Float[np.ndarray, " units"]:
        """The same for each unit by itself; NaN where it has none."""
        out = np.full(self.tops.size, np.nan)
        return np.asarray(np.divide(self.tops, self.bottoms, out=out, where=self.bottoms > 0))

    def interval(self) -> Interval:
        """The ratio with its interval over units.

        Raises:
            TooFewDocuments: fewer than two units have it.
        """
        known = self.bottoms > 0
        sums = self.tops[known], self.bottoms[known]
        return clustered_rate(*sums) if self.quantity.events else ratio_of_group_sums(*sums)

    def estimate(self, *, method: str = "", label: str = "") -> Estimate:
        """The ratio as an estimate with its interval."""
        how = (
            "events over expected ones, Poisson limits at their effective number by document"
            if self.quantity.events
            else "ratio of sums, document-clustered linearised interval (t, widened for skewness)"
        )
        return self.quantity.estimate(self.interval(), method=f"{how}; {method}" if method else how, label=label)
