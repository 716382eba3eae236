"""What the findings about two models share: the records, and the statistics of whole texts, made once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import lengths_up_to
from freerun.records.distance import DistancePlan, DistanceRecords, Texts
from freerun.stats.two_laws.best_detector import BestDetector, best_detector
from freerun.stats.two_laws.certificate import TvBand, TvCertificate, certificate, tv_band
from freerun.stats.two_laws.k import KEstimate, k_by_length
from freerun.stats.two_laws.texts import TwoLaws

ARM_WORDS = {"real": "real text", "a": "A's own text", "b": "B's own text"}

FLOOR_WORDS = {
    "floor_real": "floor: A against itself, real text",
    "floor_a": "floor: A against itself, its own text",
    "floor_real_b": "floor: B against itself, real text",
    "floor_b": "floor: B against itself, its own text",
}


@dataclass(frozen=True, eq=False)
class TwoModels:
    """Records of two models along the same texts, and what is derived from them once."""

    records: DistanceRecords

    @property
    def plan(self) -> DistancePlan:
        return self.records.plan

    @property
    def names(self) -> tuple[str, str]:
        """Of A and B."""
        return self.plan.a.model, self.plan.b.model

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Of the independent documents, by number."""
        return self.records.texts[self.token_arm].unit_names

    def texts(self, arm: str) -> Texts | None:
        """The texts of an arm; None where it was not measured."""
        return self.records.texts.get(arm)

    @property
    def has_whole_laws(self) -> bool:
        """Whether both models tell whole laws; of a served one nothing is known but the log-probabilities of tokens."""
        return not self.plan.token_log_probs_only

    def laws(self, arm: str) -> TwoLaws | None:
        texts = self.texts(arm)
        if texts is None:
            return None
        return texts.laws if self.has_whole_laws else texts.laws.by_gaps

    @property
    def token_arm(self) -> str:
        """The texts on which single tokens are described: real ones, where they were measured."""
        return next(arm for arm in ("real", "a", "b") if arm in self.records.texts)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " lengths"]:
        """At which whole texts are compared: declared by the plan."""
        return lengths_up_to(self.plan.tokens)

    @property
    def n_units(self) -> int:
        laws = self.laws(self.token_arm)
        return 0 if laws is None else int(np.unique(laws.unit).size)

    @cached_property
    def certificate(self) -> TvCertificate | None:
        """Of both own texts; None where one was not measured, or there are too few."""
        a, b = self.laws("a"), self.laws("b")
        if a is None or b is None:
            return None
        try:
            return certificate(a, b, self.lengths)
        except TooFewDocuments:
            return None

    @cached_property
    def tv(self) -> TvBand | None:
        """The total variation: from both sides, or from the one that was measured."""
        if self.certificate is not None:
            return self.certificate.both
        a, b = self.laws("a"), self.laws("b")
        one = a if a is not None else None if b is None else b.swapped
        try:
            return None if one is None else tv_band(one, self.lengths)
        except TooFewDocuments:
            return None

    @cached_property
    def best(self) -> BestDetector | None:
        a, b = self.laws("a"), self.laws("b")
        if a is None or b is None:
            return None
        try:
            return best_detector(a, b, self.lengths)
        except TooFewDocuments:
            return None

    @cached_property
    def k(self) -> tuple[KEstimate, ...] | None:
        """K on A's own text."""
        return self._k(self.laws("a"))

    @cached_property
    def k_reverse(self) -> tuple[KEstimate, ...] | None:
        """K on B's own text, of A against B."""
        b = self.laws("b")
        return self._k(None if b is None else b.swapped)

    @cached_property
    def floors(self) -> dict[str, TvBand]:
        """For A and B, as far as they wrote: own text under the law recorded while it was drawn, and under the same law by the scoring
        pass. What lies below cannot be told from computing one law twice."""
        out = {}
        for arm in ("a", "b"):
            texts = self.texts(arm)
            if texts is None or texts.drawn_gap_nats is None:
                continue
            own = texts.laws.log_p if arm == "a" else texts.laws.log_q
            again = replace(texts.laws, log_p=own, log_q=own - texts.drawn_gap_nats)
            with suppress(TooFewDocuments):
                out[arm] = tv_band(again, self.lengths)
        return out

    def _k(self, laws: TwoLaws | None) -> tuple[KEstimate, ...] | None:
        try:
            return None if laws is None else k_by_length(laws, self.lengths)
        except TooFewDocuments:
            return None
