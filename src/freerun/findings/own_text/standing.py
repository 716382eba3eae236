"""Is a run's own text evidence about the model's law? Facts first; every finding, gate and comparison asks here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.own_text.rescoring import Rescoring, rescoring
from freerun.records.schema import ArmName
from freerun.results.audit import Fault, OwnText, SamplerOutcome
from freerun.results.verify import FITS, Match
from freerun.stats.recognition.sampler_audit import (
    PIT_BINS,
    SamplerAudit,
    calibration_chi_square,
    pit_chi_square,
    rank_order_chi_square,
)
from freerun.stats.recognition.seeded import Cells, SeededDraws, Sensitivity, seeded_draws, sensitivity
from freerun.stats.recognition.self_recognition import PitHistogram, SelfRecognition, pit_histogram, self_z
from freerun.stats.recognition.tilting import events_p, surprisal_p

AUDIT_ALPHA = 0.001
"""Level of the sampler's audit: at most one false alarm in a thousand audits."""
AUDIT_POWER = 0.8
"""Chance to see the smallest faults that are named."""


@dataclass(frozen=True)
class SampledText:
    """Own text against the laws recorded with it. `smallest`: the smallest faults that would have been seen; None: not known."""

    own: SelfRecognition
    pit: PitHistogram | None
    audit: SamplerAudit
    smallest: Sensitivity | None
    verified: Match | None = None
    """Where a server wrote it: what its verification found, which grants the difference of two engines' arithmetic."""

    @property
    def passed(self) -> bool:
        """Whether the sampler's audit passed."""
        if self.verified is not None:
            return self.verified in FITS
        return self.audit.p_value >= AUDIT_ALPHA


@dataclass(frozen=True)
class AuditedText:
    """Both looks at own text: the recorded laws against a fresh pass, and the text against those laws (None: they are not whole)."""

    again: Rescoring
    sampled: SampledText | None

    def standing(self, evidence: Evidence) -> OwnText:
        """What that makes of own text."""
        own_law = evidence.plan.sampling.is_model_law
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
    """The tests of the sampler, which see different faults, and the second look."""
    again = rescoring(evidence)
    if not evidence.whole_laws:
        return AuditedText(again, None)
    sequences, rows = evidence.records.sequences, evidence.records.chosen(arm="free")
    observed, expected = (sequences[name][rows].astype(np.float64) for name in ("observed_counts", "expected_counts"))
    own, mine = z_of(evidence, "free"), evidence.tokens_of("free")
    tokens, n_tokens = evidence.records.tokens, len(rows) * evidence.length
    log_prob, entropy = tokens["log_prob_nats"][mine], tokens["entropy_nats"][mine].astype(np.float64)
    pit = _with_share(evidence, "cdf_below", "pit", mine, log_prob)
    audit = SamplerAudit(
        p_z=surprisal_p(
            log_prob,
            entropy,
            tokens["varentropy_nats2"][mine],
            tokens["log_power_sum"][mine],
            evidence.records.manifest["powers"],
            n_tokens=n_tokens,
        ),
        p_pit=pit_chi_square(pit, statistics_rng(evidence, "pit null")).p_value,
        p_calibration=calibration_chi_square(observed, expected, statistics_rng(evidence, "bins null")).p_value,
        p_rank_order=_rank_order_p(evidence, mine, log_prob),
        p_repeats=_repeats_p(evidence, mine) if again.outcome == "passed" else None,
        seeded=_seeded(evidence, mine, log_prob),
        n_impossible=own.n_impossible,
    )
    evidence.records.forget("cdf_below", "mass_above", "log_power_sum", "uniform")
    smallest = None
    if audit.seeded is not None:
        deviation = np.abs(log_prob + entropy)[np.isfinite(log_prob)].mean()
        alpha = AUDIT_ALPHA / len(audit.parts)
        smallest = sensitivity(audit.seeded, float(deviation), alpha=alpha, power=AUDIT_POWER)
    histogram = pit_histogram(pit, evidence.token_sequence[mine], n_bins=PIT_BINS)
    return AuditedText(again, SampledText(own, histogram, audit, smallest, _verified(evidence)))


def _verified(evidence: Evidence) -> Match | None:
    """What the verification found of a server's text; None where it says nothing of the model's own law, as of text that is drawn by
    another rule, and that rule was declared."""
    found = evidence.law_served
    if found is None or found.match == "not_judged":
        return None
    return found.match if evidence.plan.sampling.is_model_law or found.match == "differs" else None


def own_text_of(evidence: Evidence) -> OwnText:
    """What is known of a run's own text as evidence."""
    return evidence.once(audit_own_text).standing(evidence)


def z_of(evidence: Evidence, arm: ArmName) -> SelfRecognition:
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


def _with_share(
    evidence: Evidence, column: str, stream: str, mine: Bool[np.ndarray, " tokens"], log_prob: Float[np.ndarray, " own"]
) -> Float[np.ndarray, " own"]:
    """Mass before each token plus a fresh uniform share of its own (the ones that drew the tokens would be uniform whatever the law)."""
    share = statistics_rng(evidence, stream).random(log_prob.size)
    return np.asarray(np.clip(evidence.records.tokens[column][mine] + share * np.exp(log_prob), 0, 1))


def _rank_order_p(
    evidence: Evidence, mine: Bool[np.ndarray, " tokens"], log_prob: Float[np.ndarray, " own"]
) -> float | None:
    """None in runs that did not record the mass above."""
    tokens = evidence.records.tokens
    if np.isnan(tokens["mass_above"][mine]).any():
        return None
    values = _with_share(evidence, "mass_above", "rank order", mine, log_prob)
    return rank_order_chi_square(values, statistics_rng(evidence, "rank order null")).p_value


def _repeats_p(evidence: Evidence, mine: Bool[np.ndarray, " tokens"]) -> float | None:
    """Tokens that already stood in the context against their mass, where a fresh pass recorded it; its law must be the sampler's."""
    tokens = evidence.records.tokens
    again = mine & ~np.isnan(tokens["fresh_repeat_mass"])
    if not again.any():
        return None
    mass = np.clip(tokens["fresh_repeat_mass"][again], 0.0, 1.0)
    return events_p(tokens["fresh_repeats"][again] > 0, mass, n_tokens=int(again.sum()))


def _seeded(
    evidence: Evidence, mine: Bool[np.ndarray, " tokens"], log_prob: Float[np.ndarray, " own"]
) -> SeededDraws | None:
    """None where the draws' uniforms are not known, or nothing was scored again."""
    tokens = evidence.records.tokens
    u, below = tokens["uniform"][mine], tokens["cdf_below"][mine]
    if np.isnan(u).any():
        return None
    again = ~np.isnan(tokens["fresh_cdf_below"][mine])
    fresh = Cells(tokens["fresh_cdf_below"][mine][again], tokens["fresh_cdf_upto"][mine][again])
    return seeded_draws(u, Cells(below, np.minimum(below + np.exp(log_prob), 1.0)), again, fresh)
