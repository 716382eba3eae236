"""Charts of a sweep: curves by length one over the other, and what goes with the context."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.comparisons.sweeps.contrasts import Swept
from freerun.results.finding import Chart, Series

ROLES = ("free", "real", "tempered", "reference", "control", "other")
"""Colours of the settings, least context first."""


def axis_charts(found: Swept, key: str, label: str, values: Sequence[int], members: Sequence[int]) -> tuple[Chart, ...]:
    """The charts of one axis: `members` are its settings, `values` their context."""
    x = tuple(float(v) for v in values)
    scale = "log2" if min(values) > 0 and max(values) / min(values) >= 8 else "linear"
    return (
        _by_length(found, key, label, values, members),
        _auc_by_context(found, key, label, x, scale, members),
        _horizon_by_context(found, key, label, x, scale, members),
        _loss_by_context(found, key, label, x, scale, members),
    )


def _by_length(found: Swept, key: str, label: str, values: Sequence[int], members: Sequence[int]) -> Chart:
    series = []
    for i, (value, member) in enumerate(zip(values, members, strict=True)):
        aucs = [d.auc for d in found.curves[member].detections]
        banded = i in (0, len(members) - 1)
        series.append(
            Series(
                f"{value} {'tokens before' if key == 'prefix' else 'exemplars'}",
                ROLES[i % len(ROLES)],
                tuple(a.value for a in aucs),
                tuple(a.low for a in aucs) if banded else None,
                tuple(a.high for a in aucs) if banded else None,
            )
        )
    return Chart(
        name=f"{key}_auc_by_length",
        title="How well its text is told from real text, by length",
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(float(n) for n in found.lengths),
        x_scale="log2",
        y_range=(0.3, 1.0),
        levels=((0.5, "chance"), (0.75, "H75")),
        series=tuple(series),
        caption=f"One curve a setting ({label}): the same real continuations, each setting's own detectors. Bands, for the least and the most "
        "context: pointwise 95%; the other intervals stand in the table below.",
    )


def _auc_by_context(
    found: Swept, key: str, label: str, x: tuple[float, ...], scale: str, members: Sequence[int]
) -> Chart:
    means = [found.mean_auc(i) for i in members]
    lasts = [found.curves[i].detections[-1].auc for i in members]
    longest = int(found.lengths[-1])
    return Chart(
        name=f"{key}_auc_by_context",
        title="The same by context",
        x_label=label,
        y_label="AUC on test documents",
        x=x,
        x_scale=scale,
        y_range=(0.4, 1.0),
        levels=((0.5, "chance"),),
        series=(
            Series(
                f"mean over 1 to {longest} tokens",
                "free",
                tuple(m.value for m in means),
                tuple(m.low for m in means),
                tuple(m.high for m in means),
            ),
            Series(
                f"at {longest} tokens",
                "reference",
                tuple(a.value for a in lasts),
                tuple(a.low for a in lasts),
                tuple(a.high for a in lasts),
            ),
        ),
        caption="The trend is tested on the mean. Bands: 95%, each setting by itself; settings share their documents, so differences are known "
        "better than these bands suggest.",
    )


def _horizon_by_context(
    found: Swept, key: str, label: str, x: tuple[float, ...], scale: str, members: Sequence[int]
) -> Chart:
    longest = float(found.lengths[-1])
    horizons = [found.horizon(i) for i in members]
    return Chart(
        name=f"{key}_h75_by_context",
        title="Free-run horizon H75, by context",
        x_label=label,
        y_label="tokens",
        x=x,
        x_scale=scale,
        series=(
            Series(
                "H75",
                "free",
                tuple(h.estimate.tokens for h in horizons),
                tuple(h.low.tokens for h in horizons),
                tuple(h.high.tokens for h in horizons),
            ),
        ),
        levels=((longest, "longest measured"),),
        caption="A horizon beyond the lengths measured is drawn at their end. Bands: 95% over test documents.",
    )


def _loss_by_context(
    found: Swept, key: str, label: str, x: tuple[float, ...], scale: str, members: Sequence[int]
) -> Chart:
    losses = [found.loss(i) for i in members]
    return Chart(
        name=f"{key}_loss_by_context",
        title="Loss on the same real tokens, by context",
        x_label=label,
        y_label="nats a token",
        x=x,
        x_scale=scale,
        series=(
            Series(
                "loss",
                "real",
                tuple(v.value for v in losses),
                tuple(v.low for v in losses),
                tuple(v.high for v in losses),
            ),
        ),
        caption="Context makes prediction better, too: part of what falls above may be the predictor's own error.",
    )
