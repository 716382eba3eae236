"""Are its probabilities right, over the whole vocabulary?"""

from __future__ import annotations

import numpy as np

from freerun.findings.evidence import Evidence
from freerun.findings.finding import Chart, Estimate, Finding, Series
from freerun.stats.calibration import calibration_curve
from freerun.stats.intervals import Interval, cluster_ratio


def calibration(evidence: Evidence) -> Finding:
    """Observed over expected tokens by bin of log-probability, on real and on own text."""
    records = evidence.records
    width = float(records.manifest["bin_width_nats"])
    n_bins = int(records.manifest["n_bins"])
    middle = (np.arange(n_bins) + 0.5) * width
    series, curves = [], {}
    for arm, label in (("real", "real text"), ("free", "its own text")):
        rows = records.chosen(arm=arm)
        curve = calibration_curve(
            records.sequences["observed_counts"][rows].astype(float),
            records.sequences["expected_counts"][rows].astype(float),
            evidence.units[rows],
        )
        curves[arm] = curve
        series.append(
            Series(
                label,
                arm,
                tuple(None if r is None else r.value for r in curve.ratio),
                tuple(None if r is None else r.low for r in curve.ratio),
                tuple(None if r is None else r.high for r in curve.ratio),
            )
        )
    real = curves["real"]
    outside = sum(1 for r in real.ratio if r is not None and not r.low <= 1 <= r.high)
    known = sum(1 for r in real.ratio if r is not None)
    rare = _rare(evidence, middle)
    sentence = f"On real text {outside} of {known} probability bins lie off 1 beyond their own 95% interval"
    if rare is not None:
        sentence += (
            f"; tokens that it holds for rarer than one in a thousand come {rare.value:.2f} times as often as it says "
            f"({rare.low:.2f} to {rare.high:.2f})"
        )
    return Finding(
        name="calibration",
        question="Are its probabilities right, over the whole vocabulary?",
        sentence=sentence + ".",
        status="neutral",
        estimates=(
            ()
            if rare is None
            else (
                Estimate(
                    "rare_tokens_ratio",
                    "Observed / expected, tokens rarer than e⁻⁷",
                    rare.value,
                    "ratio",
                    rare.low,
                    rare.high,
                    rare.level,
                    rare.n,
                    method="ratio of sums over real continuations, document-clustered linearised interval",
                ),
            )
        ),
        charts=(
            Chart(
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
            ),
        ),
        licence="Unit: the document; linearised 95% intervals, each bin by itself (33 bins: one or two outside by chance).",
    )


def _rare(evidence: Evidence, middle: np.ndarray) -> Interval | None:
    """Observed over expected in the bins beyond 7 nats; None where fewer than five are expected."""
    records = evidence.records
    rows = records.chosen(arm="real")
    rare = middle >= 7
    observed = records.sequences["observed_counts"][rows][:, rare].sum(1).astype(float)
    expected = records.sequences["expected_counts"][rows][:, rare].sum(1)
    return cluster_ratio(observed, expected, evidence.units[rows]) if expected.sum() >= 5 else None


def _range(series: list[Series]) -> tuple[float, float]:
    values = [v for s in series for v in s.y if v is not None]
    return (0.0, float(min(4.0, max(2.0, max(values, default=2.0) * 1.1))))
