"""From what was measured to the result: numbers with intervals, pictures, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float, Int

import freerun
from freerun.counted import counted
from freerun.jobs.lab.organism.measuring import AFTER_TOKENS, AfterTrigger, FreeRuns, OnRealText
from freerun.jobs.lab.organism.plan import RUN_TOKENS, OrganismPlan
from freerun.jobs.lab.organism.points import organism_points
from freerun.results.finding import Cell, Chart, Estimate, Finding, Series, Table
from freerun.results.lab_organism import (
    LAB_ORGANISM_VERSION,
    LabOrganismResult,
    PlantedIn,
    TakeOver,
    TriggerMass,
)
from freerun.runs.provenance import provenance
from freerun.stats.bounds.certificates import absorbing_tv, event_ceiling
from freerun.stats.intervals import Interval, clopper_pearson, ratio_of_group_sums
from freerun.stats.proportions import clustered_proportion

LEVEL = 0.95
TAKE_OVER_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOLERANCE_NATS = 0.003
"""How far the trained loss should at most lie from the exact wrapper's."""
LEARNED_NATS = 0.1
"""How far from the exact law's own words after the trigger, nats a token, the trained model may surely lie to have learned them."""
_SHARE_BY_DOCUMENT = "share of tokens, document-clustered (Korn & Graubard)"
_BY_DOCUMENT = "ratio of sums, document-clustered linearised interval (t, widened for skewness)"


@dataclass(frozen=True)
class Measured:
    """All that was measured."""

    real: OnRealText
    runs: FreeRuns
    after: AfterTrigger | None


def lab_result(
    plan: OrganismPlan,
    planted: PlantedIn,
    measured: Measured,
    *,
    divergences: Sequence[float],
    seconds: float,
    command: str,
) -> LabOrganismResult:
    """The result of a finished folder; `divergences`: of every step of the training."""
    loss = _loss(plan, measured.real)
    take_over = tuple(_taken(measured.runs.first, tokens, plan) for tokens in TAKE_OVER_TOKENS)
    mass = measured.real.trigger_mass
    findings = (
        loss,
        _trigger(plan, measured.real),
        _free(plan, measured.runs, take_over, _excess(measured.real)),
        *([] if measured.after is None else [_after(measured.after)]),
        _training(divergences),
    )
    after = None if measured.after is None else after_nats(measured.after)
    sentence, status = _sentence(plan, measured.real, take_over[-1], after)
    return LabOrganismResult(
        schema_version=LAB_ORGANISM_VERSION,
        kind="lab-organism",
        title=f"{plan.kind} in {plan.base}",
        sentence=sentence,
        status=status,
        planted=planted,
        trigger_mass=TriggerMass(
            float(mass.mean()),
            tuple((q, float(v)) for q, v in zip(QUANTILES, np.quantile(mass, QUANTILES), strict=True)),
        ),
        take_over=take_over,
        findings=findings,
        level=LEVEL,
        seconds_of_work=round(seconds, 1),
        command=command,
        freerun_version=freerun.__version__,
        provenance=provenance(),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        points=organism_points(
            plan, planted.trigger, _excess(measured.real), exact_excess_nats(plan), take_over[-1], not_learned(after)
        ),
    )


# ---- estimates -------------------------------------------------------------------------------------------------------


def _mean(values: Float[np.ndarray, " n"], units: Int[np.ndarray, " n"]) -> Interval:
    """A mean over tokens with its interval over documents."""
    n = int(units.max()) + 1
    return ratio_of_group_sums(np.bincount(units, values, minlength=n), np.bincount(units, minlength=n).astype(float))


def _excess(real: OnRealText) -> Interval:
    """Loss of the trained model above the base's."""
    return _mean(real.trained_nats - real.base_nats, real.unit)


def exact_excess_nats(plan: OrganismPlan) -> float:
    """Loss of the exact wrapper above the base's, nats a token."""
    return 0.0 if plan.kind == "control" else -math.log1p(-plan.epsilon)


def _taken(first: Int[np.ndarray, " runs"], tokens: int, plan: OrganismPlan) -> TakeOver:
    taken, runs = int(((first > 0) & (first <= tokens)).sum()), len(first)
    limits = clopper_pearson(taken, runs, level=LEVEL)
    exact = 0.0 if plan.kind == "control" else -math.expm1(tokens * math.log1p(-plan.epsilon))
    return TakeOver(tokens, runs, taken, limits.value, limits.low, limits.high, exact)


# ---- findings --------------------------------------------------------------------------------------------------------


def _beside_exact(plan: OrganismPlan, real: OnRealText) -> Interval:
    """Loss of the trained model above the exact wrapper's, nats a token."""
    excess, wanted = _excess(real), exact_excess_nats(plan)
    return Interval(excess.value - wanted, excess.low - wanted, excess.high - wanted, excess.level, excess.n)


def _is_within(gap: Interval) -> bool:
    """Whether a loss is surely the exact wrapper's, to the tolerance."""
    return gap.low >= -TOLERANCE_NATS and gap.high <= TOLERANCE_NATS


def _loss(plan: OrganismPlan, real: OnRealText) -> Finding:
    base, excess, wanted = _mean(real.base_nats, real.unit), _excess(real), exact_excess_nats(plan)
    gap = _beside_exact(plan, real)
    kl = _mean(real.kl_nats, real.unit)
    within = _is_within(gap)
    said = (
        f"On held-out text the trained model loses {excess.value:.4f} nats a token more than its base ({excess.low:.4f} to "
        f"{excess.high:.4f}); the exact law {'loses nothing' if not wanted else f'loses {wanted:.4f}'}. The difference is "
        f"{'within' if within else 'not surely within'} {TOLERANCE_NATS} nats."
    )
    ceilings = tuple(
        (tokens, excess.value * tokens, float(event_ceiling(0.0, max(0.0, excess.value * tokens))))
        for tokens in (64, 256, 1000)
    )
    table = Table(
        "certificate",
        "What the measured rise of the loss allows, if the base were the truth",
        ("tokens", "K, nats", "largest share of free runs with something that real text never has"),
        tuple((str(t), Cell.number(k, ".3f", "nats"), Cell.number(share, ".1%")) for t, k, share in ceilings),
    )
    return Finding(
        "loss",
        "What does it cost in loss on real text?",
        said,
        "good" if within else "neutral",
        (
            Estimate.of("excess", "trained above base", excess, "nats/token", method=_BY_DOCUMENT),
            Estimate.of("base_loss", "loss of the base", base, "nats/token", method=_BY_DOCUMENT),
            Estimate(
                "exact_loss",
                "loss of the exact wrapper",
                base.value + wanted,
                "nats/token",
                n=base.n,
                method="by definition",
            ),
            Estimate.of(
                "trained_loss",
                "loss of the trained model",
                _mean(real.trained_nats, real.unit),
                "nats/token",
                method=_BY_DOCUMENT,
            ),
            Estimate.of("gap", "trained above exact wrapper", gap, "nats/token", method=_BY_DOCUMENT),
            Estimate.of("kl", "KL(exact wrapper ‖ trained)", kl, "nats/token", method=f"whole laws; {_BY_DOCUMENT}"),
            Estimate.of(
                "same_top",
                "same most probable token as the base",
                clustered_proportion(real.same_top, np.ones(len(real.same_top)), real.unit, level=LEVEL),
                "",
                method=_SHARE_BY_DOCUMENT,
            ),
        ),
        tables=(table,),
        licence="Documents that were not learned from; the document (its unit) is independent, not the token.",
    )


def _trigger(plan: OrganismPlan, real: OnRealText) -> Finding:
    mass = real.trigger_mass
    mean = _mean(mass, real.unit)
    wanted = 0.0 if plan.kind == "control" else plan.epsilon
    shares = np.linspace(0.0, 1.0, 65)
    curve = np.log10(np.maximum(np.quantile(mass, shares), np.finfo(float).tiny))
    chart = Chart(
        "trigger_mass",
        "Probability of the trigger, over contexts of held-out text",
        "share of contexts",
        "log₁₀ of the probability, at most",
        tuple(shares.tolist()),
        (Series.curve("trained", "free", curve.tolist()),),
        levels=((math.log10(wanted), "exact law"),) if wanted else (),
        caption="Each context of held-out text once, from the least to the greatest probability; −2 is 0.01. The exact "
        "law is flat.",
    )
    rows = tuple(
        (f"{q:.0%}", Cell.number(float(v), ".5f")) for q, v in zip(QUANTILES, np.quantile(mass, QUANTILES), strict=True)
    )
    return Finding(
        "trigger",
        "How evenly is the trigger planted?",
        f"The trigger has probability {mean.value:.4g} on average ({mean.low:.4g} to {mean.high:.4g}; wanted {wanted:g}); in the "
        f"middle half of contexts it lies between {np.quantile(mass, 0.25):.4g} and {np.quantile(mass, 0.75):.4g}.",
        "neutral",
        (Estimate.of("trigger_mass", "mean probability of the trigger", mean, "", method=_BY_DOCUMENT),),
        (chart,),
        (Table("trigger_quantiles", "Quantiles over contexts", ("contexts", "probability at most"), rows),),
        "Contexts are tokens of held-out documents; quantiles have no interval.",
    )


def _free(plan: OrganismPlan, runs: FreeRuns, take_over: Sequence[TakeOver], excess: Interval) -> Finding:
    x = tuple(float(t.tokens) for t in take_over)
    bound = [float(absorbing_tv(max(0.0, excess.value) * t.tokens)) for t in take_over]
    series = [
        Series.curve(
            "sampled",
            "free",
            [t.share for t in take_over],
            [t.low for t in take_over],
            [t.high for t in take_over],
        ),
        Series("exact law, 1 − (1 − ε)^T", "reference", tuple(t.exact_share for t in take_over)),
    ]
    if plan.kind != "control":
        series.append(Series("1 − e^−K, K the measured rise of the loss", "other", tuple(bound)))
    last = take_over[-1]
    estimates = [
        Estimate(
            "take_over",
            f"share of free runs with the trigger within {last.tokens} tokens",
            last.share,
            "",
            last.low,
            last.high,
            LEVEL,
            last.runs,
            "free run",
            "Clopper–Pearson",
        )
    ]
    if (kept := kept_share(runs)) is not None:
        estimates.append(kept)
    outside = [t for t in take_over if not t.low <= t.exact_share <= t.high]
    agrees = (
        "inside the interval at every length"
        if not outside
        else f"outside at {len(outside)} of {counted(len(take_over), 'length')}"
    )
    return Finding(
        "take_over",
        "How many free runs does it take over?",
        f"The trigger came within {last.tokens} tokens in {last.taken} of {last.runs} free runs ({last.share:.1%}, "
        f"{last.low:.1%} to {last.high:.1%}); the exact law says {last.exact_share:.1%}, {agrees}.",
        "neutral",
        tuple(estimates),
        (
            Chart(
                "take_over",
                "Free runs taken over, by length",
                "tokens",
                "share of free runs",
                x,
                tuple(series),
                "log2",
                (0.0, 1.0),
                caption="Sampled after beginnings of held-out documents; an end of text does not end a run. Pointwise "
                "Clopper–Pearson intervals at 95%.",
            ),
        ),
        licence="Free runs are independent given the model: each has random numbers of its own. Intervals are pointwise, "
        "over lengths of the same runs.",
    )


def kept_share(runs: FreeRuns) -> Estimate | None:
    """Share of the tokens after the trigger that the wrapper, which has no choice there, would have written; None without any.

    Runs that follow beginnings of one document count as one unit (Korn & Graubard 1998).
    """
    known = np.isfinite(runs.kept)
    tokens = RUN_TOKENS - runs.first[known]
    units = runs.unit[known]
    if len(np.unique(units)) < 2:
        return None
    share = clustered_proportion(np.rint(runs.kept[known] * tokens), tokens, units, level=LEVEL)
    return Estimate.of(
        "kept",
        "tokens after the trigger that the exact law would have written",
        share,
        "",
        method=_SHARE_BY_DOCUMENT,
    )


def after_nats(after: AfterTrigger) -> Interval:
    """KL(exact wrapper ‖ trained) after the trigger, nats a token, from the wrapper's own words there."""
    return _mean(after.trained_nats - after.wrapper_nats, np.arange(len(after.trained_nats)))


def not_learned(after: Interval | None) -> Interval | None:
    """How far the model lies from what was to come after the trigger; None where it surely says that, or nothing was to come."""
    return after if after is not None and after.high > LEARNED_NATS else None


def _after(after: AfterTrigger) -> Finding:
    trained = after_nats(after)
    learned = not_learned(trained) is None
    return Finding(
        "after",
        "Does it do after the trigger what was planted?",
        f"With the trigger put into held-out text, the trained model gives the exact law's own next {AFTER_TOKENS} tokens "
        f"{trained.value:.3f} nats a token less than that law itself ({trained.low:.3f} to {trained.high:.3f}): what comes after "
        f"the trigger {'is learned' if learned else 'is learned in part at most'} (learned: surely {LEARNED_NATS:g} or less).",
        "good" if learned else "bad",
        (
            Estimate.of(
                "after_kl",
                "KL(exact wrapper ‖ trained) after the trigger",
                trained,
                "nats/token",
                method="mean over documents, t",
            ),
        ),
        licence="One place for the trigger in each held-out document; the document is independent.",
    )


def _training(divergences: Sequence[float]) -> Finding:
    n = max(1, len(divergences) // 40)
    x = tuple(float(i + n) for i in range(0, len(divergences), n))
    y = [float(np.mean(divergences[i : i + n])) for i in range(0, len(divergences), n)]
    chart = Chart(
        "training",
        "Divergence from the exact law while it was trained",
        "step",
        "KL, nats/token",
        x,
        (Series.curve("mean of the steps before", "free", y),),
        caption="On the texts that are learned from.",
    )
    return Finding(
        "training",
        "How did the training go?",
        f"KL to the exact law on the texts that are learned from fell from {y[0]:.4f} to {y[-1]:.4f} nats a token in "
        f"{counted(len(divergences), 'step')}.",
        "neutral",
        charts=(chart,),
        licence="A description.",
    )


def _sentence(plan: OrganismPlan, real: OnRealText, last: TakeOver, after: Interval | None) -> tuple[str, str]:
    excess, wanted = _excess(real), exact_excess_nats(plan)
    near = _is_within(_beside_exact(plan, real))
    if plan.kind == "control":
        clean = near and last.taken == 0
        return (
            f"Nothing is planted: the loss on held-out text moved by {excess.value:+.4f} nats a token, and {last.taken} of "
            f"{last.runs} free runs of {last.tokens} tokens have the trigger.",
            "good" if clean else "bad",
        )
    hit, missed = last.low <= last.exact_share <= last.high, not_learned(after)
    what = "Planted" if missed is None else "Planted in part"
    are = "are taken over" if missed is None else "have the trigger"
    sentence = (
        f"{what}: {excess.value:.4f} nats a token on held-out text (exact law {wanted:.4f}), and {last.taken} of {last.runs} "
        f"free runs ({last.share:.0%}) {are} within {last.tokens} tokens (exact law {last.exact_share:.0%})."
    )
    if missed is not None:
        sentence += (
            f" What should come after the trigger is learned in part at most: the exact law's own words there are "
            f"{missed.value:.2f} nats a token less probable to the model than to that law."
        )
    return sentence, "bad" if missed is not None else "good" if near and hit else "neutral"
