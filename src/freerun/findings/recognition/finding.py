"""Can its own text be told from real text: by its laws against a reference, by its laws alone? And is what was sampled its law?

Three claims are kept apart. Information-theoretic: the likelihood ratio against the reference. Introspective: what the model's own laws
say. Verbal: what it says when asked, a finding of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.findings.own_text import rescoring
from freerun.findings.own_text.refusal import NOT_SHOWN, of_real_text
from freerun.findings.own_text.rescoring import Rescoring
from freerun.findings.own_text.standing import SampledText, audit_own_text, z_of
from freerun.findings.question import Question
from freerun.findings.recognition import checking, quantities, sampling
from freerun.findings.recognition.checking import Checking
from freerun.records.plan import SamplingRule
from freerun.records.schema import ArmName
from freerun.results.finding import Cell, Estimate, Finding, Table
from freerun.results.quantity import Quantity
from freerun.results.verify import FITS
from freerun.stats.detection.likelihood_features import TokenColumns
from freerun.stats.intervals import Interval, clopper_pearson, cluster_ratio
from freerun.stats.recognition.likelihood_ratio import LikelihoodRatio, likelihood_ratio
from freerun.stats.recognition.self_recognition import SelfRecognition, e_process_log, monte_carlo_rank

QUESTION = "Does it recognise itself, and are the samples its law?"
Z = "z = ΣD/√ΣV, D = −ln q(x) − H, V the varentropy; standard normal on the model's own text"
ARMS = {"own": "free", "real": "real"}
UNITS = {"own": "sequence", "real": "document"}


@dataclass(frozen=True)
class Recognition:
    """What was measured: the sampler's audit with its second look, z of every kind of text, and the likelihood ratios."""

    again: Rescoring
    sampled: SampledText
    z: dict[str, SelfRecognition]
    """Of `own`, `real` and `control` text."""
    ratio: dict[str, LikelihoodRatio]
    """Of `own` and `real` text, where there are two texts or more."""
    scores: Checking | None
    sampling: SamplingRule
    """What the free text was sampled from."""
    law_served: str = ""
    """What the verification says of text that a server wrote."""


def self_recognition(evidence: Evidence) -> Finding:
    """The sampler's audit with its second look, and the first two of the three claims."""
    audited = evidence.once(audit_own_text)
    again, sampled = audited.again, audited.sampled
    if sampled is None:
        look = rescoring.refusal_words(again) if again.outcome == "failed" else rescoring.agreement_words(again)
        why = f"The model tells no whole laws, so its samples cannot be held against them. {look}"
        return Finding.unknown("self_recognition", QUESTION, why, *rescoring.rescoring_estimates(again))
    z = {"own": sampled.own, "real": z_of(evidence, "real"), "control": z_of(evidence, "tempered")}
    ratio = {name: r for name in ARMS if (r := _ratio(evidence, name)) is not None}
    measured = Recognition(
        again,
        sampled,
        z,
        ratio,
        checking.compare_scores(evidence),
        evidence.plan.sampling,
        "" if evidence.law_served is None else evidence.law_served.sentence,
    )
    scores = measured.scores
    refused = again.outcome == "failed"
    finding = Finding(
        name="self_recognition",
        question=QUESTION,
        sentence=_sentence(measured),
        status="bad" if refused else "good" if sampled.passed else "neutral" if _keeps_to_its_rule(evidence) else "bad",
        estimates=(
            *_audit_estimates(evidence, measured),
            *sampling.seeded_estimates(measured.sampled),
            *rescoring.rescoring_estimates(again),
            *_e_estimates(evidence),
            *(e for name in ratio for e in _ratio_estimates(evidence, name, ratio[name])),
            *_rank_estimate(evidence),
            *(() if scores is None else checking.gap_estimates(scores)),
        ),
        charts=rescoring.rescoring_chart(again, evidence.length),
        tables=rescoring.rescoring_table(again, evidence.length),
        licence=(
            "Null: the tokens were drawn from the recorded laws; that these are the laws of the model a fresh pass over some of the texts says, "
            "without a test: no difference beyond rounding is allowed. Under the null the tests of the sampler hold their levels at any number of "
            "tokens. D is a martingale difference, so tokens may be counted on own "
            "text; on real text the unit is the document. The e-process and the likelihood ratio are valid at any stopping time, the rest "
            "at the fixed length. z is blind to a temperature-optimal model: |z| near 0 on real text is not proof; the likelihood ratio is not "
            "blind to it. Detectors are chosen and oriented on training documents and judged on test documents, as fitted."
        ),
        notes=(NOT_SHOWN,),
        refused=refused,
    )
    if refused:
        return replace(finding, estimates=of_real_text(finding.estimates, quantities.QUANTITIES))
    return replace(
        finding,
        charts=(
            sampling.pit_chart(sampled.pit),
            *finding.charts,
            checking.rank_chart(evidence),
            *(() if scores is None else [checking.checking_chart(scores)]),
        ),
        tables=(
            _claims(evidence, measured),
            *finding.tables,
            checking.rank_table(evidence),
            *(() if scores is None else [checking.checking_table(scores)]),
        ),
        notes=_notes(evidence, measured),
    )


# ---- the sampler's audit -----------------------------------------------------------------------------------------------


def _audit_estimates(evidence: Evidence, measured: Recognition) -> tuple[Estimate, ...]:
    own, real, control = measured.z.values()
    return (
        quantities.OWN_Z_TOTAL.number(own.z_total, n=own.n, independent_unit="token", method=Z),
        _z_estimate(quantities.OWN_Z, own.mean, _mean_z(evidence, own, "free"), own.n, "sequence"),
        _z_estimate(quantities.OWN_Z_SD, own.sd, _sd_of_z(own), own.n, "sequence"),
        quantities.SAMPLER_P.number(
            measured.sampled.audit.p_value,
            n=own.n,
            independent_unit="sequence",
            method=f"Bonferroni over {counted(len(measured.sampled.audit.parts), 'test')}: {', '.join(name for name, _ in sampling.parts_of_audit(measured.sampled))}; "
            "each holds its level at any number of tokens",
        ),
        _z_estimate(quantities.REAL_Z, real.mean, _mean_z(evidence, real, "real"), real.n, "document"),
        quantities.CONTROL_Z_TOTAL.number(
            control.z_total,
            n=control.n,
            label=f"z of the control (t = {evidence.plan.control_temperature:g})",
            method="the same; must be far from 0 if the audit has power",
        ),
    )


def _z_estimate(quantity: Quantity, value: float | None, interval: Interval | None, n: int, unit: str) -> Estimate:
    if interval is None:
        return quantity.number(value, n=n, level=0.95, independent_unit=unit, method=Z)
    return quantity.estimate(interval, independent_unit=unit, method=Z)


def _mean_z(evidence: Evidence, z: SelfRecognition, arm: ArmName) -> Interval | None:
    """Mean z with a t interval over documents; None for fewer than two."""
    known = np.isfinite(z.z_per_sequence)
    groups = evidence.units[evidence.records.chosen(arm=arm)][known]
    if np.unique(groups).size < 2:
        return None
    return replace(cluster_ratio(z.z_per_sequence[known], np.ones(groups.size), groups), n=z.n)


def _sd_of_z(z: SelfRecognition) -> Interval | None:
    """SD ± 1.96 · SD/√(2n), for nearly normal z; None for fewer than 10."""
    if z.sd is None or z.n < 10:
        return None
    half = 1.96 * z.sd / float(np.sqrt(2 * z.n))
    return Interval(z.sd, z.sd - half, z.sd + half, 0.95, z.n)


# ---- introspective: what its own laws say ------------------------------------------------------------------------------


def _rows(evidence: Evidence, name: str, **columns: str) -> Int[np.ndarray, " rows"]:
    """Sequences of own text, or of real text the first of every independent unit."""
    rows = evidence.records.chosen(arm=ARMS[name], **columns)
    if name == "own":
        return rows
    return np.asarray(rows[np.sort(np.unique(evidence.units[rows], return_index=True)[1])])


def _e_estimates(evidence: Evidence) -> tuple[Estimate, ...]:
    """Share of texts whose e-process ever reached 20."""
    tokens = evidence.records.tokens
    how = "introspective: share with e ≥ 20 at any token (Clopper–Pearson); at most 5% on its own text, at any stopping time"
    estimates = []
    for name, unit in UNITS.items():
        rows = _rows(evidence, name)
        mine = np.isin(evidence.token_sequence, rows)
        e = e_process_log(
            tokens["log_prob_nats"][mine],
            tokens["log_power_sum"][mine],
            np.asarray(evidence.records.manifest["powers"]),
            np.searchsorted(rows, evidence.token_sequence[mine]),
            len(rows),
        )
        share = clopper_pearson(int(np.count_nonzero(e.log_e_max >= np.log(20))), len(rows))
        estimates.append(quantities.SHARE_E[name].estimate(share, independent_unit=unit, method=how))
    evidence.records.forget("log_power_sum")
    return tuple(estimates)


def _rank_estimate(evidence: Evidence) -> tuple[Estimate, ...]:
    """Rank of each real text's ΣD among the model's own continuations of its prefix; needs no variance."""
    panel = evidence.panel
    if not panel.n_pairs:
        return ()
    real, *own = (_excess(panel.columns(side)) for side in (panel.real, *panel.free.T))
    ranked = monte_carlo_rank(real, np.stack(own, axis=1))
    return (
        quantities.REAL_RANK_P.number(
            ranked.p_two_sided,
            n=ranked.n,
            label=f"Real text among {ranked.n_samples} own of its prefix, p",
            method=f"introspective: exact Monte-Carlo rank of ΣD within prefixes, which holds where z does not (mean rank {ranked.mean_rank:.2f}, "
            "½ if the model wrote it)",
        ),
    )


def _excess(columns: TokenColumns) -> np.ndarray:
    return np.asarray((-columns.log_prob - columns.entropy).sum(axis=1))


# ---- information-theoretic: against the reference ----------------------------------------------------------------------


def _compared_rows(evidence: Evidence, name: str) -> Int[np.ndarray, " rows"]:
    """Of real text only test documents: the reference's weights are fitted on the others."""
    return _rows(evidence, name, **({"split": "test"} if name == "real" else {}))


def _ratio(evidence: Evidence, name: str) -> LikelihoodRatio | None:
    rows = _compared_rows(evidence, name)
    if len(rows) < 2:
        return None
    mine = np.isin(evidence.token_sequence, rows)
    index = np.searchsorted(rows, evidence.token_sequence[mine])
    q, r = evidence.records.tokens["log_prob_nats"][mine], evidence.reference_log_prob[mine]
    return likelihood_ratio(q, r, index, len(rows))


def _ratio_estimates(evidence: Evidence, name: str, ratio: LikelihoodRatio) -> tuple[Estimate, Estimate]:
    sums, unit = ratio.sum_nats, UNITS[name]
    if np.isfinite(sums).all():
        mean = quantities.LR[name].estimate(
            cluster_ratio(sums, np.ones(sums.size), evidence.units[_compared_rows(evidence, name)]),
            method="information-theoretic: Σ(ln q − ln r) of a text, t interval over documents",
        )
    else:
        mean = quantities.LR[name].number(
            None, n=sums.size, independent_unit=unit, text="infinite: a token without mass"
        )
    how = "information-theoretic: any-time p = min(1, min over tokens of Π q/r) ≤ 0.05 (Clopper–Pearson); at most 5% on its own text"
    return mean, quantities.SHARE_LR[name].estimate(ratio.rejected(), independent_unit=unit, method=how)


# ---- words -------------------------------------------------------------------------------------------------------------


def _claims(evidence: Evidence, measured: Recognition) -> Table:
    """The three claims side by side."""
    rejected = [_rejected(measured.ratio.get(name)) for name in ARMS]
    mean_z = [Cell(f"mean z {_signed(measured.z[name].mean)}", measured.z[name].mean, "z") for name in ARMS]
    scores = measured.scores
    aucs = [Cell.number(None)] * 2
    if scores is not None:
        aucs = [Cell.of(curve[-1].auc, 2, "AUC") for curve in (scores.ratio, scores.own_laws)]
    return Table(
        "claims",
        f"Three claims, kept apart (AUC at {evidence.panel.length} tokens)",
        ("claim", "what it may use", "own text", "real text", "AUC"),
        (
            ("information-theoretic", "its laws and the reference's", *rejected, aucs[0]),
            ("introspective", "its own laws", *mean_z, aucs[1]),
            ("verbal", "its answer when asked", "–", "–", "asked with --ask; a finding of its own"),
        ),
    )


def _rejected(ratio: LikelihoodRatio | None) -> Cell:
    if ratio is None:
        return Cell.number(None)
    share = ratio.rejected()
    return Cell(f"{share.value:.1%} rejected", share.value, "share", share.low, share.high)


def _notes(evidence: Evidence, measured: Recognition) -> tuple[str, ...]:
    own, real, ratio = measured.z["own"], measured.z["real"], measured.ratio.get("real")
    notes = sampling.audit_notes(measured.sampled)
    if own.n_flat or real.n_flat:
        notes.append(
            f"{own.n_flat} own and {real.n_flat} real texts have almost no variance (inside loops) and no z of their own. Records hold no fresh "
            "samples of own texts to rank them among; real texts are ranked among the own ones of their prefix instead."
        )
    if own.n_impossible:
        notes.append(f"{own.n_impossible} own texts hold a token that the law gives no mass: the sampler is broken.")
    if ratio is not None and ratio.n_impossible:
        notes.append(
            f"{ratio.n_impossible} real texts hold a token that the model makes impossible: the likelihood ratio rejects them at once."
        )
    mine = evidence.tokens_of("free") & (evidence.records.tokens["rank"] == 1)
    tied = int(np.count_nonzero(evidence.local_ids("token_id")[mine] != evidence.local_ids("top_id")[mine]))
    if tied:
        notes.append(f"{tied / mine.sum():.1%} of own tokens of rank 1 are tied with another of the same probability.")
    return tuple(notes)


def _keeps_to_its_rule(evidence: Evidence) -> bool:
    """Whether a server wrote the text by another rule than the model's law, as was declared."""
    served = evidence.law_served
    return served is not None and not evidence.plan.sampling.is_model_law and served.match in FITS


def _sentence(measured: Recognition) -> str:
    """Whether the samples are its law, what its own laws say of real text, and how well single scores tell the two apart."""
    z = _signed(measured.z["own"].z_total)
    p = sampling.p_words(measured.sampled.audit.p_value)
    if measured.again.outcome == "failed":
        return f"{rescoring.refusal_words(measured.again)}. Own text is refused as evidence."
    if measured.sampled.verified is not None:
        verdict = measured.law_served
    elif measured.sampled.passed:
        verdict = f"The samples agree with the model's own law at temperature 1, {sampling.down_to(measured.sampled)} (audit p = {p})"
    elif measured.sampling.is_model_law:
        verdict = f"The samples are NOT the model's law at temperature 1 (z = {z}, audit p {p}): mistrust this run"
    elif measured.law_served:
        verdict = f"{measured.law_served.removesuffix('.')}; they are not its law at temperature 1 (z = {z}, p {p})"
    else:
        verdict = f"As declared ({measured.sampling.describe()}), the samples are not the model's law at temperature 1 (z = {z}, p {p})"
    return f"{verdict.removesuffix('.')}. {rescoring.agreement_words(measured.again)} {_surprise(measured)}{_scores(measured.scores)}"


def _surprise(measured: Recognition) -> str:
    """What its own laws say of real text, where they say anything."""
    mean = measured.z["real"].mean
    if mean is None:
        return "Its laws have no varentropy on real text, so its own surprise says nothing of it."
    sees, own = "more" if mean > 0 else "less", _signed(measured.z["own"].mean)
    return f"By its own laws real text is {sees} surprising than what it would write: mean z {_signed(mean)} a document (own text {own})."


def _scores(scores: Checking | None) -> str:
    if scores is None:
        return ""
    own, ratio = scores.own_laws[-1].auc, scores.ratio[-1].auc
    return (
        f" At {scores.longest} tokens its best single own score tells the two apart with AUC {own.value:.2f}, the likelihood ratio "
        f"against the reference with {ratio.value:.2f}."
    )


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2f}".replace("-", "−")


ENTRY = Question(
    "self_recognition", QUESTION, self_recognition, quantities.QUANTITIES, quantities.recognition_sums, place=30
)
