"""What can be said of entropy where laws are not whole: the rate along own text, from what was drawn.

Of a token x drawn from the law q at temperature 1, −ln q(x) has the mean H(q). So the mean surprisal of own text estimates the mean
entropy of the laws along it without bias, whatever else of them is not known; of one law alone it says next to nothing. On real text it
is the loss.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from freerun.errors import TooFewDocuments
from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.results.finding import Chart, Estimate, Finding, Series
from freerun.results.quantity import Quantity
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges

QUESTION = "What is the entropy rate of its own text?"
RATE = Quantity(
    "entropy_rate",
    "entropy_rate_nats",
    "Entropy rate of its own text, from samples",
    "nats/token",
    own_text=True,
    paired=False,
)
CHANGE = Quantity(
    "entropy_rate",
    "entropy_rate_change_nats",
    "Entropy rate, second half minus first",
    "nats/token",
    own_text=True,
    paired=False,
)
TOP_MASS = Quantity(
    "entropy_rate", "top_mass", "Mass on the most probable token, own text", "mass", own_text=True, paired=False
)
UNRESOLVED = Quantity(
    "entropy_rate",
    "unresolved_mass",
    "Mass on all other tokens, of which nothing is known",
    "mass",
    own_text=True,
    paired=False,
)
_HOW = "mean surprisal of tokens drawn at temperature 1, document-clustered interval; of laws that are not whole"


def entropy_rate(evidence: Evidence) -> Finding | None:
    """Mean surprisal of own text in place of entropy; None where laws are whole, and entropy is known token by token."""
    if evidence.whole_laws:
        return None
    if not evidence.plan.sampling.is_model_law:
        return Finding.unknown(
            "entropy_rate",
            QUESTION,
            f"The own text was drawn with {evidence.plan.sampling.describe()}, whose surprisals are not the entropy of the model's law.",
        )
    mine = evidence.tokens_of("free")
    surprisal = -evidence.records.tokens["log_prob_nats"]
    try:
        rate = _mean(evidence, surprisal, mine)
    except TooFewDocuments as error:
        return Finding.unknown(
            "entropy_rate", QUESTION, f"This is not known: {error}.", RATE.estimate(None, text="unknown")
        )
    change, top = _change(evidence, surprisal, mine), _top(evidence, mine)
    return Finding(
        name="entropy_rate",
        question=QUESTION,
        sentence=_sentence(rate, change),
        status="neutral",
        estimates=_estimates(rate, change, top),
        charts=(_chart(evidence, surprisal, mine),),
        licence=(
            "Unit: the document, 95% intervals. Null: the tokens were drawn from the model's law at temperature 1, which without whole laws "
            "nothing here has tested; a sampler that cuts or cools makes the rate too small."
        ),
        notes=(
            "This is an average along own text, not the entropy of any one law: entropy by token, drift of entropy, calibration and z need "
            "whole laws and are not given. The few most probable tokens that a server names are a lower limit of nothing but their own mass.",
        ),
    )


def _mean(evidence: Evidence, values: Float[np.ndarray, " tokens"], mine: Bool[np.ndarray, " tokens"]) -> Interval:
    known = mine & np.isfinite(values)
    groups = evidence.units[evidence.token_sequence[known]]
    if np.unique(groups).size < 2:
        raise TooFewDocuments("own text of two documents is needed")
    return cluster_ratio(values[known], np.ones(int(known.sum())), groups)


def _change(
    evidence: Evidence, surprisal: Float[np.ndarray, " tokens"], mine: Bool[np.ndarray, " tokens"]
) -> Interval | None:
    """Second half minus first, over documents that have tokens in both."""
    late = evidence.records.tokens["position"] >= evidence.length // 2
    means = []
    for half in (mine & ~late, mine & late):
        known = half & np.isfinite(surprisal)
        tops, counts = evidence.token_sums(np.where(known, surprisal, 0.0), known), evidence.token_sums(1.0, known)
        means.append(np.divide(tops, counts, out=np.full(tops.size, np.nan), where=counts > 0))
    difference = means[1] - means[0]
    difference = difference[np.isfinite(difference)]
    if difference.size < 2:
        return None
    return cluster_ratio(difference, np.ones(difference.size), np.arange(difference.size))


def _top(evidence: Evidence, mine: Bool[np.ndarray, " tokens"]) -> Interval | None:
    """Mass on the most probable token, where the server names it for every token."""
    top = evidence.records.tokens["top_log_prob_nats"].astype(np.float64)
    if np.isnan(top[mine]).any():
        return None
    return _mean(evidence, np.exp(top), mine)


def _estimates(rate: Interval, change: Interval | None, top: Interval | None) -> tuple[Estimate, ...]:
    out = [RATE.estimate(rate, method=_HOW)]
    if change is not None:
        out.append(CHANGE.estimate(change, method="means of each document, t interval"))
    if top is not None:
        rest = Interval(1 - top.value, 1 - top.high, 1 - top.low, top.level, top.n)
        out.append(TOP_MASS.estimate(top, method="mean over own tokens, document-clustered interval"))
        out.append(UNRESOLVED.estimate(rest, method="1 minus the above; how it is spread is not known"))
    return tuple(out)


def _chart(evidence: Evidence, surprisal: Float[np.ndarray, " tokens"], mine: Bool[np.ndarray, " tokens"]) -> Chart:
    edges = log_spaced_edges(evidence.length)
    known = mine & np.isfinite(surprisal)
    groups = evidence.units[evidence.token_sequence]
    curve = curve_by_position(surprisal[known], evidence.records.tokens["position"][known], groups[known], edges=edges)
    return Chart(
        name="entropy_rate_by_position",
        title="Mean surprisal of its own text by position: the entropy rate, from samples",
        x_label="tokens after the cut",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        series=(Series.curve("own text", "free", curve.mean, curve.low, curve.high),),
        caption="Bands: pointwise 95%, by document.",
    )


def _sentence(rate: Interval, change: Interval | None) -> str:
    said = f"Its own text has an entropy rate of {rate.value:.2f} nats a token (95% interval {rate.low:.2f} to {rate.high:.2f}), by the mean "
    said += "surprisal of what it drew; whole laws, and so the entropy of any one of them, are not known."
    if change is None:
        return said
    if change.side:
        moves = "rises" if change.side > 0 else "falls"
        return f"{said} It {moves} by {abs(change.value):.2f} nats from the first half to the second ({change.low:+.2f} to {change.high:+.2f})."
    return f"{said} No change from the first half to the second is seen ({change.low:+.2f} to {change.high:+.2f})."


ENTRY = Question("entropy_rate", QUESTION, entropy_rate, (RATE, CHANGE, TOP_MASS, UNRESOLVED), place=45)
