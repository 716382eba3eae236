"""How disagreement grows along the ladders, against what the other models say of the texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.jobs.lab.disagreement.ladders import LADDERS, NOBODY
from freerun.jobs.lab.disagreement.scoring import RungScores
from freerun.results.disagreement import RungResult
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table
from freerun.stats.disagreement.factors import mean_over_models
from freerun.stats.intervals import Interval, cluster_ratio

N_BINS = 8
FEWEST_MODELS = 3
"""Of an interval over models: two are equally far from each other, so that they are one number."""
LABELS = {
    "js": ("generalised Jensen–Shannon divergence", "nats/token"),
    "sd": ("SD over models of ln q(x)/T", "nats/token"),
    "top": ("pairs of models that put another token first", ""),
    "loo": ("leave-one-out log-probability", "nats/token"),
    "truth": ("KL(truth ‖ model), mean over models", "nats/token"),
    "outsider": ("Jensen–Shannon divergence of the 5-gram from the family", "nats/token"),
}
RANGES = {"top": (0.0, 1.0), "loo": (-np.inf, 0.0)}
"""What an outcome can be; all others are at least 0."""


def rung_results(scored: Sequence[RungScores], level: float) -> tuple[RungResult, ...]:
    """Every outcome of every rung, with its interval over texts."""
    return tuple(RungResult(s.rung.ladder, s.rung.name, len(s.rung.ids), tuple(_estimates(s, level))) for s in scored)


def _columns(s: RungScores) -> Iterator[tuple[str, Float[np.ndarray, " texts"]]]:
    with np.errstate(invalid="ignore"):
        every = {
            "js": s.js,
            "sd": s.sd,
            "top": s.top,
            "loo": _mean_known(s.loo),
            "truth": _mean_known(s.truth),
            "outsider": s.outsider,
        }
    yield from ((name, values) for name, values in every.items() if not np.isnan(values).all())


def _mean_known(values: Float[np.ndarray, "models texts"]) -> Float[np.ndarray, " texts"]:
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(0) / np.where(known.any(0), known.sum(0), np.nan))


def _estimates(s: RungScores, level: float) -> Iterator[Estimate]:
    for name, values in _columns(s):
        label, unit = LABELS[name]
        known = ~np.isnan(values)
        interval = _inside(_mean(values[known], s.rung.units[known], level), *RANGES.get(name, (0.0, np.inf)))
        yield Estimate.of(
            name,
            label,
            interval,
            unit,
            method="mean over texts, interval over documents for these models",
            independent_unit="text" if (s.rung.writer != NOBODY).all() else "document",
        )


def _inside(i: Interval | None, low: float, high: float) -> Interval | None:
    """An interval cut to what is possible."""
    return None if i is None else replace(i, low=max(i.low, low), high=min(i.high, high))


def _mean(values: Float[np.ndarray, " texts"], units: np.ndarray, level: float) -> Interval | None:
    if len(np.unique(units)) < 2:
        return None
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]), float(values[0]), level, len(np.unique(units)))
    return cluster_ratio(values, np.ones(len(values)), units, level=level)


def rise_finding(scored: Sequence[RungScores], rungs: Sequence[RungResult], level: float) -> Finding:
    """Whether disagreement grows as leave-one-out probability falls."""
    whole = [s for s in scored if s.rung.ladder in ("real", "splices", "permutation", "temperature")]
    slopes = {"all of these": _slope(whole, level)}
    slopes |= {
        name: _slope([s for s in whole if s.rung.ladder in ("real", name)], level)
        for name in LADDERS
        if name in {s.rung.ladder for s in whole} - {"real"}
    }
    slopes["real text alone"] = _slope([s for s in whole if s.rung.ladder == "real"], level)
    main = slopes["all of these"]
    real, far = _named(rungs, "real", "real text"), _named(rungs, "temperature", "t = ∞")
    answer = {1: "Yes", -1: "No", 0: "Not to be told"}[0 if main is None else main.side]
    few = f"{len(whole[0].loo) if whole else 0} models are too few for an interval over models."
    sentence = (
        f"{answer}: a model departs from the others by {_signed(main)} nats of Jensen–Shannon divergence a token "
        "for every nat by which the others find a text less probable (95% interval over models)."
        if main is not None
        else f"{few[0].upper()}{few[1:]}"
    )
    if real and far:
        sentence += (
            f" The family's divergence is {_value(real):.3g} nats a token on real text and {_value(far):.3g} on random "
            "tokens."
        )
    rows = tuple((name, Cell.of(i, 4, "nats/nat", sign=True)) for name, i in slopes.items())
    return Finding(
        "rise",
        "Does disagreement grow as texts become less probable?",
        sentence,
        "neutral" if main is not None else "unknown",
        estimates=(
            Estimate.of("slope", "departure by leave-one-out nats", main, "nats/nat", independent_unit="model"),
        ),
        charts=(_bins(whole, level), *_ladder_charts(rungs)),
        tables=(
            Table(
                "slopes",
                "Growth of a model's departure from the others with each nat of leave-one-out improbability",
                ("texts", "slope"),
                rows,
            ),
            _rung_table(rungs),
        ),
        licence=(
            "Slopes: least squares over texts, a model at a time; the model is the unit. Rungs: these models are "
            "given, documents "
            "(or written texts) are the units. A text that a member wrote is not scored by it. The log-probability of "
            "a text, where a model's departure "
            "is looked at, is that of the other models."
        ),
    )


def scores_finding(rungs: Sequence[RungResult], names: Sequence[str]) -> Finding:
    """What can be said where a model gives the log-probabilities of tokens alone: the spread of scores."""
    real, far = _named(rungs, "real", "real text"), _named(rungs, "temperature", "t = ∞")
    ends = [
        f"{_estimate(r, 'sd').value or 0.0:.4f} on {words}"
        for r, words in ((real, "real text"), (far, "random tokens"))
        if r
    ]
    return Finding(
        "rise",
        "Does disagreement grow as texts become less probable?",
        f"The standard deviation over models of ln q(x)/T is {' and '.join(ends)}, nats a token.",
        "neutral",
        charts=tuple(_ladder_charts(rungs, "sd")),
        tables=(_rung_table(rungs),),
        licence=f"{counted(len(names), 'model is', 'models are')} given; documents are the units.",
        notes=("At least one of the models gives no whole laws: divergences and first choices are not known.",),
    )


def _slope(scored: Sequence[RungScores], level: float) -> Interval | None:
    """Slope of departure by −leave-one-out log-probability over texts, a mean over models."""
    if not scored:
        return None
    x, y = (np.concatenate([getattr(s, what) for s in scored], 1) for what in ("loo", "departures"))
    slopes = []
    for i in range(len(x)):
        known = ~np.isnan(x[i])
        if known.sum() > 2 and np.ptp(x[i][known]) > 1e-12:
            slopes.append(-np.polyfit(x[i][known], y[i][known], 1)[0])
    return mean_over_models(np.array(slopes), level=level) if len(slopes) >= FEWEST_MODELS else None


def _bins(scored: Sequence[RungScores], level: float) -> Chart:
    x, y = (np.concatenate([getattr(s, what) for s in scored], 1) for what in ("loo", "departures"))
    edges = np.quantile(x[~np.isnan(x)], np.linspace(0, 1, N_BINS + 1)[1:-1])
    number = np.where(np.isnan(x), -1, np.searchsorted(edges, x))
    centres, intervals = [], []
    for b in range(N_BINS):
        inside = number == b
        rows = inside.any(1)
        if rows.sum() < FEWEST_MODELS:
            continue
        means = np.where(inside, y, 0).sum(1)[rows] / inside.sum(1)[rows]
        centres.append(float(-x[inside].mean()))
        intervals.append(mean_over_models(means, level=level))
    return Chart(
        "departure",
        "A model's distance from the others, by how improbable the others find the text",
        "−leave-one-out log-probability, nats/token",
        "Jensen–Shannon divergence, nats/token",
        tuple(centres),
        (Series.of("departure of a model", "free", intervals),),
        caption=(
            "All texts of the ladders real, splices, permutation and temperature in bins of equal number; 95% "
            "intervals over models."
        ),
    )


def _ladder_charts(rungs: Sequence[RungResult], outcome: str = "js") -> Iterator[Chart]:
    real = _named(rungs, "real", "real text")
    for ladder, meaning in LADDERS.items():
        own = [r for r in rungs if r.ladder == ladder]
        if ladder in ("splices", "permutation", "temperature") and real is not None:
            own = [real, *own]
        points = sorted(own, key=lambda r: -(_estimate(r, "loo").value or 0.0))
        if len(points) < 2:
            continue
        series = [_series(points, outcome, LABELS[outcome][0], "free")]
        if any(e.name == "truth" for e in points[0].estimates):
            series.append(_series(points, "truth", "KL from the truth, mean over models", "reference"))
        yield Chart(
            f"ladder-{ladder.replace(' ', '-')}",
            f"Ladder: {ladder}",
            "−leave-one-out log-probability, nats/token",
            "nats/token",
            tuple(-(_estimate(r, "loo").value or 0.0) for r in points),
            tuple(series),
            caption=(
                f"{meaning[0].upper()}{meaning[1:]}. Rungs from left to right: {', '.join(r.rung for r in points)}. 95% "
                "intervals over documents."
            ),
        )


def _series(points: Sequence[RungResult], name: str, label: str, role: str) -> Series:
    es = [_estimate(p, name) for p in points]
    return Series(label, role, tuple(e.value for e in es), tuple(e.low for e in es), tuple(e.high for e in es))


def _rung_table(rungs: Sequence[RungResult]) -> Table:
    names = [n for n in LABELS if any(e.name == n for r in rungs for e in r.estimates)]
    rows: list[Row] = []
    for r in rungs:
        by = {e.name: e for e in r.estimates}
        digits = {"loo": 2, "top": 3}
        rows.append((r.ladder, r.rung, *(_cell(by.get(n), digits.get(n, 4)) for n in names)))
    return Table("rungs", "Every rung", ("ladder", "rung", *(_heading(n) for n in names)), tuple(rows))


def _heading(name: str) -> str:
    label, unit = LABELS[name]
    return f"{label}, {unit}" if unit else label


def _cell(e: Estimate | None, digits: int) -> Cell:
    if e is None or e.value is None or e.low is None or e.high is None:
        return Cell.number(e.value if e else None, f".{digits}f")
    return Cell.of(Interval(e.value, e.low, e.high, e.level or 0.95, e.n or 0), digits, e.unit)


def _estimate(r: RungResult, name: str) -> Estimate:
    return next(e for e in r.estimates if e.name == name)


def _named(rungs: Sequence[RungResult], ladder: str, rung: str) -> RungResult | None:
    return next((r for r in rungs if (r.ladder, r.rung) == (ladder, rung)), None)


def _value(r: RungResult) -> float:
    return _estimate(r, "js").value or 0.0


def _signed(i: Interval | None) -> str:
    return Cell.of(i, 4, sign=True).text
