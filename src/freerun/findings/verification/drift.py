"""Does the law drift along these samples? Its entropy and their surprisal by position."""

from __future__ import annotations

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.findings.drift import bin_middles
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.results.finding import Chart, Finding, Series
from freerun.results.quantity import Quantity
from freerun.stats.intervals import Interval
from freerun.stats.position import curve_by_position, log_spaced_edges, slope_by_position

NAME, QUESTION = "drift", "Does the law drift along these samples?"
_LICENCE = (
    "Slopes: least squares in log2 of the position, with a level of its own for each completion, so that completions which end early shift "
    "nothing. 95% intervals, clustered by completion, for these prompts as they are; in the chart by position pointwise. There is no real "
    "text beside the samples, so a drift is not a fault: the prompts may ask for it."
)


def drift_finding(evidence: VerifyEvidence) -> Finding:
    """Slopes of entropy and of surprisal, and both by position."""
    tokens = evidence.tokens
    surprisal = np.where(tokens.is_tested, -tokens.log_prob_nats, np.nan)
    columns = ((quantities.ENTROPY_SLOPE, tokens.entropy_nats), (quantities.SURPRISAL_SLOPE, surprisal))
    try:
        slopes: dict[Quantity, Interval] = {
            q: slope_by_position(values, tokens.position, tokens.sequence, tokens.sequence) for q, values in columns
        }
    except TooFewDocuments as error:
        return Finding.unknown(NAME, QUESTION, f"Drift is not known: {error}.")
    return Finding(
        NAME,
        QUESTION,
        _sentence(slopes[quantities.ENTROPY_SLOPE]),
        "neutral",
        estimates=tuple(q.estimate(slope, independent_unit="completion") for q, slope in slopes.items()),
        charts=(_chart(evidence, surprisal),),
        licence=_LICENCE,
    )


def _sentence(slope: Interval) -> str:
    limits = f"95% interval {slope.low:+.3f} to {slope.high:+.3f}"
    if slope.side:
        turned = "rises" if slope.side > 0 else "falls"
        return f"Along the samples the entropy of the declared law {turned} by {abs(slope.value):.3f} nats with every doubling of the position ({limits})."
    return f"No trend of the declared law's entropy along the samples is seen: {slope.value:+.3f} nats with every doubling of the position ({limits})."


def _chart(evidence: VerifyEvidence, surprisal: np.ndarray) -> Chart:
    t = evidence.tokens
    edges = log_spaced_edges(int(t.position.max()) + 1)
    series = []
    for label, role, values in (
        ("entropy of the declared law", "reference", t.entropy_nats),
        ("surprisal of the tokens drawn", "free", surprisal),
    ):
        curve = curve_by_position(values, t.position, t.sequence, edges=edges)
        series.append(Series.curve(label, role, curve.mean, curve.low, curve.high))
    return Chart(
        name="entropy_by_position",
        title="The law's entropy and the samples' surprisal along the completions",
        x_label="tokens of the completion",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        series=tuple(series),
        caption="Bands: pointwise 95%, clustered by completion. Draws from the law have both in one place.",
    )
