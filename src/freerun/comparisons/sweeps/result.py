"""The result of a sweep: for each axis its trend, differences and curves, and sentences last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import freerun
from freerun.comparisons.detected import difference_in
from freerun.comparisons.points import sweep_next, sweep_points
from freerun.comparisons.sweeps.axis import Axis
from freerun.comparisons.sweeps.charts import axis_charts
from freerun.comparisons.sweeps.contrasts import OwnTextRefused, Swept
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import STATISTICS_SEED, Evidence
from freerun.results.compare import Bounds
from freerun.results.finding import Cell, Table
from freerun.results.horizons import HorizonSummary
from freerun.results.sweep import (
    AxisResult,
    Contrast,
    Design,
    Direction,
    HorizonDifference,
    LengthAuc,
    Setting,
    SettingDifference,
    SettingLoss,
    SweepResult,
)
from freerun.results.verdict import Status, Verdict
from freerun.stats.multiplicity import holm
from freerun.stats.paired import PairedDifference, slope_weights

SWEEP_VERSION = 1
CHANCE = 0.5
WORDS: dict[Direction, str] = {
    "falls": "Falls with this much context",
    "grows": "Grows with this much context",
    "none": "No fall was found",
}


def sweep_result(
    evidences: Sequence[Evidence],
    names: Sequence[str],
    axes: Sequence[Axis],
    swept: Swept | TooFewDocuments | OwnTextRefused,
    *,
    results: Sequence[Mapping[str, Any] | None],
    cut: int,
    command: str,
    created: str,
) -> SweepResult:
    """Everything that is said of a sweep; `names` are the folders of its runs, `swept` may be why nothing can be.

    `results`: the runs' own result.json, where they have one.
    """
    plan = evidences[0].plan
    model, corpus, sampling = plan.model, plan.corpus, plan.sampling.describe()
    settings = [_setting(e, name) for e, name in zip(evidences, names, strict=True)]
    along: tuple[AxisResult, ...] = ()
    status: Status
    if isinstance(swept, Swept):
        found = [difference_in(e, result) for e, result in zip(evidences, results, strict=True)]
        settings = [_measured(setting, swept, i, found[i]) for i, setting in enumerate(settings)]
        along = _axes(swept, axes)
        first, *more = (axis.sentence for axis in along)
        sentence = " ".join([f"{model}: {first[0].lower()}{first[1:]}", *more])
        detail, status, licence = _detail(along), "neutral", _licence(swept, len(axes))
    else:
        why, licence = str(swept), "No inference."
        sentence = f"{model}: nothing can be said of context from this sweep."
        detail, status = f"{why[0].upper()}{why[1:]}.", "unknown"
    design = Design(model, corpus, sampling, plan.documents, cut, plan.tokens)
    verdict = Verdict(
        sentence,
        detail,
        status,
        points=sweep_points(design, len(settings), along, detail),
        next_step=sweep_next(design, along, refused=isinstance(swept, OwnTextRefused)),
    )
    return SweepResult(
        SWEEP_VERSION,
        "sweep",
        freerun.__version__,
        f"{model} on {corpus}, by context",
        verdict,
        design,
        tuple(settings),
        along,
        tuple(_cautions(evidences, axes)),
        licence,
        command,
        created,
    )


# ---- numbers -----------------------------------------------------------------------------------------------------------


def _setting(evidence: Evidence, name: str) -> Setting:
    plan = evidence.plan
    return Setting(name, plan.prefix, plan.exemplars, plan.exemplar_tokens, evidence.records.manifest["plan_hash"])


def _measured(setting: Setting, swept: Swept, i: int, detected: bool | None) -> Setting:
    curve, loss, mean = swept.curves[i], swept.loss(i), swept.mean_auc(i)
    return replace(
        setting,
        auc_by_length=tuple(
            LengthAuc(int(n), d.auc.value, d.auc.low, d.auc.high)
            for n, d in zip(swept.lengths, curve.curve.detections, strict=True)
        ),
        auc_last=Bounds.of(curve.curve.detections[-1].auc),
        mean_auc=Bounds.of(mean.interval),
        h75_tokens=HorizonSummary.of(curve.curve.aucs.horizon(), swept.lengths, detected=detected),
        loss_nats_per_token=SettingLoss(loss.value, loss.low, loss.high, swept.losses[i].n_impossible),
        pairs_left_out=curve.n_dropped,
    )


def _axes(swept: Swept, axes: Sequence[Axis]) -> tuple[AxisResult, ...]:
    """Every axis; the p-values of their trends by Holm."""
    slopes = [swept.slope(axis.members, np.array(axis.x)) for axis in axes]
    adjusted = holm(np.array([slope.p_value for slope in slopes])).tolist()
    return tuple(
        _axis(swept, axis, Contrast.of(slope, "AUC a doubling", p, tests=len(slopes)))
        for axis, slope, p in zip(axes, slopes, adjusted, strict=True)
    )


def _axis(swept: Swept, axis: Axis, trend: Contrast) -> AxisResult:
    outcome = direction_of(trend)
    return AxisResult(
        axis.key,
        axis.label,
        axis.values,
        axis.members,
        trend,
        _loss(swept.loss_contrast(axis.members, slope_weights(np.array(axis.x))), "nats a token a doubling"),
        _differences(swept, axis, np.random.default_rng(STATISTICS_SEED)),
        axis_charts(swept, axis),
        (_auc_table(swept, axis),),
        outcome,
        WORDS[outcome],
        axis_sentence(trend, outcome, axis, swept),
    )


def _loss(d: PairedDifference | None, unit: str) -> Contrast | None:
    return None if d is None else Contrast.of(d, unit)


def _differences(swept: Swept, axis: Axis, rng: np.random.Generator) -> tuple[SettingDifference, ...]:
    """Each setting minus the one with least context; p-values of the mean AUC by Holm."""
    first, *others = axis.members
    aucs = [swept.difference(first, member) for member in others]
    adjusted = holm(np.array([d.p_value for d in aucs])).tolist()
    return tuple(
        SettingDifference(
            value,
            Contrast.of(d, "AUC", p, tests=len(aucs)),
            HorizonDifference.of(swept.joint.difference(first, member, 0.75, rng)),
            _loss(swept.loss_contrast([first, member], np.array([-1.0, 1.0])), "nats a token"),
        )
        for value, member, d, p in zip(axis.values[1:], others, aucs, adjusted, strict=True)
    )


def _auc_table(swept: Swept, axis: Axis) -> Table:
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (str(int(length)), *(Cell.of(swept.curves[i].curve.detections[n].auc, 3) for i in axis.members))
        for n, length in enumerate(swept.lengths)
    )
    columns = ("tokens after the cut", *(axis.after(v) for v in axis.values))
    title = "AUC by length and context (95%, over test and training documents)"
    return Table("auc_by_length", title, columns, rows)


# ---- sentences ---------------------------------------------------------------------------------------------------------


def direction_of(trend: Contrast) -> Direction:
    """What a trend says after adjustment."""
    if not trend.found:
        return "none"
    return "falls" if trend.value < 0 else "grows"


def axis_sentence(trend: Contrast, outcome: Direction, axis: Axis, swept: Swept) -> str:
    """What happens to the gap along one axis, and what is left at its end."""
    longest = int(swept.lengths[-1])
    first, last = (swept.curves[axis.members[i]].mean_auc for i in (0, -1))
    least, most = (axis.after(axis.values[i]) for i in (0, -1))
    slope = _limits(trend, "a doubling")
    levels = f"mean AUC over 1 to {longest} tokens {first:.2f} {least}, {last:.2f} {most}"
    if outcome == "none" and trend.smallest_detectable is not None:
        slope += f"; a slope of {trend.smallest_detectable:.3f} is found with 80% power"
    what = {"falls": "The gap falls", "grows": "The gap grows", "none": "No fall of the gap"}[outcome]
    end = " was found" if outcome == "none" else ""
    return f"{what} with this much context{end}: {levels} ({slope}). {_left(axis, swept, longest)}"


def _left(axis: Axis, swept: Swept, longest: int) -> str:
    a = swept.curves[axis.members[-1]].curve.detections[-1].auc
    measured = f"AUC {a.value:.2f} ({a.low:.2f} to {a.high:.2f}) at {longest} tokens"
    most = axis.after(axis.values[-1])
    if a.low > CHANCE:
        return f"What is left {most}: {measured}."
    return f"{most[0].upper()}{most[1:]} no difference was found at {longest} tokens at this n ({measured})."


def _detail(axes: Sequence[AxisResult]) -> str:
    """What may not be concluded, and what the loss does meanwhile."""
    parts = [
        "Even a perfect predictor is told from one source while its context does not say which source that is, and context says more of it; "
        "but context also changes the predictor's own error. So what falls is not all uncertainty about the source, and what is left is not "
        "all error."
    ]
    for axis in axes:
        loss = axis.loss_trend
        if loss is None:
            parts.append(f"Some real tokens are impossible to it, so losses by {axis.key} are not compared.")
        elif loss.degenerate and loss.value == 0.0:
            parts.append(f"On the same tokens the loss is the same whatever the {axis.key}.")
        else:
            parts.append(
                f"On the same tokens the loss changes with the {axis.key}: {_limits(loss, 'nats a token a doubling')}."
            )
    return " ".join(parts)


def _limits(c: Contrast, unit: str) -> str:
    if c.low is None or c.high is None:
        return "the same in every setting" if c.value == 0.0 else f"{_signed(c.value)} {unit} in every document"
    return f"{_signed(c.value)} {unit}, 95% interval {_signed(c.low)} to {_signed(c.high)}"


def _signed(x: float) -> str:
    return f"{round(x, 3) + 0.0:+.3f}".replace("-", "−")


def _cautions(evidences: Sequence[Evidence], axes: Sequence[Axis]) -> list[str]:
    cautions = []
    for axis in axes:
        cut = [int(evidences[i].plan.exemplar_tokens) for i in axis.members]
        lengths = {v: n for v, n in zip(axis.values, cut, strict=True) if n}
        if len(set(lengths.values())) > 1:
            which = ", ".join(f"{n} tokens {axis.after(v)}" for v, n in lengths.items())
            cautions.append(
                f"Exemplars are cut to different lengths along this axis ({which}): they must fit beside the text."
            )
        if axis.key == "prefix" and axis.values[0] == 0:
            cautions.append(
                "From nothing the model begins a document, while the real texts are at the same cut as in every other setting: part of that "
                "setting's gap is the place in the document."
            )
    if not evidences[0].plan.sampling.is_model_law:
        cautions.append(
            f"Texts were sampled with {evidences[0].plan.sampling.describe()}, not from the model's own law."
        )
    return cautions


def _licence(swept: Swept, n_axes: int) -> str:
    adjusted = "" if n_axes == 1 else f" The {n_axes} trends are Holm-adjusted."
    return (
        f"Unit: the document; the same {swept.n_train} train and {swept.n_test} test documents, the same real continuations and the same random "
        "numbers in every setting. Fixed n. Primary question, one an axis: the least-squares slope of the mean AUC (over the measured lengths) "
        f"on log₂(1 + context); null: slope 0. Its interval: t, variance over test documents (their influence on each AUC) and over training "
        f"documents (jackknife), the same ones for all settings.{adjusted} Differences from the setting with least "
        "context: the same, Holm within the axis. H75 differences: drawn from the joint normal law of the curves, held within the lengths "
        "measured. No difference found is not no difference."
    )
