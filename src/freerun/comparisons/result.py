"""A comparison as plain data: sentences, cards, charts and tables. The page is drawn from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

import freerun
from freerun.comparisons.curves import LEVELS
from freerun.comparisons.differences import ALPHA, Compared, Difference, Pair, loss_by_position
from freerun.comparisons.terms import Breach
from freerun.comparisons.values import has_impossible_tokens
from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.results.finding import Chart, Series, Table, to_json
from freerun.results.horizons import ends_of, interval_words, outside
from freerun.stats.detection.auc import auc_interval
from freerun.stats.intervals import ratio_of_group_sums
from freerun.stats.position import curve_by_position, log_spaced_edges

COMPARE_VERSION = 1
NOISE_NATS = 2e-4
"""Loss a token that floating point alone has been seen to move."""
ROLES = ("reference", "free", "tempered", "other", "control", "real")
"""Colours of the runs, in their order."""


def compare_result(
    evidences: Sequence[Evidence],
    names: Sequence[str],
    found: Compared,
    *,
    broken: Sequence[Sequence[Breach]],
    cautions: Sequence[str],
    results: Sequence[dict[str, Any] | None],
    x: Sequence[float] | None = None,
    x_label: str = "run",
    command: str = "",
) -> dict[str, Any]:
    """Everything that is said of a comparison. `results`: the runs' own result.json, where they have one, for the table beside."""
    corpus = evidences[0].plan["corpus"]
    trend = len(evidences) > 2
    title = f"{len(names)} runs on {corpus}" if trend else f"{names[1]} against {names[0]} on {corpus}"
    places = list(range(len(names))) if x is None else list(x)
    return {
        "schema_version": COMPARE_VERSION,
        "kind": "trend" if trend else "compare",
        "freerun_version": freerun.__version__,
        "title": title,
        "verdict": _verdict(names, found, broken),
        "runs": [_run(e, name, found, i, places[i]) for i, (e, name) in enumerate(zip(evidences, names, strict=True))],
        "headline": [] if trend else _headline(found.pairs[0]),
        "pairs": [_pair(p, names, found) for p in found.pairs],
        "trends": [_plain(d) for d in found.trends],
        "x_label": x_label,
        "charts": _charts(evidences, names, found, places, x_label),
        "beside": _beside(found, results, names),
        "broken": [
            {"run": names[k], "what": b.what, "first": b.first, "second": b.second, "lost": b.lost}
            for k, each in enumerate(broken, start=1)
            for b in each
        ],
        "cautions": [*cautions, *_impossible(evidences, names), *_own_text_cautions(names, found)],
        "licence": _licence(found),
        "command": command,
    }


# ---- sentences ---------------------------------------------------------------------------------------------------------


def _verdict(names: Sequence[str], found: Compared, broken: Sequence[Sequence[Breach]]) -> dict[str, str]:
    said = [pair_sentence(p, names) for p in found.pairs]
    seen = [d for p in found.pairs for d in p.differences if d.found]
    detail = f"{sum(not d.primary for d in seen)} of {sum(not d.primary and d.p_value is not None for p in found.pairs for d in p.differences)} further differences are told from zero with the false-discovery rate held at {ALPHA:.0%}."
    refused = refused_runs(found, names)
    if refused:
        said.append(f"Own text is not compared: that of {' and '.join(refused)} is refused as evidence.")
    if any(broken):
        what = sorted({b.what for each in broken for b in each})
        detail = f"Compared although they differ in {', '.join(what)}: see what no longer holds. {detail}"
    if found.curves is None:
        detail = f"No horizons: {found.why_no_curves}. {detail}"
    unlike = any(d.primary for d in seen)
    return {"sentence": " ".join(said), "detail": detail, "status": "bad" if unlike else "neutral"}


def pair_sentence(pair: Pair, names: Sequence[str]) -> str:
    """What differs between two runs, in words: the loss and the horizon."""
    one, two = names[pair.first], names[pair.second]
    primary = {d.name: d for d in pair.differences if d.primary}
    parts = []
    loss = primary.get("loss_nats_per_token")
    if loss is None:
        parts.append(f"{two} and {one} have no tokens in common, so their losses are not compared token by token.")
    elif pair.n_impossible[0] != pair.n_impossible[1]:
        parts.append(f"The losses of {two} and {one} differ without bound ({loss.text}).")
    elif loss.identical or (loss.degenerate and loss.value == 0.0):
        parts.append(f"{two} and {one} lose the same on every document of real text.")
    elif loss.found and loss.value is not None:
        way = "more" if loss.value > 0 else "less"
        parts.append(
            f"{two} loses {abs(loss.value):.3g} nats a token {way} than {one} on the same text ({_range(loss)})."
        )
        if abs(loss.value) < NOISE_NATS:
            parts.append(f"Another batch, machine or library can do as much ({NOISE_NATS:g} nats).")
    else:
        ends = (
            "; by its interval alone it would be, but not with loss and horizon asked together (Holm)"
            * loss.excludes_zero
        )
        parts.append(
            f"No difference in loss was found between {two} and {one} ({_range(loss)}{_would(loss, 'nats')}{ends})."
        )
    horizon = primary.get("h75")
    if horizon is not None and horizon.value is not None:
        if horizon.identical:
            parts.append("Their own texts and horizons are the same records.")
        elif horizon.low is None and horizon.high is None:
            parts.append(f"Whether their free-run horizons differ is not known ({horizon.text}).")
        elif horizon.found:
            way = "longer" if horizon.value > 0 else "shorter"
            least = "at least " if (horizon.high if horizon.value > 0 else horizon.low) is None else ""
            parts.append(
                f"Its free-run horizon H75 is {least}{abs(horizon.value):.0f} tokens {way} ({_range(horizon)})."
            )
        else:
            ends = f"; {horizon.text}" if horizon.text else ""
            ends += (
                "; by its interval alone it would be, but not with loss and horizon asked together (Holm)"
                * horizon.excludes_zero
            )
            parts.append(
                f"No difference in the free-run horizon was found ({_range(horizon)}{_would(horizon, 'tokens')}{ends})."
            )
    return " ".join(parts)


def _range(d: Difference) -> str:
    digits = 1 if d.unit == "tokens" else 4
    if d.value is None or (d.low is None and d.high is None and not d.degenerate):
        return "no interval"
    if d.degenerate:
        return f"{d.value:+.{digits}f} in every document".replace("-", "−")
    low, high = ("open" if v is None else f"{v:+.{digits}f}" for v in (d.low, d.high))
    return f"{d.value:+.{digits}f}, 95% interval {low} to {high}".replace("-", "−")


def _would(d: Difference, unit: str) -> str:
    least = d.smallest_detectable
    if least is None:
        return ""
    return f"; one of {least:.2g} {unit} would have been found with 80% power"


def _licence(found: Compared) -> str:
    n = max((d.n for p in found.pairs for d in p.differences), default=0)
    m = sum(1 for p in found.pairs for d in p.differences if not d.primary and d.p_value is not None) + len(
        found.trends
    )
    return (
        f"Unit: the document ({n} at most); what a document does in both runs stays together, tokens are never independent. Fixed n. Null of "
        f"each line: no difference. Loss and horizon are the two primary questions, their p-values Holm-adjusted; the {m} other tests are held to "
        f"a false-discovery rate of {ALPHA:.0%} under any dependence (Benjamini & Yekutieli). Horizons and AUCs take each run's detectors as fitted: "
        "training them on other documents is not in the interval. Intervals are not adjusted. “Would have been found”: two-sided 5%, "
        "80% power, before adjustment. No difference found is not no difference."
    )


def _impossible(evidences: Sequence[Evidence], names: Sequence[str]) -> list[str]:
    """Runs that rule out real tokens: what averages over possible tokens is then left out."""
    return [
        f"{name} gives no mass to some real tokens, so its loss is infinite; what averages over the tokens that a run holds possible (bits a byte, "
        "excess, surprisal and temperature gaps, the prefix's worth) is not compared with it."
        for e, name in zip(evidences, names, strict=True)
        if has_impossible_tokens(e)
    ]


def refused_runs(found: Compared, names: Sequence[str]) -> list[str]:
    """Names of the runs whose own text is refused as evidence."""
    return [name for name, own in zip(names, found.own_text, strict=True) if own.refused]


def _own_text_cautions(names: Sequence[str], found: Compared) -> list[str]:
    """Runs whose texts did not come from the law that they declare, or whose recorded laws are not the model's."""
    said = []
    for name, own in zip(names, found.own_text, strict=True):
        if own.refused:
            said.append(
                f"{name}: the laws recorded while sampling are not those of a fresh pass, so its own text is refused as evidence and nothing "
                "that rests on it is compared; losses on real text stand."
            )
        elif own.fault == "sampler_audit":
            said.append(
                f"{name}: its sampler's audit failed, so its own texts are not drawn from its law. Every difference that speaks of own text "
                "is one of samplers; losses on real text stand."
            )
    return said


# ---- plain data --------------------------------------------------------------------------------------------------------


def _plain(d: Difference) -> dict[str, Any]:
    return {**{k: getattr(d, k) for k in d.__dataclass_fields__}, "found": d.found}


def _pair(pair: Pair, names: Sequence[str], found: Compared) -> dict[str, Any]:
    direct, refused = pair.direct, refused_runs(found, names)
    return {
        "first": names[pair.first],
        "second": names[pair.second],
        "sentence": pair_sentence(pair, names),
        "documents_shared": pair.aligned.n_documents,
        "documents_of_other_tokens": pair.aligned.n_other_tokens,
        "real_tokens_paired": int(pair.aligned.first.size),
        "impossible_tokens": list(pair.n_impossible),
        "own_text_refused": [name for name in (names[pair.first], names[pair.second]) if name in refused],
        "differences": [_plain(d) for d in pair.differences],
        "draws": {
            "texts_with_same_key": pair.draws.n,
            "texts_the_same": pair.draws.same,
            "tokens_until_they_differ": float(pair.draws.agreement_tokens.mean()) if pair.draws.n else None,
        },
        "told_apart": None
        if direct is None
        else {
            "auc": direct.auc.value,
            "low": direct.auc.low,
            "high": direct.auc.high,
            "p_value": direct.p_value,
            "n_test": direct.n_test,
            "method": "byte n-grams of own texts of the same prefixes, independent draws; swaps within documents",
        },
    }


def _run(e: Evidence, name: str, found: Compared, i: int, place: float) -> dict[str, Any]:
    loss = next((q for q in found.values[i] if q.name == "loss_nats_per_token"), None)
    horizon = None
    if found.curves is not None:
        h = found.curves.horizon(i, 0.75)
        horizon = {
            "value": h.value,
            "low": h.low_tokens,
            "high": h.high_tokens,
            "text": outside(h.estimate),
            "interval": interval_words(h),
            "ends": to_json(ends_of(h, found.curves.lengths)),
        }
    interval = ratio_of_group_sums(loss.tops, loss.bottoms) if loss is not None else None
    return {
        "name": name,
        "x": place,
        "model": e.plan["model"],
        "corpus": e.plan["corpus"],
        "sampling": e.plan["sampling"],
        "dtype": e.plan["dtype"],
        "documents": int(e.plan["documents"]),
        "tokens": e.length,
        "plan_hash": e.records.manifest["plan_hash"],
        "own_text": found.own_text[i],
        "loss_nats_per_token": None
        if interval is None
        else {"value": interval.value, "low": interval.low, "high": interval.high},
        "h75_tokens": horizon,
    }


def _headline(pair: Pair) -> list[dict[str, str]]:
    cards = []
    for d in pair.differences:
        if d.primary and d.value is not None:
            tokens = d.unit == "tokens"
            value = f"{d.value:+.0f}" if tokens else f"{d.value:+.4f}"
            low, high = ("open" if v is None else f"{v:+.0f}" if tokens else f"{v:+.4f}" for v in (d.low, d.high))
            known = d.low is not None or d.high is not None
            cards.append(
                {
                    "label": f"{d.label}, difference",
                    "value": value.replace("-", "−"),
                    "unit": d.unit,
                    "interval": f"{low} to {high}".replace("-", "−") if known else "",
                    "note": d.text or ("told from zero" if d.found else "not told from zero"),
                }
            )
    return cards


# ---- pictures ----------------------------------------------------------------------------------------------------------


def _charts(
    evidences: Sequence[Evidence], names: Sequence[str], found: Compared, places: Sequence[float], x_label: str
) -> list[Chart]:
    charts = []
    if found.curves is not None:
        charts.append(_auc_chart(names, found))
    charts += [_loss_chart(evidences, names, p) for p in found.pairs[:1] if len(names) == 2 and p.aligned.first.size]
    if len(names) > 2:
        charts = [*_trend_charts(found, places, x_label), *charts]
    return charts


def _auc_chart(names: Sequence[str], found: Compared) -> Chart:
    assert found.curves is not None
    series = []
    for i, name in enumerate(names):
        scored, draws = found.curves.curves[i].scored, found.curves.draws[i]
        limits = [
            auc_interval(float(value), column, n_groups=scored.documents.size)
            for value, column in zip(scored.aucs, draws.T, strict=True)
        ]
        band = len(names) == 2
        series.append(
            Series(
                name,
                ROLES[i % len(ROLES)],
                tuple(scored.aucs.tolist()),
                tuple(x.low for x in limits) if band else None,
                tuple(x.high for x in limits) if band else None,
            )
        )
    return Chart(
        name="auc_by_length",
        title="How well each run's own text is told from real text, by length",
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(float(n) for n in found.curves.lengths),
        x_scale="log2",
        y_range=(0.2, 1.0),
        levels=((0.5, "chance"), *((level, f"H{round(100 * level)}") for level in LEVELS[1:2])),
        series=tuple(series),
        caption="Each run by its own detectors, as in its own report. Bands: pointwise 95%, test documents resampled together.",
    )


def _loss_chart(evidences: Sequence[Evidence], names: Sequence[str], pair: Pair) -> Chart:
    first, second = evidences[pair.first], evidences[pair.second]
    gap, kept = loss_by_position(first, second, pair.aligned)
    edges = log_spaced_edges(min(first.length, second.length))
    curve = curve_by_position(gap, kept.position, kept.units, edges=edges)
    mean, low, high = (_known(c) for c in (curve.mean, curve.low, curve.high))
    return Chart(
        name="loss_difference_by_position",
        title=f"Loss of {names[pair.second]} minus loss of {names[pair.first]}, by position",
        x_label="tokens after the cut",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        levels=((0.0, "no difference"),),
        series=(Series("difference on the same tokens", "free", mean, low, high),),
        caption="Real text, the same tokens in both runs. Band: pointwise 95%, by document.",
    )


def _known(values: Float[np.ndarray, " bins"]) -> tuple[float | None, ...]:
    return tuple(float(v) if np.isfinite(v) else None for v in values)


def _trend_charts(found: Compared, places: Sequence[float], x_label: str) -> list[Chart]:
    order = sorted(range(len(places)), key=lambda i: places[i])
    x = tuple(float(places[i]) for i in order)
    scale = "log2" if min(x) > 0 and max(x) / min(x) >= 16 else "linear"
    charts = []
    losses = [next((q for q in each if q.name == "loss_nats_per_token"), None) for each in found.values]
    if all(q is not None for q in losses):
        held = [ratio_of_group_sums(q.tops, q.bottoms) for q in losses if q is not None]
        value, low, high = (tuple(float(getattr(held[i], part)) for i in order) for part in ("value", "low", "high"))
        charts.append(
            Chart(
                name="loss_by_run",
                title="Loss on real text, by run",
                x_label=x_label,
                y_label="nats a token",
                x=x,
                x_scale=scale,
                series=(Series("loss on real text", "real", value, low, high),),
                caption="Bands: 95% over documents. They overlap more than the runs differ: the same documents are in all of them.",
            )
        )
    if found.curves is not None:
        longest = float(found.curves.lengths[-1])
        h = [found.curves.horizon(i, 0.75) for i in order]
        middle = tuple(e.estimate.tokens for e in h)
        least = tuple(e.low.tokens for e in h)
        most = tuple(e.high.tokens for e in h)
        charts.append(
            Chart(
                name="h75_by_run",
                title="Free-run horizon H75, by run",
                x_label=x_label,
                y_label="tokens",
                x=x,
                x_scale=scale,
                series=(Series("H75", "free", middle, least, most),),
                levels=((longest, "longest measured"),),
                caption="A horizon beyond the lengths measured is drawn at their end. Bands: 95% over test documents.",
            )
        )
    return charts


def _beside(found: Compared, results: Sequence[dict[str, Any] | None], names: Sequence[str]) -> Table | None:
    """Every estimate of the runs' own reports that has no paired difference, side by side."""
    if any(r is None for r in results):
        return None
    compared = {(d.finding, d.name) for p in found.pairs for d in p.differences}
    rows = []
    held = [
        {(f["name"], e["name"]): e for f in r["findings"] for e in f["estimates"]} for r in results if r is not None
    ]
    for key, first in held[0].items():
        if key not in compared and all(key in each for each in held):
            rows.append((key[0].replace("_", " "), first["label"], *(_cell(each[key]) for each in held)))
    columns = ("finding", "quantity", *names)
    return Table("beside", "What has no paired difference, side by side", columns, tuple(rows))


def _cell(e: dict[str, Any]) -> str:
    if e["value"] is None:
        return str(e["text"] or "–")
    ends = f" ({e['low']:.3g} to {e['high']:.3g})" if e["low"] is not None and e["high"] is not None else ""
    return f"{e['value']:.4g}{ends}".replace("-", "−")
