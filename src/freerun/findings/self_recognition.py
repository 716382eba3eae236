"""Can the model's own law tell its own text from real text, and is what was sampled that law?"""

from __future__ import annotations

import numpy as np

from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.finding import Chart, Estimate, Finding, Series
from freerun.stats.intervals import Interval, clopper_pearson
from freerun.stats.selfrecognition import PitUniformity, SelfRecognition, e_process_log, pit_uniformity, self_z

AUDIT_ALPHA = 0.001
"""Two-sided level of the sampler's audit: one false alarm in a thousand audits."""


def self_recognition(evidence: Evidence) -> Finding:
    """The z of METHODS 4 on own and on real text, the PIT of own text, and the sampler's audit."""
    own, real = _z(evidence, "free"), _z(evidence, "real")
    control = _z(evidence, "tempered")
    pit = _pit(evidence)
    # Bonferroni over the two tests that see different faults: z the temperature, PIT the shape
    p = min(1.0, 2 * min(own.p_two_sided, pit.p_value))
    passed = p >= AUDIT_ALPHA and own.n_impossible == 0
    declared = evidence.plan["sampling"]
    is_model = declared == "temperature 1, full vocabulary"
    if passed:
        verdict = f"The samples agree with the model's own law at temperature 1 (audit p = {_p(p)})"
    elif is_model:
        verdict = f"The samples are NOT the model's law at temperature 1 (z = {_signed(own.z_total)}, audit p {_p(p)}): mistrust this run"
    else:
        verdict = f"As declared ({declared}), the samples are not the model's law at temperature 1 (z = {_signed(own.z_total)}, p {_p(p)})"
    sentence = f"{verdict}. {_surprise(own, real)}"
    edges = np.linspace(0, 1, len(pit.share) + 1)
    how = "z = ΣD/√ΣV, D = −ln q(x) − H, V the varentropy; standard normal on the model's own text"
    return Finding(
        name="self_recognition",
        question="Does it recognise itself, and are the samples its law?",
        sentence=sentence.replace("-", "−"),
        status="good" if passed else "bad",
        estimates=(
            Estimate(
                "own_z_total",
                "z of all own text together",
                own.z_total,
                "standard normal",
                n=own.n,
                independent_unit="token",
                method=how,
            ),
            Estimate("own_z_mean", "Mean z, own text", own.mean, "z", *_band(own), 0.95, own.n, "sequence", how),
            Estimate(
                "own_z_sd",
                "SD of z, own text (1 expected)",
                own.sd,
                "z",
                *_sd_band(own),
                0.95,
                own.n,
                "sequence",
                how,
            ),
            Estimate(
                "sampler_audit_p",
                "Sampler audit, p",
                p,
                "p-value",
                n=own.n,
                independent_unit="sequence",
                method="Bonferroni over total z and PIT χ² on 20 bins",
            ),
            Estimate("real_z_mean", "Mean z, real text", real.mean, "z", *_band(real), 0.95, real.n, "document", how),
            Estimate(
                "control_z_total",
                f"z of the control (t = {evidence.plan['control_temperature']:g})",
                control.z_total,
                "standard normal",
                n=control.n,
                method="the same; must be far from 0 if the audit has power",
            ),
            *(
                Estimate(
                    f"{arm}_share_e_20",
                    f"{label} that the model did not write, by e-value",
                    share.value,
                    "share",
                    share.low,
                    share.high,
                    share.level,
                    share.n,
                    "sequence" if arm == "own" else "document",
                    "share with e ≥ 20 at any token (Clopper–Pearson); at most 5% on its own text, at any stopping time",
                )
                for arm, label, share in (
                    ("own", "Own texts", _e_rejections(evidence, "free")),
                    ("real", "Real texts", _e_rejections(evidence, "real")),
                )
            ),
        ),
        charts=(
            Chart(
                name="pit",
                title="PIT of its own text: flat if the samples are its law",
                x_label="mass below the token, plus a uniform share of its own",
                y_label="share of tokens × 20",
                x=tuple(float(v) for v in (edges[:-1] + edges[1:]) / 2),
                series=(Series("own text", "free", _density(pit.share), _density(pit.low), _density(pit.high)),),
                levels=((1.0, "flat"),),
                y_range=(0.8, 1.2)
                if pit.low.min() * 20 > 0.8 and pit.high.max() * 20 < 1.2
                else (0.0, float(max(2.0, pit.high.max() * 22))),
            ),
        ),
        licence=(
            "Null: the tokens were drawn from the recorded laws. Under it D is a martingale difference, so tokens may be counted on own "
            "text; on real text the unit is the document. z is blind to a temperature-optimal model: |z| near 0 on real text is no proof."
        ),
        notes=_notes(own, real, pit),
    )


def _density(shares: np.ndarray) -> tuple[float, ...]:
    """Shares of equal bins as a density: 1 where flat."""
    return tuple(float(s) * len(shares) for s in shares)


def _z(evidence: Evidence, arm: str) -> SelfRecognition:
    records, tokens = evidence.records, evidence.records.tokens
    mine = evidence.tokens_of(arm)
    rows = records.chosen(arm=arm)
    index = np.searchsorted(rows, evidence.token_sequence[mine])
    return self_z(
        tokens["log_prob_nats"][mine],
        tokens["entropy_nats"][mine].astype(np.float64),
        tokens["varentropy_nats2"][mine].astype(np.float64),
        index,
        len(rows),
    )


def _pit(evidence: Evidence) -> PitUniformity:
    """PIT with fresh uniforms: the ones that drew the tokens would be uniform whatever the law."""
    tokens = evidence.records.tokens
    mine = evidence.tokens_of("free")
    rows = evidence.records.chosen(arm="free")
    fresh = statistics_rng(evidence, "pit").random(int(mine.sum()))
    values = tokens["cdf_below"][mine] + fresh * np.exp(tokens["log_prob_nats"][mine])
    return pit_uniformity(np.clip(values, 0, 1), np.searchsorted(rows, evidence.token_sequence[mine]))


def _e_rejections(evidence: Evidence, arm: str) -> Interval:
    """Share of texts whose e-process ever reached 20."""
    tokens = evidence.records.tokens
    mine = evidence.tokens_of(arm) & np.isfinite(tokens["log_prob_nats"])
    rows = evidence.records.chosen(arm=arm)
    found = e_process_log(
        tokens["log_prob_nats"][mine],
        tokens["log_power_sum"][mine].astype(np.float64),
        np.asarray(evidence.records.manifest["powers"]),
        np.searchsorted(rows, evidence.token_sequence[mine]),
        len(rows),
    )
    return clopper_pearson(int(np.count_nonzero(found.log_e_max >= np.log(20))), len(rows))


def _band(z: SelfRecognition) -> tuple[float | None, float | None]:
    if z.mean is None or z.sd is None or z.n < 2:
        return None, None
    half = 1.96 * z.sd / np.sqrt(z.n)
    return float(z.mean - half), float(z.mean + half)


def _sd_band(z: SelfRecognition) -> tuple[float | None, float | None]:
    """SD ± 1.96 · SD/√(2n), for nearly normal z."""
    if z.sd is None or z.n < 10:
        return None, None
    half = 1.96 * z.sd / np.sqrt(2 * z.n)
    return float(z.sd - half), float(z.sd + half)


def _notes(own: SelfRecognition, real: SelfRecognition, pit: PitUniformity) -> tuple[str, ...]:
    notes = [f"PIT χ² = {pit.chi_square:.1f} on {len(pit.share) - 1} degrees of freedom, p = {_p(pit.p_value)}."]
    if own.n_flat or real.n_flat:
        notes.append(
            f"{own.n_flat} own and {real.n_flat} real texts have almost no variance (inside loops) and no z of their own."
        )
    if own.n_impossible:
        notes.append(f"{own.n_impossible} own texts hold a token that the law gives no mass: the sampler is broken.")
    return tuple(notes)


def _surprise(own: SelfRecognition, real: SelfRecognition) -> str:
    """What its own laws say of real text, where they say anything."""
    if real.mean is None:
        return "Its laws have no varentropy on real text, so its own surprise says nothing of it."
    sees = "more surprising than" if real.mean > 0 else "less surprising than"
    return f"By its own laws real text is {sees} what it would write: mean z {real.mean:+.2f} a document (own text {_signed(own.mean)})."


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2f}"
