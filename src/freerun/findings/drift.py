"""Does the text that it writes drift away, in either direction?"""

from __future__ import annotations

import numpy as np

from freerun.findings.evidence import Evidence
from freerun.findings.finding import Chart, Estimate, Finding, Series
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges


def drift(evidence: Evidence) -> Finding:
    """Entropy and surprisal by position, real against free, on the same documents."""
    records, tokens = evidence.records, evidence.records.tokens
    edges = log_spaced_edges(evidence.length)
    groups = evidence.units[evidence.token_sequence]
    middle = tuple(
        float(np.sqrt(a * (b - 1))) if b - 1 > a else float(a)
        for a, b in zip(edges[:-1] + 1, edges[1:] + 1, strict=True)
    )
    charts = []
    for name, title, values, y_label in (
        ("entropy", "Entropy of the next-token law", tokens["entropy_nats"], "entropy, nats"),
        ("surprisal", "Surprisal of the token that came", -tokens["log_prob_nats"], "surprisal, nats"),
    ):
        series = []
        for arm, label in (("real", "on real text"), ("free", "on its own text")):
            mine = evidence.tokens_of(arm) & np.isfinite(values)
            curve = curve_by_position(values[mine], tokens["position"][mine], groups[mine], edges=edges)
            series.append(Series(label, arm, _floats(curve.mean), _floats(curve.low), _floats(curve.high)))
        charts.append(
            Chart(
                name=f"{name}_by_position",
                title=f"{title}, by position after the cut",
                x_label="tokens after the cut",
                y_label=y_label,
                x=middle,
                x_scale="log2",
                series=tuple(series),
            )
        )
    late = _paired_difference(evidence, tokens["entropy_nats"], evidence.length // 2, evidence.length)
    early = _paired_difference(evidence, tokens["entropy_nats"], 0, max(1, evidence.length // 8))
    surprise = _paired_difference(evidence, -tokens["log_prob_nats"], evidence.length // 2, evidence.length)
    if late.low > 0:
        word, status = "rises above", "bad"
    elif late.high < 0:
        word, status = "falls below", "bad"
    else:
        word, status = "cannot be told from", "neutral"
    half = f"tokens {evidence.length // 2 + 1} to {evidence.length}"
    end_share = float((records.sequences["end_reason"][records.chosen(arm="free")] == "end_of_text").mean())
    sentence = (
        f"Running free, the entropy of its law {word} that on real text by {late.value:+.2f} nats in the second half "
        f"({half}; 95% interval {late.low:+.2f} to {late.high:+.2f})."
    )
    how = "difference of means over the same documents, document-clustered interval"
    return Finding(
        name="drift",
        question="Does its own text drift away from real text?",
        sentence=sentence.replace("-", "−"),
        status=status,
        estimates=(
            _of("entropy_gap_late_nats", "Entropy, own minus real, second half", late, how),
            _of("entropy_gap_early_nats", "Entropy, own minus real, first eighth", early, how),
            _of("surprisal_gap_late_nats", "Surprisal, own minus real, second half", surprise, how),
        ),
        charts=tuple(charts),
        licence="Unit: the document (both sides of one document share its prefix). Pointwise 95% intervals. Either sign is reported.",
        notes=(
            f"Positions after an end of text do not exist and are not filled ({end_share:.1%} of the free continuations ended early): "
            "late positions average those that go on.",
        ),
    )


def _paired_difference(evidence: Evidence, values: np.ndarray, start: int, stop: int) -> Interval:
    """Mean over documents of (mean over its free tokens − mean over its real tokens) in a range of positions."""
    position = evidence.records.tokens["position"]
    inside = (position >= start) & (position < stop) & np.isfinite(values)
    groups = evidence.units[evidence.token_sequence]
    n = int(evidence.units.max()) + 1
    sums = {}
    for arm in ("real", "free"):
        mine = inside & evidence.tokens_of(arm)
        total = np.bincount(groups[mine], values[mine], minlength=n)
        count = np.bincount(groups[mine], minlength=n)
        sums[arm] = (total, count)
    both = (sums["real"][1] > 0) & (sums["free"][1] > 0)
    difference = sums["free"][0][both] / sums["free"][1][both] - sums["real"][0][both] / sums["real"][1][both]
    return cluster_ratio(difference, np.ones(int(both.sum())), np.arange(int(both.sum())))


def _floats(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(v) if np.isfinite(v) else None for v in values)


def _of(name: str, label: str, x: Interval, method: str) -> Estimate:
    return Estimate(name, label, x.value, "nats", x.low, x.high, x.level, x.n, "document", method)
