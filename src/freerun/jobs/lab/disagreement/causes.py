"""Which factor of the design matters for the distances between models, on real text and off it; and the nulls of that analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.jobs.lab.disagreement.plan import DisagreementPlan, stream
from freerun.jobs.lab.disagreement.scoring import RungScores
from freerun.results.disagreement import FactorEffect, Member
from freerun.results.finding import Cell, Estimate, Finding, Row, Table
from freerun.stats.disagreement.factors import Term, TermTest, added_distances, permutation_anova
from freerun.stats.intervals import Interval, clopper_pearson
from freerun.stats.multiplicity import holm

REGIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "real text": (("real", "real text"),),
    "random tokens": (("temperature", "t = ∞"), ("permutation", "ρ = 1")),
    "last copies of a loop": (("loops", ""),),
    "payload, far in": (("payload", ""),),
}
"""Rungs of each region; an empty name is the last rung of the ladder."""
NULL_TRIALS = 400
NULL_PERMUTATIONS = 199
ALPHA = 0.05
FACTORS = {
    "architecture": "architecture",
    "optimizer": "optimizer",
    "size": "size",
    "order": "order of the data",
    "seed": "initial weights",
}
OTHERS = {"any": "any two models", "loss": "each 0.001 nats of loss between two models"}
"""What two models differ by apart from the factors: that they are two, and their losses."""


@dataclass(frozen=True)
class Region:
    """Distances between models on a kind of text, and each model's distance from the truth."""

    name: str
    distances: Float[np.ndarray, "models models"]
    truth: Float[np.ndarray, " models"] | None


def regions_of(scored: Sequence[RungScores]) -> list[Region]:
    """The regions whose rungs are there."""
    out = []
    for name, wanted in REGIONS.items():
        rungs = [r for ladder, rung in wanted if (r := _rung(scored, ladder, rung)) is not None]
        if not rungs:
            continue
        truth = np.nanmean([np.nanmean(r.truth, 1) for r in rungs], 0) if not np.isnan(rungs[0].truth).all() else None
        out.append(Region(name, np.mean([r.distances for r in rungs], 0), truth))
    return out


def _rung(scored: Sequence[RungScores], ladder: str, name: str) -> RungScores | None:
    found = [s for s in scored if s.rung.ladder == ladder and name in ("", s.rung.name)]
    return found[-1] if found else None


def terms_of(members: Sequence[Member]) -> list[Term]:
    """Every factor beside the others; initial weights inside architecture and size, which they belong to."""
    labels = {f: [str(getattr(m, f)) for m in members] for f in ("architecture", "optimizer", "size", "order")}
    terms = [Term(f, own, tuple(v for k, v in labels.items() if k != f)) for f, own in labels.items()]
    inside = [f"{m.architecture}/{m.size}" for m in members]
    beside = (labels["optimizer"], labels["order"], inside)
    return [*terms, Term("seed", [m.initial_weights for m in members], beside)]


def factor_tests(
    squared: Float[np.ndarray, "models models"], members: Sequence[Member], plan: DisagreementPlan, what: str
) -> dict[str, TermTest | None]:
    """Each factor's permutation test."""
    return {
        term.name: permutation_anova(
            squared, term, n_permutations=plan.permutations, rng=stream(plan.seed, "anova", what, term.name)
        )
        for term in terms_of(members)
    }


def differs_of(members: Sequence[Member], losses_nats: Float[np.ndarray, " models"]) -> dict[str, np.ndarray]:
    """Where pairs of models differ; the loss counts in thousandths of a nat."""
    out = {"any": np.ones((len(members), len(members)))}
    for factor in FACTORS:
        values = [m.initial_weights if factor == "seed" else getattr(m, factor) for m in members]
        if len(set(values)) > 1:
            out[factor] = np.array([[float(a != b) for b in values] for a in values])
    out["loss"] = np.abs(losses_nats[:, None] - losses_nats[None]) * 1000
    return out


def factor_effects(
    regions: Sequence[Region],
    members: Sequence[Member],
    losses_nats: Float[np.ndarray, " models"],
    plan: DisagreementPlan,
) -> tuple[FactorEffect, ...]:
    """Every factor on every kind of text: what it adds to the divergence, and its permutation test."""
    differs, out = differs_of(members, losses_nats), []
    for region in regions:
        tests = factor_tests(region.distances, members, plan, region.name)
        added = added_distances(region.distances, differs, level=plan.level)
        adjusted = _adjusted(tests)
        for name in ("any", *FACTORS, "loss"):
            label = OTHERS.get(name) or FACTORS[name]
            estimate = Estimate.of(
                f"added_{name}",
                f"{region.name}: {label}",
                _closed(added.get(name)),
                "nats/token",
                method="divergence that it adds between two models, least squares on pairs, jackknife over models",
                independent_unit="model",
            )
            t = tests.get(name)
            out.append(
                FactorEffect(
                    region.name,
                    name,
                    estimate,
                    t.share if t else None,
                    t.pseudo_f if t else None,
                    t.p if t else None,
                    adjusted.get(name),
                )
            )
    return tuple(out)


def cause_finding(
    regions: Sequence[Region], effects: Sequence[FactorEffect], members: Sequence[Member], plan: DisagreementPlan
) -> Finding:
    """Which factor matters where."""
    tables, sentences = [], []
    for region in regions:
        own = [e for e in effects if e.region == region.name]
        tables.append(_table(region.name, own))
        strong = [FACTORS[e.factor] for e in own if e.p_holm is not None and e.p_holm <= ALPHA]
        sentences.append(f"on {region.name}: {', '.join(strong) or 'none'}")
        if region.truth is not None:
            gaps = np.square(region.truth[:, None] - region.truth[None])
            tables.append(_truth_table(region, factor_tests(gaps, members, plan, f"truth {region.name}"), members))
    return Finding(
        "factors",
        "Which factor makes matched models differ?",
        f"Factors that can be told to move the law (Holm-adjusted p ≤ {ALPHA:g} within each kind of text): {'; '.join(sentences)}.",
        "neutral" if regions else "unknown",
        estimates=tuple(e.added for e in effects),
        tables=tuple(tables),
        licence=(
            f"The trained model is the unit (n = {len(members)}). Permutation analysis of variance on Jensen–Shannon "
            f"divergences, each factor beside all others, {plan.permutations} permutations of the residuals (Freedman & "
            "Lane). Initial weights are tested inside architecture and size, since one seed gives unlike networks unlike "
            "weights. Added divergence: least squares on pairs, jackknife over models."
        ),
    )


def _adjusted(tests: dict[str, TermTest | None]) -> dict[str, float]:
    known = {name: t.p for name, t in tests.items() if t is not None}
    return dict(zip(known, holm(np.array(list(known.values()))).tolist(), strict=True)) if known else {}


def _closed(i: Interval | None) -> Interval | None:
    return None if i is None or np.isnan(i.low) else i


def _table(region: str, effects: Sequence[FactorEffect]) -> Table:
    rows: list[Row] = []
    for e in effects:
        numbers = (e.share, ".1%"), (e.pseudo_f, ".2f"), (e.p, ".4f"), (e.p_holm, ".4f")
        label = OTHERS.get(e.factor) or FACTORS[e.factor]
        rows.append((label, _added(e.added), *(Cell.number(value, form) for value, form in numbers)))
    columns = ("factor", "added divergence, nats/token", "share of what the others leave", "pseudo-F", "p", "p, Holm")
    return Table(f"factors-{region}", f"{region[0].upper()}{region[1:]}", columns, tuple(rows))


def _added(e: Estimate) -> Cell:
    if e.value is None or e.low is None or e.high is None:
        return Cell.number(None)
    return Cell.of(Interval(e.value, e.low, e.high, e.level or 0.95, e.n or 0), 5, e.unit, sign=True)


def _truth_table(region: Region, tests: dict[str, TermTest | None], members: Sequence[Member]) -> Table:
    assert region.truth is not None
    adjusted = _adjusted(tests)
    rows: list[Row] = []
    for name, label in FACTORS.items():
        t = tests.get(name)
        values = [str(getattr(m, name)) for m in members]
        means = [f"{v} {float(region.truth[np.array(values) == v].mean()):.4f}" for v in dict.fromkeys(values)]
        shown = "–" if name == "seed" else ", ".join(means)
        rows.append((label, shown, Cell.number(t.p if t else None, ".4f"), Cell.number(adjusted.get(name), ".4f")))
    columns = ("factor", "mean KL(truth ‖ model) by level, nats/token", "p", "p, Holm")
    return Table(
        f"truth-{region.name}",
        f"{region.name[0].upper()}{region.name[1:]}: distance from the truth",
        columns,
        tuple(rows),
    )


def shuffled_rate(regions: Sequence[Region], members: Sequence[Member], plan: DisagreementPlan) -> Interval | None:
    """Share of rejections at 5% where whole members' labels are shuffled over the models: nothing is true then, and it should
    be 5%.

    Shuffled members keep the design, and part labels from laws; every factor of every region has its share of the trials.
    """
    if not regions:
        return None
    rng, rejected, n = stream(plan.seed, "shuffled labels"), 0, 0
    for k in range(NULL_TRIALS):
        region = regions[k % len(regions)]
        mixed = [members[i] for i in rng.permutation(len(members))]
        terms = terms_of(mixed)
        test = permutation_anova(
            region.distances, terms[k // len(regions) % len(terms)], n_permutations=NULL_PERMUTATIONS, rng=rng
        )
        if test is not None:
            n += 1
            rejected += test.p <= ALPHA
    return clopper_pearson(rejected, n) if n else None
