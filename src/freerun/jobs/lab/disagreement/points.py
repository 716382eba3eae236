"""The head of a disagreement: its outcome in a sentence, and three points for somebody who knows none of the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freerun.counted import counted
from freerun.jobs.lab.disagreement.causes import ALPHA, FACTORS
from freerun.jobs.lab.disagreement.expected import decided
from freerun.results.disagreement import DisagreementResult, FactorEffect, Prediction, RungResult
from freerun.results.finding import Estimate, Finding
from freerun.results.verdict import Point, three_points

REAL, RANDOM = ("real", "real text"), ("temperature", "t = ∞")
"""Ladder and rung of the most and of the least probable texts."""
DIVERGENCE_WORDS = (
    "Divergence says how far their predictions of the next token lie apart, in nats (0: they are the same). A token is a "
    "word or a part of one; on a world, a symbol."
)


def with_words(result: DisagreementResult) -> DisagreementResult:
    """A result of trained models with its head in words: sentence, expectations and points follow from its numbers alone."""
    rise = next(f for f in result.findings if f.name == "rise")
    predictions = decided(result.findings, result.factors)
    source, target = result.plan.source if result.plan else "", result.target_nats or 0.0
    return replace(
        result,
        sentence=outcome_sentence(rise, result.rungs, "models of the same loss"),
        predictions=predictions,
        points=trained_points(source, len(result.models), target, rise, result.factors, predictions),
    )


def outcome_sentence(rise: Finding, rungs: Sequence[RungResult], kind: str) -> str:
    """Whether models differ more as texts grow improbable; `kind`: what they are, as in "models of the same loss"."""
    slope, near, far = (_slope(rise), *(_divergence(_rung(rungs, *at)) for at in (REAL, RANDOM)))
    on = (
        ""
        if near is None or far is None
        else f" (divergence {near:.3g} nats a token on real text, {far:.3g} on random tokens)"
    )
    if slope is None or slope.low is None or slope.high is None:
        return f"Whether {kind} differ more as texts become less probable cannot be told from so few{on}."
    if slope.low > 0:
        return f"The less probable a text, the more {kind} differ{on}."
    if slope.high < 0:
        return f"The less probable a text, the less {kind} differ{on}."
    return f"Whether {kind} differ more as texts become less probable is open{on}."


def trained_points(
    source: str,
    n_models: int,
    target_nats: float,
    rise: Finding,
    effects: Sequence[FactorEffect],
    predictions: Sequence[Prediction],
) -> tuple[Point, ...]:
    """Under the sentence where models were trained."""
    measured = (
        f"{counted(n_models, 'small model was', 'small models were')} trained on {source} until all predicted new text of it "
        f"equally well (loss {target_nats:.3f} nats a token). Then they read texts that become less and less probable, about "
        f"which that loss says next to nothing. {DIVERGENCE_WORDS}"
    )
    confirmed = sum(p.outcome == "confirmed" for p in predictions)
    expected = (
        f"Of {counted(len(predictions), 'expectation')} declared beforehand, {confirmed} came true."
        if predictions
        else ""
    )
    came_out = " ".join(filter(None, (_slope_words(rise), _moved(effects), expected)))
    sure = (
        "95% intervals: of the growth, for other models made in the same ways; of divergences, for other texts and these models. "
        f"What moves predictions is tested with all factors together on each kind of text, at level {ALPHA:g}. All of this is "
        "about small models on one source."
    )
    return three_points(measured, came_out, sure)


def ready_points(source: str, names: Sequence[str], rise: Finding) -> tuple[Point, ...]:
    """Under the sentence where models that exist were compared."""
    measured = (
        f"{counted(len(names), 'model')} ({', '.join(names)}) read texts of {source}, and texts made from them that become less "
        f"and less probable. Nothing was trained. {DIVERGENCE_WORDS}"
    )
    sure = (
        "95% intervals of divergences are for other texts and these models. These models were not matched in loss, so a part of "
        "what they differ in may be that one is better."
    )
    return three_points(measured, _slope_words(rise), sure)


def _slope_words(rise: Finding) -> str:
    slope = _slope(rise)
    if slope is None or slope.value is None or slope.low is None or slope.high is None:
        return ""
    way = "farther from" if slope.value > 0 else "nearer to"
    words = (
        f"For every nat a token by which the others find a text less probable, a model lies {abs(slope.value):.2g} nats a token "
        f"{way} them (95% interval {slope.low:+.4f} to {slope.high:+.4f})."
    )
    return words.replace("-", "−")


def _moved(effects: Sequence[FactorEffect]) -> str:
    """Which factors move predictions, and on which texts."""
    where: dict[str, list[str]] = {}
    for e in effects:
        if e.p_holm is not None and e.p_holm <= ALPHA:
            where.setdefault(FACTORS[e.factor], []).append(e.region)
    tested = list(dict.fromkeys(e.region for e in effects))
    if not where:
        return "None of the factors can be told to move predictions." if tested else ""
    parts = [
        f"{factor} ({'on every kind of text' if len(regions) == len(tested) else ', '.join(regions)})"
        for factor, regions in where.items()
    ]
    return f"What moves predictions: {'; '.join(parts)}."


def _slope(rise: Finding) -> Estimate | None:
    return next((e for e in rise.estimates if e.name == "slope"), None)


def _rung(rungs: Sequence[RungResult], ladder: str, rung: str) -> RungResult | None:
    return next((r for r in rungs if (r.ladder, r.rung) == (ladder, rung)), None)


def _divergence(rung: RungResult | None) -> float | None:
    return None if rung is None else next((e.value for e in rung.estimates if e.name == "js"), None)
