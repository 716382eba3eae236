"""The result of a comparison from what its records conclude: summaries, pictures and tables, and sentences last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

import freerun
from freerun.comparisons.charts import auc_chart, horizon_chart, loss_chart, scale_of
from freerun.comparisons.detected import difference_in
from freerun.comparisons.differences import LOSS_KEY, Compared, loss_by_position
from freerun.comparisons.points import compare_next, compare_points
from freerun.comparisons.questions import questions_compared
from freerun.counted import counted
from freerun.findings.detectability.quantities import H75
from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.findings.loss import LOSS
from freerun.results.compare import (
    ALPHA,
    Bounds,
    Breach,
    CompareResult,
    Difference,
    RunPair,
    RunSummary,
)
from freerun.results.finding import Chart, Series, Table, known
from freerun.results.horizons import HorizonSummary
from freerun.results.verdict import Card, Verdict
from freerun.stats.position import curve_by_position, log_spaced_edges

COMPARE_VERSION = 1
NOISE_NATS = 2e-4
"""Loss a token that floating point alone has been seen to move."""
ROLES = ("reference", "free", "tempered", "other", "control", "real")
"""Colours of the runs, in their order."""
_NOT_WITH_BOTH = "; by its interval alone it would be, but not with loss and horizon asked together (Holm)"


def compare_result(
    evidences: Sequence[Evidence],
    names: Sequence[str],
    compared: Compared,
    *,
    broken: Sequence[Breach],
    cautions: Sequence[str],
    results: Sequence[dict[str, Any] | None],
    x: Sequence[float] | None,
    x_label: str,
    command: str,
    created: str,
) -> CompareResult:
    """Everything that is said of a comparison. `results`: the runs' own result.json, where they have one, for the table beside."""
    corpus, trend = evidences[0].plan.corpus, len(evidences) > 2
    places = [float(i) for i in (range(len(names)) if x is None else x)]
    pairs = tuple(replace(pair, sentence=pair_sentence(pair)) for pair in compared.pairs)
    refused = [name for name, own in zip(names, compared.own_text, strict=True) if own.refused]
    runs = tuple(
        _run(e, result, name, compared, i, places[i])
        for i, (e, result, name) in enumerate(zip(evidences, results, names, strict=True))
    )
    return CompareResult(
        COMPARE_VERSION,
        "trend" if trend else "compare",
        freerun.__version__,
        (f"{counted(len(names), 'run')} on {corpus}" if trend else f"{names[1]} against {names[0]} on {corpus}")
        + (", from a first look" if any(e.first_look for e in evidences) else ""),
        _verdict(runs, pairs, compared, broken, refused),
        runs,
        () if trend else tuple(_card(d) for d in pairs[0].differences if d.primary),
        pairs,
        compared.trends,
        x_label,
        _charts(evidences, names, compared, places, x_label),
        _beside(pairs, results, names),
        tuple(broken),
        (*cautions, *_impossible(evidences, names), *_own_text_cautions(names, compared)),
        _licence(pairs, len(compared.trends)),
        command,
        created,
        questions_compared(compared.trends, "slope") if trend else questions_compared(pairs[0].differences),
    )


def _run(
    e: Evidence, result: Mapping[str, Any] | None, name: str, compared: Compared, i: int, place: float
) -> RunSummary:
    loss, curves, plan = compared.values[i].get(LOSS_KEY), compared.curves, e.plan
    return RunSummary(
        name,
        place,
        plan.model,
        plan.corpus,
        e.plan.sampling.describe(),
        plan.dtype,
        e.n_documents,
        e.length,
        e.records.manifest["plan_hash"],
        asdict(compared.own_text[i]),
        None if loss is None else Bounds.of(loss.interval()),
        None
        if curves is None
        else HorizonSummary.of(curves.curves[i].horizon(), curves.lengths, detected=difference_in(e, result)),
        e.first_look,
    )


# ---- pictures and the table beside -------------------------------------------------------------------------------------


def _charts(
    evidences: Sequence[Evidence], names: Sequence[str], compared: Compared, places: Sequence[float], x_label: str
) -> tuple[Chart, ...]:
    charts = []
    if len(names) > 2:
        charts += _trend_charts(compared, places, x_label)
    if compared.curves is not None:
        aucs = [(name, compared.curves.curves[i].intervals()) for i, name in enumerate(names)]
        charts.append(
            auc_chart(
                "auc_by_length",
                "How well each run's own text is told from real text, by length",
                compared.curves.lengths,
                aucs,
                ROLES,
                range(len(names)) if len(names) == 2 else (),
                lowest=0.2,
                caption="Each run by its own detectors, as in its own report. Bands: pointwise 95%, over test and training documents.",
            )
        )
    if len(names) == 2 and compared.pairs[0].real_tokens_paired:
        charts.append(_loss_chart(evidences[0], evidences[1], compared.pairs[0]))
    return tuple(charts)


def _loss_chart(first: Evidence, second: Evidence, pair: RunPair) -> Chart:
    gap, kept = loss_by_position(first, second)
    edges = log_spaced_edges(min(first.length, second.length))
    curve = curve_by_position(gap, kept.position, kept.units, edges=edges)
    mean, low, high = (tuple(map(known, column.tolist())) for column in (curve.mean, curve.low, curve.high))
    return Chart(
        name="loss_difference_by_position",
        title=f"Loss of {pair.second} minus loss of {pair.first}, by position",
        x_label="tokens after the cut",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        levels=((0.0, "no difference"),),
        series=(Series("difference on the same tokens", "free", mean, low, high),),
        caption="Real text, the same tokens in both runs. Band: pointwise 95%, by document.",
    )


def _trend_charts(compared: Compared, places: Sequence[float], x_label: str) -> list[Chart]:
    order = np.argsort(places, kind="stable").tolist()
    x = tuple(places[i] for i in order)
    scale, charts = scale_of(x, 16), []
    if all(LOSS_KEY in values for values in compared.values):
        losses = [compared.values[i][LOSS_KEY].interval() for i in order]
        caption = (
            "Bands: 95% over documents. They overlap more than the runs differ: the same documents are in all of them."
        )
        series = Series.of("loss on real text", "real", losses)
        charts.append(
            loss_chart("loss_by_run", "Loss on real text, by run", x_label, x, scale, series, caption=caption)
        )
    if compared.curves is not None:
        horizons = [compared.curves.curves[i].horizon() for i in order]
        title = "Free-run horizon H75, by run"
        charts.append(horizon_chart("h75_by_run", title, x_label, x, scale, horizons, compared.curves.lengths))
    return charts


def _beside(pairs: Sequence[RunPair], results: Sequence[dict[str, Any] | None], names: Sequence[str]) -> Table | None:
    """Every estimate of the runs' own reports that has no paired difference, side by side."""
    if any(r is None for r in results):
        return None
    compared = {(d.finding, d.name) for pair in pairs for d in pair.differences}
    estimates = [
        {(f["name"], e["name"]): e for f in r["findings"] for e in f["estimates"]} for r in results if r is not None
    ]
    rows = tuple(
        (key[0].replace("_", " "), first["label"], *(_cell(each[key]) for each in estimates))
        for key, first in estimates[0].items()
        if key not in compared and all(key in each for each in estimates)
    )
    return Table("beside", "What has no paired difference, side by side", ("finding", "quantity", *names), rows)


def _cell(e: dict[str, Any]) -> str:
    if e["value"] is None:
        return str(e["text"] or "–")
    ends = f" ({e['low']:.3g} to {e['high']:.3g})" if e["low"] is not None and e["high"] is not None else ""
    return f"{e['value']:.4g}{ends}".replace("-", "−")


# ---- sentences ---------------------------------------------------------------------------------------------------------


def _verdict(
    runs: Sequence[RunSummary],
    pairs: Sequence[RunPair],
    compared: Compared,
    broken: Sequence[Breach],
    refused: Sequence[str],
) -> Verdict:
    differences = [d for pair in pairs for d in pair.differences]
    further = [d for d in differences if not d.primary and d.p_value is not None]
    detail = (
        f"{sum(d.found for d in differences if not d.primary)} of {counted(len(further), 'further difference is', 'further differences are')} told from zero with the "
        f"false-discovery rate held at {ALPHA:.0%}."
    )
    sentences = [pair.sentence for pair in pairs]
    if refused:
        sentences.append(f"Own text is not compared: that of {' and '.join(refused)} is refused as evidence.")
    what = ", ".join(sorted({b.what for b in broken}))
    if broken:
        detail = f"Compared although they differ in {what}: see what no longer holds. {detail}"
    if compared.curves is None:
        detail = f"No horizons: {compared.why_no_curves}. {detail}"
    differ = any(d.found and d.primary for d in differences)
    limits = [f"Compared although they differ in {what}: see what no longer holds."] if broken else []
    limits += [f"No horizons: {compared.why_no_curves}."] if compared.curves is None else []
    return Verdict(
        " ".join(sentences),
        detail,
        "bad" if differ else "neutral",
        points=compare_points(runs, pairs, compared.trends, " ".join(limits)),
        next_step=compare_next(runs, pairs, refused),
    )


def pair_sentence(pair: RunPair) -> str:
    """What differs between two runs, in words: the loss and the horizon."""
    primary = {d.name: d for d in pair.differences if d.primary}
    parts = [_loss_words(pair, primary.get(LOSS.name))]
    if H75.name in primary:
        parts.append(_horizon_words(primary[H75.name]))
    return " ".join(parts)


def _loss_words(pair: RunPair, loss: Difference | None) -> str:
    first, second = pair.first, pair.second
    if loss is None:
        return f"{second} and {first} have no tokens in common, so their losses are not compared token by token."
    if pair.impossible_tokens[0] != pair.impossible_tokens[1]:
        return f"The losses of {second} and {first} differ without bound ({loss.text})."
    if loss.identical or (loss.degenerate and loss.value == 0.0):
        return f"{second} and {first} lose the same on every document of real text."
    if not loss.found:
        return f"No difference in loss was found between {second} and {first} ({_not_found(loss, 'nats')})."
    way = "more" if loss.value > 0 else "less"
    words = f"{second} loses {abs(loss.value):.3g} nats a token {way} than {first} on the same text ({_range(loss)})."
    if abs(loss.value) < NOISE_NATS:
        words += f" Another batch, machine or library can do as much ({NOISE_NATS:g} nats)."
    return words


def _horizon_words(horizon: Difference) -> str:
    if horizon.identical:
        return "Their own texts and horizons are the same records."
    if horizon.low is None and horizon.high is None:
        return f"Whether their free-run horizons differ is not known ({horizon.text})."
    if not horizon.found:
        return f"No difference in the free-run horizon was found ({_not_found(horizon, 'tokens')})."
    way, end = ("longer", horizon.high) if horizon.value > 0 else ("shorter", horizon.low)
    least = "at least " if end is None else ""
    return f"Its free-run horizon H75 is {least}{abs(horizon.value):.0f} tokens {way} ({_range(horizon)})."


def _range(d: Difference) -> str:
    form = "+.1f" if d.unit == "tokens" else "+.4f"
    if d.degenerate:
        return f"{_spelled(d.value, form)} in every document"
    if d.low is None and d.high is None:
        return "no interval"
    return f"{_spelled(d.value, form)}, 95% interval {_spelled(d.low, form)} to {_spelled(d.high, form)}"


def _not_found(d: Difference, unit: str) -> str:
    least = d.smallest_detectable
    would = "" if least is None else f"; one of {least:.2g} {unit} is found with 80% power"
    words = f"; {d.text}" if d.text and d.unit == "tokens" else ""
    return f"{_range(d)}{would}{words}{_NOT_WITH_BOTH if d.excludes_zero else ''}"


def _spelled(x: float | None, form: str) -> str:
    return "open" if x is None else format(x, form).replace("-", "−")


def _card(d: Difference) -> Card:
    form = "+.0f" if d.unit == "tokens" else "+.4f"
    interval = f"{_spelled(d.low, form)} to {_spelled(d.high, form)}"
    return Card(
        f"{d.label}, difference",
        _spelled(d.value, form),
        "" if d.value is None else d.unit,
        "" if d.low is None and d.high is None else interval,
        d.text or ("more than luck explains" if d.found else "may be luck"),
    )


def _licence(pairs: Sequence[RunPair], n_trends: int) -> str:
    differences = [d for pair in pairs for d in pair.differences]
    n = max((d.n for d in differences), default=0)
    m = sum(not d.primary and d.p_value is not None for d in differences) + n_trends
    return (
        f"Unit: the document ({n} at most); what a document does in both runs stays together, tokens are never independent. Fixed n. Null of "
        f"each line: no difference. Loss and horizon are the two primary questions, their p-values Holm-adjusted; the {m} other tests are held to "
        f"a false-discovery rate of {ALPHA:.0%} under any dependence (Benjamini & Yekutieli). The luck of training and of test documents is in the "
        "intervals of horizons and AUCs. Intervals are not adjusted. “Is found with 80% power”: after "
        "adjustment, if all others are null. No difference found is not no difference."
    )


def _impossible(evidences: Sequence[Evidence], names: Sequence[str]) -> list[str]:
    """Runs that rule out real tokens: what averages over possible tokens is then left out."""
    return [
        f"{name} gives no mass to some real tokens, so its loss is infinite; what averages over the tokens that a run holds possible (bits a byte, "
        "excess, surprisal and temperature gaps, the prefix's worth) is not compared with it."
        for e, name in zip(evidences, names, strict=True)
        if e.has_impossible_tokens
    ]


def _own_text_cautions(names: Sequence[str], compared: Compared) -> list[str]:
    """Runs whose texts did not come from the law that they declare, or whose recorded laws are not the model's."""
    words = {
        "rescoring": "the laws recorded while sampling are not those of a fresh pass, so its own text is refused as evidence and nothing "
        "that rests on it is compared; losses on real text stand.",
        "sampler_audit": "its sampler's audit failed, so its own texts are not drawn from its law. Every difference that speaks of own text "
        "is one of samplers; losses on real text stand.",
    }
    return [
        f"{name}: {words[own.fault]}"
        for name, own in zip(names, compared.own_text, strict=True)
        if own.fault is not None
    ]
