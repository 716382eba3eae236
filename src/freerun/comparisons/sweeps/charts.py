"""Charts of a sweep: curves by length one over the other, and what goes with the context."""

from __future__ import annotations

from freerun.comparisons.charts import auc_chart, horizon_chart, loss_chart, scale_of
from freerun.comparisons.sweeps.axis import Axis
from freerun.comparisons.sweeps.contrasts import Swept
from freerun.results.finding import Chart, Series

ROLES = ("free", "real", "tempered", "reference", "control", "other")
"""Colours of the settings, least context first."""


def axis_charts(swept: Swept, axis: Axis) -> tuple[Chart, ...]:
    """The charts of one axis."""
    key, label, members = axis.key, axis.label, axis.members
    x, scale, longest = tuple(map(float, axis.values)), scale_of(axis.values, 8), int(swept.lengths[-1])
    things = "tokens before" if key == "prefix" else "exemplars"
    aucs = [
        (f"{value} {things}", [d.auc for d in swept.curves[i].curve.detections])
        for value, i in zip(axis.values, members, strict=True)
    ]
    means = Series.of(f"mean over 1 to {longest} tokens", "free", [swept.mean_auc(i).interval for i in members])
    lasts = Series.of(f"at {longest} tokens", "reference", [swept.curves[i].curve.detections[-1].auc for i in members])
    return (
        auc_chart(
            f"{key}_auc_by_length",
            "How well its text is told from real text, by length",
            swept.lengths,
            aucs,
            ROLES,
            (0, len(members) - 1),
            lowest=0.3,
            caption=f"One curve a setting ({label}): the same real continuations, each setting's own detectors. Bands, for the least and the most "
            "context: pointwise 95%; the other intervals stand in the table below.",
        ),
        Chart(
            f"{key}_auc_by_context",
            "The same by context",
            label,
            "AUC on test documents",
            x,
            (means, lasts),
            x_scale=scale,
            y_range=(0.4, 1.0),
            levels=((0.5, "chance"),),
            caption="The trend is tested on the mean. Bands: 95%, each setting by itself; settings share their documents, so differences are known "
            "better than these bands suggest.",
        ),
        horizon_chart(
            f"{key}_h75_by_context",
            "Free-run horizon H75, by context",
            label,
            x,
            scale,
            [swept.curves[i].curve.aucs.horizon() for i in members],
            swept.lengths,
        ),
        loss_chart(
            f"{key}_loss_by_context",
            "Loss on the same real tokens, by context",
            label,
            x,
            scale,
            Series.of("loss", "real", [swept.loss(i) for i in members]),
            caption="Context makes prediction better, too: part of what falls above may be the predictor's own error.",
        ),
    )
