"""Are its probabilities right, over the whole vocabulary and for the token that it holds for the most probable?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.question import Question
from freerun.records.schema import ArmName
from freerun.results.finding import Chart, Estimate, Finding, Series
from freerun.results.quantity import Quantity, Sums
from freerun.stats.calibration import CalibrationCurve, calibration_curve
from freerun.stats.reliability import Reliability, reliability

QUESTION = "Are its probabilities right, over the whole vocabulary?"
ARMS: tuple[tuple[ArmName, str], ...] = (("real", "real text"), ("free", "its own text"))
RARE_NATS = 7.0
RARE = {
    "real": Quantity(
        "calibration",
        "rare_tokens_ratio",
        "Observed / expected, tokens rarer than e⁻⁷",
        "ratio",
        gates=("rare_tokens",),
        events=True,
    ),
    "free": Quantity(
        "calibration",
        "rare_tokens_ratio_own",
        "the same on its own text (1 expected)",
        "ratio",
        own_text=True,
        events=True,
    ),
}
RMS_ERROR = {
    "real": Quantity("calibration", "top1_rms_error", "Calibration error of the top token, real text", "probability"),
    "free": Quantity(
        "calibration",
        "top1_rms_error_own",
        "Calibration error of the top token, its own text (0 expected)",
        "probability",
        own_text=True,
    ),
}
OVERCONFIDENCE = {
    "real": Quantity(
        "calibration",
        "top1_overconfidence",
        "Confidence minus accuracy of the top token, real text",
        "probability",
        gates=("overconfidence",),
        card=True,
    ),
    "free": Quantity(
        "calibration",
        "top1_overconfidence_own",
        "Confidence minus accuracy of the top token, its own text (0 expected)",
        "probability",
        own_text=True,
    ),
}
QUANTITIES = (*RARE.values(), *RMS_ERROR.values(), *OVERCONFIDENCE.values())
FEWEST_EXPECTED = 5
"""Rare tokens that must be expected before their ratio is given."""


def calibration_sums(evidence: Evidence) -> Iterator[Sums]:
    """Rare tokens against their mass, and confidence against accuracy, document by document."""
    if not evidence.whole_laws:
        return
    records, tokens = evidence.records, evidence.records.tokens
    rare = _middle(evidence) >= RARE_NATS
    for arm, _ in ARMS:
        rows, mine = records.chosen(arm=arm), evidence.tokens_of(arm)
        counts = (records.sequences[c][rows][:, rare].sum(1) for c in ("observed_counts", "expected_counts"))
        yield Sums(RARE[arm], *(evidence.sequence_sums(rows, c) for c in counts))
        confidence = np.minimum(np.exp(tokens["top_log_prob_nats"].astype(np.float64)), 1.0)
        over = confidence - (evidence.local_ids("token_id") == evidence.local_ids("top_id"))
        yield Sums(OVERCONFIDENCE[arm], evidence.token_sums(over, mine), evidence.token_sums(1.0, mine))


def _middle(evidence: Evidence) -> Float[np.ndarray, " bins"]:
    """−ln q in the middle of each bin of probability."""
    manifest = evidence.records.manifest
    return (np.arange(int(manifest["n_bins"])) + 0.5) * float(manifest["bin_width_nats"])


def calibration(evidence: Evidence) -> Finding:
    """Observed over expected tokens by bin of log-probability, and reliability of the top token, on real and on own text."""
    if not evidence.whole_laws:
        return Finding.unknown(
            "calibration", QUESTION, "The model tells no whole laws, so its calibration is not known."
        )
    middle = _middle(evidence)
    curves = {arm: _curve(evidence, arm) for arm, _ in ARMS}
    tops = {arm: _top(evidence, arm) for arm, _ in ARMS}
    sums = {s.quantity: s for s in calibration_sums(evidence)}
    rare = {a: s for a, q in RARE.items() if (s := sums[q]).bottoms.sum() >= FEWEST_EXPECTED}
    outside, known = _outside(curves["real"])
    sentence = f"On real text {outside} of {known} probability bins lie off 1 beyond their own 95% interval"
    if "real" in rare:
        real_rare = rare["real"].interval()
        sentence += (
            f"; tokens that it holds for rarer than one in a thousand come {real_rare.value:.2f} times as often as it says "
            f"({real_rare.low:.2f} to {real_rare.high:.2f})"
        )
    return Finding(
        name="calibration",
        question=QUESTION,
        sentence=f"{sentence}.{_top_sentence(tops['real'])}",
        status="neutral",
        estimates=(*(s.estimate() for s in rare.values()), *_top_estimates(tops)),
        charts=(_chart(curves, middle), *_top_chart(tops)),
        licence=(
            f"Unit: the document; linearised 95% intervals, each bin by itself ({known} bins with at least five tokens expected: about "
            f"{0.05 * known:.0f} outside by chance). The root-mean-square error is debiased; its interval is a document bootstrap, too wide "
            "rather than too narrow near 0. Calibration is not quality: a law that never looks at the text can be calibrated."
        ),
        notes=_notes(curves["free"], tops["free"]),
    )


# ---- the whole vocabulary ----------------------------------------------------------------------------------------------


def _curve(evidence: Evidence, arm: ArmName) -> CalibrationCurve:
    records = evidence.records
    rows = records.chosen(arm=arm)
    return calibration_curve(
        records.sequences["observed_counts"][rows].astype(float),
        records.sequences["expected_counts"][rows].astype(float),
        evidence.units[rows],
    )


def _outside(curve: CalibrationCurve) -> tuple[int, int]:
    """Bins whose interval leaves 1 out, and bins that have an interval."""
    known = [r for r in curve.ratio if r is not None]
    return sum(not r.low <= 1 <= r.high for r in known), len(known)


def _chart(curves: dict[ArmName, CalibrationCurve], middle: Float[np.ndarray, " bins"]) -> Chart:
    series = [Series.of(label, arm, curves[arm].ratio) for arm, label in ARMS]
    return Chart(
        name="calibration",
        title="Observed against expected, by the probability the model gave",
        x_label="−ln q, nats (left: sure; right: held for rare)",
        y_label="observed / expected",
        x=tuple(float(m) for m in middle),
        series=tuple(series),
        levels=((1.0, "calibrated"),),
        y_range=_range(series),
        caption="Every token of the vocabulary counts at every position: expected is the sum of q over the bin, observed the "
        "tokens that came. Its own text must lie on 1: that checks the instrument. Bins with too few expected are left out.",
    )


def _range(series: list[Series]) -> tuple[float, float]:
    values = [v for s in series for v in s.y if v is not None]
    return (0.0, float(min(4.0, max(2.0, max(values, default=2.0) * 1.1))))


# ---- the most probable token -------------------------------------------------------------------------------------------


def _top(evidence: Evidence, arm: ArmName) -> Reliability | None:
    """None for too few documents."""
    tokens = evidence.records.tokens
    mine = evidence.tokens_of(arm)
    try:
        return reliability(
            np.minimum(np.exp(tokens["top_log_prob_nats"][mine].astype(np.float64)), 1.0),
            evidence.local_ids("token_id")[mine] == evidence.local_ids("top_id")[mine],
            evidence.units[evidence.token_sequence[mine]],
            rng=statistics_rng(evidence, f"reliability/{arm}"),
        )
    except TooFewDocuments:
        return None


def _top_sentence(top: Reliability | None) -> str:
    if top is None:
        return ""
    over = top.overconfidence
    if over.side > 0:
        said = f"comes less often than it says, by {over.value:.3f} ({over.low:.3f} to {over.high:.3f})"
    elif over.side < 0:
        said = f"comes more often than it says, by {-over.value:.3f} ({-over.high:.3f} to {-over.low:.3f})"
    else:
        said = f"comes as often as it says, within {max(-over.low, over.high):.3f}"
    return f" Its most probable token {said}."


def _top_estimates(tops: dict[ArmName, Reliability | None]) -> tuple[Estimate, ...]:
    out = []
    for arm, top in tops.items():
        if top is None:
            continue
        how = (
            f"root mean square over {counted(len(top.confidence), 'bin')} of equal counts, debiased (Kumar, Liang & Ma 2019) with document-clustered "
            f"variance, document bootstrap; the familiar biased ECE is {top.ece_plugin:.4f}"
        )
        out.append(RMS_ERROR[arm].estimate(top.rms_error, method=how))
        out.append(OVERCONFIDENCE[arm].estimate(top.overconfidence, method="document-clustered linearised interval"))
    return tuple(out)


def _top_chart(tops: dict[ArmName, Reliability | None]) -> tuple[Chart, ...]:
    """Accuracy minus confidence, bin by bin; the two kinds of text have bins of their own, so each stands at its own x."""
    held = {arm: top for arm, _ in ARMS if (top := tops[arm]) is not None}
    if not held:
        return ()
    x = sorted({float(c) for top in held.values() for c in top.confidence})
    series = []
    for arm, label in ARMS:
        if arm not in held:
            continue
        top = held[arm]
        at = {float(c): i for i, c in enumerate(top.confidence)}
        y, low, high = (
            tuple(None if c not in at else float(values[at[c]] - c) for c in x)
            for values in (top.accuracy, top.low, top.high)
        )
        series.append(Series(label, arm, y, low, high))
    return (
        Chart(
            name="top1_reliability",
            title="Is its most probable token right as often as it says?",
            x_label="probability of its most probable token",
            y_label="accuracy − confidence",
            x=tuple(x),
            series=tuple(series),
            levels=((0.0, "calibrated"),),
            caption="Bins of equally many tokens. Below 0: too sure. Its own text must lie on 0.",
        ),
    )


# ---- what is said ------------------------------------------------------------------------------------------------------


def _notes(own: CalibrationCurve, top: Reliability | None) -> tuple[str, ...]:
    outside, known = _outside(own)
    notes = [
        f"Control: on its own text {outside} of {known} bins lie off 1 beyond their own 95% interval (about {0.05 * known:.0f} by chance)."
    ]
    if top is not None:
        within = "within" if top.overconfidence.low <= 0 <= top.overconfidence.high else "NOT within"
        notes.append(f"Control: on its own text the top token comes as often as said, {within} its 95% interval.")
    return tuple(notes)


ENTRY = Question("calibration", QUESTION, calibration, QUANTITIES, calibration_sums, real_sentence=True, place=60)
