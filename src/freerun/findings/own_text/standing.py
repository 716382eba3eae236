"""Is a run's own text evidence about the model's law? Facts first; every finding, gate and comparison asks here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from freerun.findings.drift import OWN_LAW
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.own_text.rescoring import Outcome, Rescoring, rescoring
from freerun.stats.recognition.sampler_audit import PIT_BINS, SamplerAudit, calibration_chi_square, combined
from freerun.stats.recognition.self_recognition import PitUniformity, SelfRecognition, pit_uniformity, self_z

AUDIT_ALPHA = 0.001
"""Level of the sampler's audit: one false alarm in a thousand audits."""

SamplerOutcome = Literal["passed", "failed", "not_measured"]
"""not_measured: the recorded laws are not whole, so nothing says whether the text was drawn from them."""
Fault = Literal["rescoring", "sampler_audit"]
"""rescoring: the recorded laws are not those of a fresh pass. sampler_audit: the text was not drawn from the recorded laws."""


@dataclass(frozen=True)
class OwnText:
    """What is known of own text as evidence; stands in `result.json` as `own_text`.

    `own_law`: the model's own law was to be sampled, no other rule. `fault` is None where own text is evidence: of the model's law, or of the
    rule that was asked for.
    """

    sampler_audit: SamplerOutcome
    rescoring: Outcome
    own_law: bool
    fault: Fault | None

    @property
    def refused(self) -> bool:
        """Whether no finding may rest on it."""
        return self.fault == "rescoring"


@dataclass(frozen=True)
class SampledText:
    """Own text against the laws recorded with it."""

    own: SelfRecognition
    pit: PitUniformity | None
    audit: SamplerAudit

    @property
    def passed(self) -> bool:
        """Whether the sampler's audit passed."""
        return self.audit.p_value >= AUDIT_ALPHA


@dataclass(frozen=True)
class AuditedText:
    """Both looks at own text: against the laws recorded with it, and those laws against a fresh pass."""

    again: Rescoring
    sampler: SampledText | None
    """None where the recorded laws are not whole."""

    def standing(self, evidence: Evidence) -> OwnText:
        """What that makes of own text."""
        own_law = evidence.plan["sampling"] == OWN_LAW
        fault: Fault | None = None
        if self.again.outcome == "failed":
            fault = "rescoring"
        elif own_law and self.sampler is not None and not self.sampler.passed:
            fault = "sampler_audit"
        audit: SamplerOutcome = "not_measured"
        if self.sampler is not None:
            audit = "passed" if self.sampler.passed else "failed"
        return OwnText(audit, self.again.outcome, own_law, fault)


def audit_own_text(evidence: Evidence) -> AuditedText:
    """Three tests of the sampler that see different faults (z the temperature, PIT the order of ids, bins of probability the shape of the
    law), and the second look."""
    again = rescoring(evidence)
    if not evidence.whole_laws:
        return AuditedText(again, None)
    own, pit = z_of(evidence, "free"), _pit(evidence)
    records = evidence.records
    rows = records.chosen(arm="free")
    bins = calibration_chi_square(
        records.sequences["observed_counts"][rows].astype(np.float64),
        records.sequences["expected_counts"][rows].astype(np.float64),
    )
    n_tokens = int(evidence.tokens_of("free").sum())
    sampler = combined(own, 1.0 if pit is None else pit.p_value, bins, n_tokens=n_tokens)
    return AuditedText(again, SampledText(own, pit, sampler))


def own_text_of(evidence: Evidence) -> OwnText:
    """What is known of a run's own text as evidence."""
    return evidence.once(audit_own_text).standing(evidence)


def z_of(evidence: Evidence, arm: str) -> SelfRecognition:
    """z of the texts of an arm."""
    tokens = evidence.records.tokens
    mine = evidence.tokens_of(arm)
    rows = evidence.records.chosen(arm=arm)
    return self_z(
        tokens["log_prob_nats"][mine],
        tokens["entropy_nats"][mine].astype(np.float64),
        tokens["varentropy_nats2"][mine].astype(np.float64),
        np.searchsorted(rows, evidence.token_sequence[mine]),
        len(rows),
    )


def _pit(evidence: Evidence) -> PitUniformity | None:
    """PIT with fresh uniforms (the ones that drew the tokens would be uniform whatever the law); None for too few tokens."""
    tokens = evidence.records.tokens
    mine = evidence.tokens_of("free")
    rows = evidence.records.chosen(arm="free")
    if mine.sum() < 5 * PIT_BINS or len(rows) < 2:
        return None
    fresh = statistics_rng(evidence, "pit").random(int(mine.sum()))
    values = tokens["cdf_below"][mine] + fresh * np.exp(tokens["log_prob_nats"][mine])
    evidence.records.forget("cdf_below")
    return pit_uniformity(np.clip(values, 0, 1), np.searchsorted(rows, evidence.token_sequence[mine]), n_bins=PIT_BINS)
