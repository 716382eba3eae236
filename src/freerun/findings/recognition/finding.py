"""Can its own text be told from real text: by its laws against a reference, by its laws alone? And is what was sampled its law?

Three claims are kept apart (METHODS 4). Information-theoretic: the likelihood ratio against the reference. Introspective: what the
model's own laws say. Verbal: what it says when asked, a finding of its own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from freerun.findings.drift import OWN_LAW
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.rescoring import (
    agreement_words,
    refusal_words,
    rescoring_chart,
    rescoring_estimates,
    rescoring_table,
)
from freerun.findings.own_text.standing import AuditedText, audit_own_text, z_of
from freerun.findings.recognition.checking import (
    Checking,
    checking,
    checking_chart,
    checking_table,
    estimate,
    gap_estimates,
    rank_chart,
    rank_table,
    spell,
)
from freerun.results.finding import Chart, Estimate, Finding, Series, Table
from freerun.stats.detection.likelihood_features import TokenColumns
from freerun.stats.intervals import clopper_pearson, cluster_ratio
from freerun.stats.recognition.likelihood_ratio import LikelihoodRatio, likelihood_ratio
from freerun.stats.recognition.sampler_audit import PIT_BINS, SamplerAudit
from freerun.stats.recognition.self_recognition import (
    MonteCarloRank,
    PitUniformity,
    SelfRecognition,
    e_process_log,
    monte_carlo_rank,
)

QUESTION = "Does it recognise itself, and are the samples its law?"


def self_recognition(evidence: Evidence, audited: AuditedText | None = None) -> Finding:
    """The sampler's audit with its second look, and the first two of the three claims.

    `audited`: both looks, where they were taken before.
    """
    audited = audited or audit_own_text(evidence)
    again, sampled = audited.again, audited.sampler
    if sampled is None:
        verdict = (
            f"{refusal_words(again)}. Own text is refused as evidence."
            if again.outcome == "failed"
            else agreement_words(again)
        )
        why = f"The model tells no whole laws, so its samples cannot be held against them. {verdict}"
        return Finding.unknown("self_recognition", QUESTION, why, *rescoring_estimates(again))
    own, pit, audit, passed = sampled.own, sampled.pit, sampled.audit, sampled.passed
    real, control = (z_of(evidence, arm) for arm in ("real", "tempered"))
    declared = evidence.plan["sampling"]
    is_model = declared == OWN_LAW
    p = audit.p_value
    if again.outcome == "failed":
        verdict = refusal_words(again)
    elif passed:
        verdict = f"The samples agree with the model's own law at temperature 1 (audit p = {_p(p)})"
    elif is_model:
        verdict = f"The samples are NOT the model's law at temperature 1 (z = {_signed(own.z_total)}, audit p {_p(p)}): mistrust this run"
    else:
        verdict = f"As declared ({declared}), the samples are not the model's law at temperature 1 (z = {_signed(own.z_total)}, p {_p(p)})"
    ratio_own, ratio_real = (
        _ratio(evidence, _rows(evidence, "free")),
        _ratio(evidence, _rows(evidence, "real", split="test")),
    )
    found = checking(evidence)
    ranked = _monte_carlo(evidence)
    sentence = f"{verdict}. {agreement_words(again)} {_surprise(own, real)}{_told(found)}"
    if again.outcome == "failed":
        sentence = f"{verdict}. Own text is refused as evidence."
    return Finding(
        name="self_recognition",
        question=QUESTION,
        sentence=sentence,
        status="good" if passed and again.outcome != "failed" else "bad",
        estimates=(
            *_audit_estimates(evidence, own, real, control, audit),
            *rescoring_estimates(again),
            *_e_estimates(evidence),
            *_ratio_estimates(evidence, ratio_own, ratio_real),
            *__rank_estimate(ranked),
            *gap_estimates(found),
        ),
        charts=(
            _pit_chart(pit),
            *rescoring_chart(again, evidence.length),
            rank_chart(evidence),
            *checking_chart(found),
        ),
        tables=(
            _claims(evidence, own, real, ratio_own, ratio_real, found),
            *rescoring_table(again, evidence.length),
            rank_table(evidence),
            *checking_table(found),
        ),
        licence=(
            "Null: the tokens were drawn from the recorded laws; that these are the laws of the model a fresh pass over some of the texts says, "
            "without a test: no difference beyond rounding is allowed. Under the null D is a martingale difference, so tokens may be counted on own "
            "text; on real text the unit is the document. The e-process and the likelihood ratio are valid at any stopping time, the rest "
            "at the fixed length. z is blind to a temperature-optimal model: |z| near 0 on real text is no proof; the likelihood ratio is not "
            "blind to it. Detectors are chosen and oriented on training documents and judged on test documents, as fitted."
        ),
        notes=_notes(evidence, own, real, pit, audit, ratio_real),
    )


# ---- the sampler's audit -----------------------------------------------------------------------------------------------


def _audit_estimates(
    evidence: Evidence, own: SelfRecognition, real: SelfRecognition, control: SelfRecognition, audit: SamplerAudit
) -> tuple[Estimate, ...]:
    how = "z = ΣD/√ΣV, D = −ln q(x) − H, V the varentropy; standard normal on the model's own text"
    normal = "standard normal"
    return (
        Estimate(
            "own_z_total",
            "z of all own text together",
            own.z_total,
            normal,
            n=own.n,
            independent_unit="token",
            method=how,
        ),
        Estimate(
            "own_z_mean", "Mean z, own text", own.mean, "z", *_band(evidence, own, "free"), 0.95, own.n, "sequence", how
        ),
        Estimate(
            "own_z_sd", "SD of z, own text (1 expected)", own.sd, "z", *_sd_band(own), 0.95, own.n, "sequence", how
        ),
        Estimate(
            "sampler_audit_p",
            "Sampler audit, p",
            audit.p_value,
            "p-value",
            n=own.n,
            independent_unit="sequence",
            method="Bonferroni over total z, PIT χ² on 20 bins, and χ² of tokens against mass by bin of probability",
        ),
        Estimate(
            "real_z_mean",
            "Mean z, real text",
            real.mean,
            "z",
            *_band(evidence, real, "real"),
            0.95,
            real.n,
            "document",
            how,
        ),
        Estimate(
            "control_z_total",
            f"z of the control (t = {evidence.plan['control_temperature']:g})",
            control.z_total,
            normal,
            n=control.n,
            method="the same; must be far from 0 if the audit has power",
        ),
    )


def _pit_chart(pit: PitUniformity | None) -> Chart:
    n = PIT_BINS if pit is None else len(pit.share)
    edges = np.linspace(0, 1, n + 1)
    series, y_range = Series("own text", "free", (None,) * n), (0.0, 2.0)
    if pit is not None:
        series = Series("own text", "free", _density(pit.share), _density(pit.low), _density(pit.high))
        narrow = pit.low.min() * n > 0.8 and pit.high.max() * n < 1.2
        y_range = (0.8, 1.2) if narrow else (0.0, float(max(2.0, pit.high.max() * n * 1.1)))
    return Chart(
        name="pit",
        title="PIT of its own text: flat if the samples are its law",
        x_label="mass below the token, plus a uniform share of its own",
        y_label=f"share of tokens × {n}",
        x=tuple(float(v) for v in (edges[:-1] + edges[1:]) / 2),
        series=(series,),
        levels=((1.0, "flat"),),
        y_range=y_range,
    )


def _density(shares: np.ndarray) -> tuple[float, ...]:
    """Shares of equal bins as a density: 1 where flat."""
    return tuple(float(s) * len(shares) for s in shares)


def _band(evidence: Evidence, z: SelfRecognition, arm: str) -> tuple[float | None, float | None]:
    """Mean z with a t interval over documents."""
    known = np.isfinite(z.z_per_sequence)
    groups = evidence.units[evidence.records.chosen(arm=arm)][known]
    if np.unique(groups).size < 2:
        return None, None
    found = cluster_ratio(z.z_per_sequence[known], np.ones(int(known.sum())), groups)
    return found.low, found.high


def _sd_band(z: SelfRecognition) -> tuple[float | None, float | None]:
    """SD ± 1.96 · SD/√(2n), for nearly normal z."""
    if z.sd is None or z.n < 10:
        return None, None
    half = 1.96 * z.sd / np.sqrt(2 * z.n)
    return float(z.sd - half), float(z.sd + half)


# ---- introspective: what its own laws say ------------------------------------------------------------------------------


def _rows(evidence: Evidence, arm: str, **wanted: str) -> Int[np.ndarray, " rows"]:
    """Sequences of an arm; of real text the first of every independent unit."""
    rows = evidence.records.chosen(arm=arm, **wanted)
    if arm != "real":
        return rows
    first = np.sort(np.unique(evidence.units[rows], return_index=True)[1])
    return np.asarray(rows[first])


def _e_estimates(evidence: Evidence) -> tuple[Estimate, ...]:
    """Share of texts whose e-process ever reached 20."""
    tokens = evidence.records.tokens
    out = []
    for arm, name, label, unit in (
        ("free", "own", "Own texts", "sequence"),
        ("real", "real", "Real texts", "document"),
    ):
        rows = _rows(evidence, arm)
        mine = np.isin(evidence.token_sequence, rows)
        found = e_process_log(
            tokens["log_prob_nats"][mine],
            tokens["log_power_sum"][mine],
            np.asarray(evidence.records.manifest["powers"]),
            np.searchsorted(rows, evidence.token_sequence[mine]),
            len(rows),
        )
        share = clopper_pearson(int(np.count_nonzero(found.log_e_max >= np.log(20))), len(rows))
        how = "introspective: share with e ≥ 20 at any token (Clopper–Pearson); at most 5% on its own text, at any stopping time"
        out.append(
            estimate(
                f"{name}_share_e_20", f"{label} that the model did not write, by e-value", share, "share", unit, how
            )
        )
    evidence.records.forget("log_power_sum")
    return tuple(out)


def _monte_carlo(evidence: Evidence) -> MonteCarloRank | None:
    """Rank of each real text's ΣD among the model's own continuations of its prefix; needs no variance."""
    panel = evidence.panel
    if not panel.n_pairs:
        return None
    real = _excess(panel.columns(panel.real))
    return monte_carlo_rank(real, np.stack([_excess(panel.columns(f)) for f in panel.free.T], axis=1))


def _excess(columns: TokenColumns) -> np.ndarray:
    return np.asarray((-columns.log_prob - columns.entropy).sum(axis=1))


def __rank_estimate(found: MonteCarloRank | None) -> tuple[Estimate, ...]:
    if found is None:
        return ()
    return (
        Estimate(
            "real_rank_p",
            f"Real text among {found.n_samples} own of its prefix, p",
            found.p_two_sided,
            "p-value",
            n=found.n,
            method=f"introspective: exact Monte-Carlo rank of ΣD within prefixes, which holds where z does not (mean rank {found.mean_rank:.2f}, "
            "½ if the model wrote it)",
        ),
    )


# ---- information-theoretic: against the reference ----------------------------------------------------------------------


def _ratio(evidence: Evidence, rows: Int[np.ndarray, " rows"]) -> LikelihoodRatio | None:
    """Of real text only test documents: the reference's weights are fitted on the others."""
    if len(rows) < 2:
        return None
    mine = np.isin(evidence.token_sequence, rows)
    index = np.searchsorted(rows, evidence.token_sequence[mine])
    q, r = evidence.records.tokens["log_prob_nats"][mine], evidence.reference_log_prob[mine]
    return likelihood_ratio(q, r, index, len(rows))


def _ratio_estimates(
    evidence: Evidence, own: LikelihoodRatio | None, real: LikelihoodRatio | None
) -> tuple[Estimate, ...]:
    out = []
    for name, unit, found in (("own", "sequence", own), ("real", "document", real)):
        if found is None:
            continue
        rows = _rows(evidence, "free") if name == "own" else _rows(evidence, "real", split="test")
        sums, n = found.sum_nats, found.sum_nats.size
        how = "information-theoretic: Σ(ln q − ln r) of a text, t interval over documents"
        title = f"Log likelihood ratio of {name} text, model over reference"
        if np.isfinite(sums).all():
            mean = cluster_ratio(sums, np.ones(n), evidence.units[rows])
            out.append(estimate(f"lr_{name}_mean_nats", title, mean, "nats a text", "document", how))
        else:
            said = "infinite: a token without mass"
            out.append(
                Estimate(f"lr_{name}_mean_nats", title, None, "nats a text", n=n, independent_unit=unit, text=said)
            )
        how = "information-theoretic: any-time p = min(1, min over tokens of Π q/r) ≤ 0.05 (Clopper–Pearson); at most 5% on its own text"
        title = f"{name.capitalize()} texts that the model did not write, by likelihood ratio"
        out.append(estimate(f"{name}_share_lr_05", title, found.rejected(), "share", unit, how))
    return tuple(out)


# ---- what is said ------------------------------------------------------------------------------------------------------


def _claims(
    evidence: Evidence,
    own: SelfRecognition,
    real: SelfRecognition,
    ratio_own: LikelihoodRatio | None,
    ratio_real: LikelihoodRatio | None,
    found: Checking | None,
) -> Table:
    """The three claims side by side."""
    rejected = ["–" if r is None else f"{r.rejected().value:.1%} rejected" for r in (ratio_own, ratio_real)]
    aucs = ["–", "–"] if found is None else [spell(c[-1].auc, 2) for c in (found.ratio, found.own_laws)]
    return Table(
        "claims",
        f"Three claims, kept apart (AUC at {evidence.panel.length} tokens)",
        ("claim", "what it may use", "own text", "real text", "AUC"),
        (
            ("information-theoretic", "its laws and the reference's", *rejected, aucs[0]),
            ("introspective", "its own laws", f"mean z {_signed(own.mean)}", f"mean z {_signed(real.mean)}", aucs[1]),
            ("verbal", "its answer when asked", "–", "–", "asked with --ask; a finding of its own"),
        ),
    )


def _notes(
    evidence: Evidence,
    own: SelfRecognition,
    real: SelfRecognition,
    pit: PitUniformity | None,
    audit: SamplerAudit,
    ratio_real: LikelihoodRatio | None,
) -> tuple[str, ...]:
    chi = (
        "too few tokens for PIT"
        if pit is None
        else f"PIT χ² = {pit.chi_square:.1f} on {len(pit.share) - 1} degrees of freedom, p {_is(pit.p_value)}"
    )
    notes = [f"Audit: z p {_is(audit.p_z)}; {chi}; mass by bin of probability p {_is(audit.p_calibration)}."]
    if own.n_flat or real.n_flat:
        notes.append(
            f"{own.n_flat} own and {real.n_flat} real texts have almost no variance (inside loops) and no z of their own. Records hold no fresh "
            "samples of own texts to rank them among; real texts are ranked among the own ones of their prefix instead."
        )
    if own.n_impossible:
        notes.append(f"{own.n_impossible} own texts hold a token that the law gives no mass: the sampler is broken.")
    if ratio_real is not None and ratio_real.n_impossible:
        notes.append(
            f"{ratio_real.n_impossible} real texts hold a token that the model makes impossible: the likelihood ratio rejects them at once."
        )
    tokens = evidence.records.tokens
    mine = evidence.tokens_of("free") & (tokens["rank"] == 1)
    tied = int(np.count_nonzero(tokens["token_id"][mine] != tokens["top_id"][mine]))
    if tied:
        notes.append(f"{tied / mine.sum():.1%} of own tokens of rank 1 are tied with another of the same probability.")
    return tuple(notes)


def _surprise(own: SelfRecognition, real: SelfRecognition) -> str:
    """What its own laws say of real text, where they say anything."""
    if real.mean is None:
        return "Its laws have no varentropy on real text, so its own surprise says nothing of it."
    sees = "more surprising than" if real.mean > 0 else "less surprising than"
    return f"By its own laws real text is {sees} what it would write: mean z {_signed(real.mean)} a document (own text {_signed(own.mean)})."


def _told(found: Checking | None) -> str:
    if found is None:
        return ""
    own, ratio = found.own_laws[-1].auc, found.ratio[-1].auc
    return (
        f" At {found.lengths[-1]} tokens its best single own score tells the two apart with AUC {own.value:.2f}, the likelihood ratio "
        f"against the reference with {ratio.value:.2f}."
    )


def _is(p: float) -> str:
    return _p(p) if p < 1e-4 else f"= {_p(p)}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2f}".replace("-", "−")
