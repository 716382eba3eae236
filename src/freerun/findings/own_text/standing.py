"""Is a run's own text evidence about the model's law? Facts first; every finding, gate and comparison asks here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.own_text.rescoring import Rescoring, rescoring
from freerun.results.audit import Fault, OwnText, SamplerOutcome
from freerun.stats.recognition.sampler_audit import SamplerAudit, calibration_chi_square, pit_test, sampler_audit
from freerun.stats.recognition.self_recognition import PitUniformity, SelfRecognition, self_z

AUDIT_ALPHA = 0.001
"""Level of the sampler's audit: one false alarm in a thousand audits."""


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
    """Both looks at own text: the recorded laws against a fresh pass, and the text against those laws (None: they are not whole)."""

    again: Rescoring
    sampled: SampledText | None

    def standing(self, evidence: Evidence) -> OwnText:
        """What that makes of own text."""
        own_law = evidence.sampling.is_model_law
        sampler: SamplerOutcome = "not_measured"
        if self.sampled is not None:
            sampler = "passed" if self.sampled.passed else "failed"
        fault: Fault | None = None
        if self.again.outcome == "failed":
            fault = "rescoring"
        elif own_law and sampler == "failed":
            fault = "sampler_audit"
        return OwnText(sampler, self.again.outcome, own_law, fault)


def audit_own_text(evidence: Evidence) -> AuditedText:
    """Three tests of the sampler that see different faults (z the temperature, PIT the order of ids, bins of probability the shape of the
    law), and the second look."""
    again = rescoring(evidence)
    if not evidence.whole_laws:
        return AuditedText(again, None)
    own, pit = z_of(evidence, "free"), _pit(evidence)
    sequences, rows = evidence.records.sequences, evidence.records.chosen(arm="free")
    counts = (sequences[name][rows].astype(np.float64) for name in ("observed_counts", "expected_counts"))
    audit = sampler_audit(own, pit, calibration_chi_square(*counts))
    return AuditedText(again, SampledText(own, pit, audit))


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
    fresh = statistics_rng(evidence, "pit").random(int(mine.sum()))
    values = tokens["cdf_below"][mine] + fresh * np.exp(tokens["log_prob_nats"][mine])
    evidence.records.forget("cdf_below")
    return pit_test(np.clip(values, 0, 1), evidence.token_sequence[mine])
