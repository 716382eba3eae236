"""A sweep as plain data: the sentence, and for each axis its trend, curves and tables. The page is drawn from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import freerun
from freerun.comparisons.sweeps.charts import axis_charts
from freerun.comparisons.sweeps.contrasts import N_RESAMPLES, OwnTextRefused, Swept
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.comparison import KINDS
from freerun.findings.evidence import Evidence
from freerun.results.finding import Table, to_json
from freerun.results.horizons import ends_of, interval_words, outside
from freerun.stats.multiplicity import holm
from freerun.stats.paired import slope_weights

SWEEP_VERSION = 1
ALPHA = 0.05
CHANCE = 0.5
WORDS = {"falls": "Falls with this much context", "grows": "Grows with this much context", "none": "No fall was found"}


@dataclass(frozen=True)
class Axis:
    """What is swept: `prefix` or `exemplars`, its values in ascending order, and which of the settings they are."""

    key: str
    values: tuple[int, ...]
    members: tuple[int, ...]

    @property
    def x(self) -> tuple[float, ...]:
        """log₂(1 + value): a slope is per doubling of the context."""
        return tuple(float(np.log2(1 + v)) for v in self.values)

    @property
    def label(self) -> str:
        """What the values are, for people."""
        return {"prefix": "tokens of the document before the cut", "exemplars": "other documents before the prefix"}[
            self.key
        ]

    def after(self, value: int) -> str:
        """A setting in words."""
        if self.key == "prefix":
            return f"after {value} tokens" if value else "from nothing"
        return f"with {value} exemplar{'' if value == 1 else 's'}"


def sweep_result(
    evidences: Sequence[Evidence],
    names: Sequence[str],
    axes: Sequence[Axis],
    found: Swept | TooFewDocuments | OwnTextRefused,
    *,
    cut: int,
    command: str = "",
) -> dict[str, Any]:
    """Everything that is said of a sweep; `names` are the folders of its runs."""
    plan = evidences[0].plan
    result: dict[str, Any] = {
        "schema_version": SWEEP_VERSION,
        "kind": "sweep",
        "freerun_version": freerun.__version__,
        "title": f"{plan['model']} on {plan['corpus']}, by context",
        "verdict": {},
        "design": {
            "model": plan["model"],
            "corpus": plan["corpus"],
            "sampling": plan["sampling"],
            "documents": int(plan["documents"]),
            "tokens_before_cut": cut,
            "tokens": int(plan["tokens"]),
        },
        "settings": [_setting(e, name) for e, name in zip(evidences, names, strict=True)],
        "axes": [],
        "cautions": _cautions(evidences, axes),
        "licence": "No inference.",
        "command": command,
    }
    if not isinstance(found, Swept):
        why = str(found)
        sentence = f"{plan['model']}: nothing can be said of context from this sweep."
        result["verdict"] = {"sentence": sentence, "detail": f"{why[0].upper()}{why[1:]}.", "status": "unknown"}
        return result
    for i, setting in enumerate(result["settings"]):
        setting |= _measured(found, i)
    said = [_axis(found, axis) for axis in axes]
    adjusted = holm(np.array([a["trend"]["p_value"] for a in said]))
    for one, axis, p in zip(said, axes, adjusted, strict=True):
        one["trend"]["adjusted_p"] = float(p)
        one["outcome"] = _outcome(one["trend"])
        one["words"] = WORDS[one["outcome"]]
        one["sentence"] = _sentence(one, axis, found)
    result["axes"] = said
    result["verdict"] = {
        "sentence": f"{plan['model']}: {' '.join(_lowered(a['sentence'], i) for i, a in enumerate(said))}",
        "detail": _detail(said, axes),
        "status": "neutral",
    }
    result["licence"] = _licence(found, len(axes))
    return result


# ---- numbers -----------------------------------------------------------------------------------------------------------


def _setting(evidence: Evidence, name: str) -> dict[str, Any]:
    plan = evidence.plan
    return {
        "name": name,
        "prefix": int(plan["prefix"]),
        "exemplars": int(plan.get("exemplars", 0)),
        "exemplar_tokens": int(plan.get("exemplar_tokens", 0)),
        "plan_hash": evidence.records.manifest["plan_hash"],
    }


def _measured(found: Swept, i: int) -> dict[str, Any]:
    curve, h, loss = found.curves[i], found.horizon(i), found.loss(i)
    mean = found.mean_auc(i)
    last = curve.detections[-1].auc
    return {
        "auc_by_length": [
            {"tokens": int(n), "value": d.auc.value, "low": d.auc.low, "high": d.auc.high, "detector": KINDS[kind]}
            for n, d, kind in zip(found.lengths, curve.detections, curve.picked, strict=True)
        ],
        "auc_last": {"value": last.value, "low": last.low, "high": last.high},
        "mean_auc": {"value": mean.value, "low": mean.low, "high": mean.high},
        "h75_tokens": {
            "value": h.value,
            "low": h.low_tokens,
            "high": h.high_tokens,
            "text": outside(h.estimate),
            "interval": interval_words(h),
            "ends": to_json(ends_of(h, found.lengths)),
        },
        "loss_nats_per_token": {
            "value": loss.value,
            "low": loss.low,
            "high": loss.high,
            "impossible_tokens": found.losses[i].n_impossible,
        },
        "pairs_left_out": curve.n_dropped,
    }


def _axis(found: Swept, axis: Axis) -> dict[str, Any]:
    x = np.array(axis.x)
    trend = found.slope(axis.members, x)
    loss = found.loss_contrast(axis.members, slope_weights(x))
    return {
        "key": axis.key,
        "label": axis.label,
        "values": list(axis.values),
        "settings": list(axis.members),
        "trend": {**asdict(trend), "unit": "AUC a doubling", "adjusted_p": None},
        "loss_trend": None if loss is None else {**asdict(loss), "unit": "nats a token a doubling"},
        "differences": _differences(found, axis),
        "charts": axis_charts(found, axis.key, axis.label, axis.values, axis.members),
        "tables": [_auc_table(found, axis)],
    }


def _differences(found: Swept, axis: Axis) -> list[dict[str, Any]]:
    """Each setting minus the one with least context; p-values of the mean AUC by Holm."""
    first = axis.members[0]
    rows: list[dict[str, Any]] = []
    for value, member in zip(axis.values[1:], axis.members[1:], strict=True):
        d, h = found.difference(first, member), found.horizon_difference(first, member)
        loss = found.loss_contrast([first, member], np.array([-1.0, 1.0]))
        tail = (1 - h.level) / 2
        rows.append(
            {
                "value": value,
                "mean_auc": asdict(d),
                "h75_tokens": {
                    "value": h.value,
                    "low": h.low if h.beyond_a <= tail and not h.degenerate else None,
                    "high": h.high if h.beyond_b <= tail and not h.degenerate else None,
                    "p_value": None if h.degenerate else h.p_value,
                    "degenerate": h.degenerate,
                },
                "loss_nats_per_token": None if loss is None else asdict(loss),
            }
        )
    adjusted = holm(np.array([r["mean_auc"]["p_value"] for r in rows]))
    for row, p in zip(rows, adjusted, strict=True):
        row["mean_auc"]["adjusted_p"] = float(p)
    return rows


def _auc_table(found: Swept, axis: Axis) -> Table:
    rows = []
    for n, length in enumerate(found.lengths):
        aucs = [found.curves[i].detections[n].auc for i in axis.members]
        rows.append((str(int(length)), *(f"{a.value:.3f} ({a.low:.3f} to {a.high:.3f})" for a in aucs)))
    columns = ("tokens after the cut", *(axis.after(v) for v in axis.values))
    return Table(
        "auc_by_length",
        "AUC by length and context (95%, test documents resampled, detector as fitted)",
        columns,
        tuple(rows),
    )


# ---- sentences ---------------------------------------------------------------------------------------------------------


def _outcome(trend: dict[str, Any]) -> str:
    if trend["adjusted_p"] > ALPHA:
        return "none"
    return "falls" if trend["value"] < 0 else "grows"


def _sentence(said: dict[str, Any], axis: Axis, found: Swept) -> str:
    """What happens to the gap along one axis, and what is left at its end."""
    t, longest = said["trend"], int(found.lengths[-1])
    first, last = (found.curves[axis.members[i]].mean_auc for i in (0, -1))
    least, most = (axis.after(axis.values[i]) for i in (0, -1))
    slope = f"{_signed(t['value'])} a doubling, 95% interval {_signed(t['low'])} to {_signed(t['high'])}"
    levels = f"mean AUC over 1 to {longest} tokens {first:.2f} {least}, {last:.2f} {most}"
    if said["outcome"] == "falls":
        told = f"The gap falls with this much context: {levels} ({slope})."
    elif said["outcome"] == "grows":
        told = f"The gap grows with this much context: {levels} ({slope})."
    else:
        would = f"; a slope of {t['smallest_detectable']:.3f} would have been found with 80% power"
        told = f"No fall of the gap with this much context was found: {levels} ({slope}{would})."
    return f"{told} {_left(axis, found, longest)}"


def _left(axis: Axis, found: Swept, longest: int) -> str:
    a = found.curves[axis.members[-1]].detections[-1].auc
    measured = f"AUC {a.value:.2f} ({a.low:.2f} to {a.high:.2f}) at {longest} tokens"
    most = axis.after(axis.values[-1])
    if a.low > CHANCE:
        return f"What is left {most}: {measured}."
    return f"{most[0].upper()}{most[1:]} no difference was found at {longest} tokens at this n ({measured})."


def _detail(said: Sequence[dict[str, Any]], axes: Sequence[Axis]) -> str:
    """What may not be concluded, and what the loss does meanwhile."""
    parts = [
        "Even a perfect predictor is told from one source while its context does not say which source that is, and context says more of it; "
        "but context also changes the predictor's own error. So what falls is not all uncertainty about the source, and what is left is not "
        "all error."
    ]
    for one, axis in zip(said, axes, strict=True):
        loss = one["loss_trend"]
        name = {"prefix": "prefix", "exemplars": "exemplars"}[axis.key]
        if loss is None:
            parts.append(f"Some real tokens are impossible to it, so losses by {name} are not compared.")
        else:
            parts.append(
                f"On the same tokens the loss changes by {_signed(loss['value'])} nats a token a doubling of the {name} (95% interval "
                f"{_signed(loss['low'])} to {_signed(loss['high'])})."
            )
    return " ".join(parts)


def _lowered(sentence: str, place: int) -> str:
    return sentence[0].lower() + sentence[1:] if place == 0 else sentence


def _signed(x: float) -> str:
    return f"{x:+.3f}".replace("-", "−")


def _cautions(evidences: Sequence[Evidence], axes: Sequence[Axis]) -> list[str]:
    said = []
    for axis in axes:
        told = {
            v: int(evidences[i].plan.get("exemplar_tokens", 0)) for v, i in zip(axis.values, axis.members, strict=True)
        }
        lengths = {v: n for v, n in told.items() if n}
        if len(set(lengths.values())) > 1:
            which = ", ".join(f"{n} tokens {axis.after(v)}" for v, n in lengths.items())
            said.append(
                f"Exemplars are cut to different lengths along this axis ({which}): they must fit beside the text."
            )
        if axis.key == "prefix" and axis.values[0] == 0:
            said.append(
                "From nothing the model begins a document, while the real texts are at the same cut as in every other setting: part of that "
                "setting's gap is the place in the document."
            )
    if evidences[0].plan["sampling"] != "temperature 1, full vocabulary":
        said.append(f"Texts were sampled with {evidences[0].plan['sampling']}, not from the model's own law.")
    return said


def _licence(found: Swept, n_axes: int) -> str:
    adjusted = "" if n_axes == 1 else f" The {n_axes} trends are Holm-adjusted."
    return (
        f"Unit: the document; the same {found.n_train} train and {found.n_test} test documents, the same real continuations and the same random "
        "numbers in every setting. Fixed n. Primary question, one an axis: the least-squares slope of the mean AUC (over the measured lengths) "
        f"on log₂(1 + context); null: slope 0. Its interval: t, standard error from {N_RESAMPLES} resamples of training and test documents, the "
        f"same for all settings, every detector fitted again (kind and penalty as picked).{adjusted} Differences from the setting with least "
        "context: the same, Holm within the axis. Curves by length: test documents resampled, detector as fitted. H75 differences: likewise, held "
        "within the lengths measured. No difference found is not no difference."
    )
