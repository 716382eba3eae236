"""From trained members and their scores to findings: matching, budget, nulls, belief states, and the texts where models part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.jobs.lab.disagreement.beliefs import KINDS, Beliefs
from freerun.jobs.lab.disagreement.ladders import LADDERS, band_name
from freerun.jobs.lab.disagreement.scoring import Family, RungScores, TokenScores, score_rung
from freerun.results.disagreement import PartingText, TrainedMember
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table
from freerun.stats.disagreement.budget import Concentration, concentration, context_scores
from freerun.stats.disagreement.factors import mean_over_models
from freerun.stats.intervals import Interval, cluster_ratio

MASSES = tuple(2.0**-k for k in range(6))
CONTEXT_TOKENS = 8
_MOST_PARTING = 8


def matched_finding(
    records: Sequence[TrainedMember],
    test_scores: Float[np.ndarray, "models texts"],
    units: np.ndarray,
    target_nats: float,
    *,
    truth_nats: float | None,
    level: float,
) -> Finding:
    """The loss of every member on texts that neither trained nor stopped it."""
    rows: list[Row] = []
    intervals: list[Interval] = []
    reached = [r for r in records if r.reached]
    by_name = dict(zip([r.member.name for r in reached], test_scores, strict=True))
    for r in records:
        scores = by_name.get(r.member.name)
        loss = None if scores is None else cluster_ratio(-scores, np.ones(len(scores)), units, level=level)
        intervals += [] if loss is None else [loss]
        rows.append(
            (
                r.member.name,
                Cell.number(r.parameters, ","),
                Cell.number(r.steps, ","),
                "yes" if r.reached else "no",
                Cell.number(r.validation_nats, ".4f", "nats/token"),
                Cell.of(loss, 4, "nats/token"),
                Cell.number(r.tokens_per_second, ",.0f", "tokens/s"),
            )
        )
    values = [i.value for i in intervals]
    spread = max(values) - min(values)
    held = [r.validation_nats for r in reached]
    out = [r.member.name for r in records if not r.reached]
    left = f" Left out, because they did not reach it: {', '.join(out)}." if out else ""
    known = "" if truth_nats is None else f" The truth's loss on the same texts is {truth_nats:.4f}."
    sentence = (
        f"{len(reached)} of {counted(len(records), 'model')} reached the target of {target_nats:.4f} nats a token on the "
        f"validation texts (to within {max(abs(target_nats - v) for v in held):.4f}); "
        f"on test texts their losses lie from {min(values):.4f} to {max(values):.4f}, a spread of {spread:.4f}.{known}{left}"
    )
    columns = ("model", "parameters", "steps", "reached", "validation loss", "test loss (95%)", "training, tokens/s")
    return Finding(
        "matched",
        "Are the models matched in loss?",
        sentence,
        "bad" if out else "good",
        estimates=(
            Estimate("spread", "spread of test losses", spread, "nats/token", n=len(values), independent_unit="model"),
        ),
        tables=(Table("losses", "Losses", columns, tuple(rows)),),
        licence=(
            "Test losses: means over documents, which neither trained a model nor stopped it. Weights lie on the line "
            "between the last two "
            "evaluations, where the validation loss meets the target."
        ),
    )


def budget_finding(tokens: TokenScores, units: np.ndarray, rng: np.random.Generator, level: float) -> Finding:
    """Whether disagreement on real text sits in the least probable contexts, as a spent budget would."""
    context = context_scores(tokens.loo, CONTEXT_TOKENS)
    js = concentration(context, tokens.js, units, masses=MASSES, rng=rng, level=level)
    curves, rows = [_curve("divergence between models", "free", js)], [_budget_row("divergence between models", js)]
    line = [js.mean[0].value / m for m in MASSES]
    curves.append(Series.curve("budget, all spent there: mean/m", "reference", line))
    if tokens.excess is not None:
        excess = concentration(context, tokens.excess, units, masses=MASSES, rng=rng, level=level)
        curves.append(_curve("KL from the truth", "real", excess))
        rows.append(_budget_row("KL from the truth", excess))
    b = js.exponent
    shape = f"m^−{b.value:.2f}" if b.value >= 0 else f"m^{-b.value:.2f}"
    held = b.low <= 1 <= b.high
    verdict = "as a budget spent there would" if held else "far slower than 1/m" if b.high < 1 else "faster than 1/m"
    sentence = (
        f"In the least probable share m of real contexts, divergence between models goes as {shape} ({Cell.of(b, 2).text}): "
        f"{verdict}. "
        f"The least probable {MASSES[-1]:.0%} of contexts hold {MASSES[-1] * js.mean[-1].value / js.mean[0].value:.0%} of it."
    ).replace("-", "−")
    return Finding(
        "budget",
        "Does disagreement go like K/m?",
        sentence,
        "neutral",
        estimates=(
            Estimate.of("exponent", "exponent of 1/m", b, "", method="bootstrap of documents, thresholds refitted"),
        ),
        charts=(
            Chart(
                "budget",
                "Divergence in the least probable contexts of real text",
                "share of the contexts",
                "nats/token",
                MASSES[::-1],
                tuple(_reversed(c) for c in curves),
                x_scale="log2",
                caption=(
                    f"Contexts ordered by the leave-one-out log-probability of their last {CONTEXT_TOKENS} tokens. 95% "
                    "intervals over documents."
                ),
            ),
        ),
        tables=(
            Table(
                "budget",
                "Exponents b of mean ∝ m^−b",
                ("what", "b (1: a budget spent in the rarest contexts)"),
                tuple(rows),
            ),
        ),
        licence=(
            "Documents are the units. K/m is an upper bound of the mean KL from the truth in a region of mass m, "
            "never a forecast: loss allows that much, and says nothing more."
        ),
    )


def _curve(name: str, role: str, c: Concentration) -> Series:
    return Series.of(name, role, c.mean)


def _reversed(s: Series) -> Series:
    return Series(s.name, s.role, s.y[::-1], s.low[::-1] if s.low else None, s.high[::-1] if s.high else None)


def _budget_row(name: str, c: Concentration) -> Row:
    return name, Cell.of(c.exponent, 2, sign=True)


def null_finding(family: Family, scored: Sequence[RungScores], shuffled: Interval | None) -> Finding:
    """What must be zero, and what must be at chance."""
    twice = Family((family.names[0],) * 2, (family.laws[0],) * 2, family.n_tokens)
    worst = 0.0
    for s in scored:
        if s.rung.name in ("real text", "t = ∞", "ρ = 1"):
            again = score_rung(twice, s.rung)
            worst = max(
                worst,
                float(again.js.max()),
                float(again.sd.max()),
                float(again.top.max()),
                float(again.distances.max()),
            )
    rows: list[Row] = [("one model twice: largest disagreement of any kind", Cell.number(worst, ".3g"), "exactly 0")]
    chance = True
    estimates = [Estimate("same_model", "one model twice", worst, "nats/token")]
    if shuffled is not None:
        chance = shuffled.low <= 0.05
        rows.append(("labels shuffled: share of factor tests with p ≤ 0.05", Cell.of(shuffled, 3), "5% or less"))
        estimates.append(Estimate.of("shuffled", "labels shuffled", shuffled, "", independent_unit="shuffle"))
    good = worst == 0.0 and chance
    said = (
        ""
        if shuffled is None
        else (
            f" With shuffled labels {shuffled.value:.1%} of {shuffled.n} factor tests reject at 5% ({shuffled.low:.1%} "
            f"to {shuffled.high:.1%})."
        )
    )
    return Finding(
        "nulls",
        "Do the nulls sit where they must?",
        f"The same model twice disagrees by {worst:.3g}.{said}",
        "good" if good else "bad",
        estimates=tuple(estimates),
        tables=(Table("nulls", "Nulls", ("null", "found", "must be"), tuple(rows)),),
        licence=(
            "Shuffled labels move whole rows of the design over the models, so that the design stays and nothing is "
            "true; Clopper–Pearson interval."
        ),
    )


def belief_finding(b: Beliefs, level: float) -> Finding:
    """Whether transformers keep track of what is hidden, on real text and on their own."""
    x = tuple(float(stop) for _, stop in b.bands)
    roles = dict(zip(KINDS, ("real", "free", "control", "other"), strict=True))
    several = len(b.models) > 1

    def over(values: Float[np.ndarray, " models"]) -> Interval | None:
        return mean_over_models(values, level=level) if several and not np.isnan(values).any() else None

    def curve(name: str, role: str, table: Float[np.ndarray, "models bands"]) -> Series:
        if several:
            return Series.of(name, role, [over(column) for column in table.T])
        return Series.curve(name, role, table[0])

    charts = (
        Chart(
            "beliefs",
            "How much of the exact posterior one linear map reads off the states",
            "up to token",
            "R²",
            x,
            tuple(curve(kind, roles[kind], b.r2[kind]) for kind in KINDS),
            x_scale="log2",
            levels=((0.0, "nothing"),),
            caption="Fitted on real text; 95% intervals over trained transformers.",
        ),
        Chart(
            "certainty",
            "How uncertain the exact posterior is",
            "up to token",
            "entropy of the posterior, nats",
            x,
            (curve("real text", "real", b.certainty["real text"]), curve("own text", "free", b.certainty["own text"])),
            x_scale="log2",
            caption="If a model that runs free lost its source, its own text would leave the posterior open.",
        ),
    )
    last = len(b.bands) - 1
    real, own = over(b.r2["real text"][:, last]), over(b.r2["own text"][:, last])
    gap = over(b.r2["own text"][:, last] - b.r2["real text"][:, last])
    rows: list[Row] = []
    for k, (start, stop) in enumerate(b.bands):
        for kind in KINDS:
            values = b.r2[kind][:, k], b.kl[kind][:, k], b.prior_kl[kind][:, k]
            rows.append((band_name(start, stop), kind, *(_over_cell(v, over(v)) for v in values)))
    where = band_name(*b.bands[-1])
    sentence = (
        f"On {where} a linear map of the states explains {_share(b.r2['real text'][:, last], real)} of the exact "
        f"posterior on real text and {_share(b.r2['own text'][:, last], own)} on the model's own text (difference "
        f"{Cell.of(gap, 3, sign=True).text}); before training it explains {float(b.r2['untrained network'][:, last].mean()):.2f}, "
        f"with shuffled posteriors {float(b.r2['shuffled posteriors'][:, last].mean()):.2f}."
    ).replace("-", "−")
    return Finding(
        "beliefs",
        "Does a transformer keep track of its source while it runs free?",
        sentence,
        "neutral",
        estimates=(
            Estimate.of("belief_real", "R² on real text, last band", real, "", independent_unit="model"),
            Estimate.of("belief_own", "R² on own text, last band", own, "", independent_unit="model"),
            Estimate.of("belief_gap", "own − real, last band", gap, "", independent_unit="model"),
        ),
        charts=charts,
        tables=(
            Table(
                "beliefs",
                "Probes",
                ("position", "text", "R²", "KL(posterior ‖ probe), nats", "KL of the posterior from its mean, nats"),
                tuple(rows),
            ),
        ),
        licence=(
            f"{counted(len(b.models), 'trained transformer')} of the run, which are the units; the map is fitted on training texts "
            "of the world and read on texts that it has not seen. "
            "R² is over all sources together, within each band of positions. A linear map that reads a posterior "
            "shows that it is there, not that it is used."
        ),
    )


def _over_cell(values: Float[np.ndarray, " models"], interval: Interval | None) -> Cell:
    return Cell.of(interval, 3) if interval is not None else Cell.number(float(values.mean()), ".3f")


def _share(values: Float[np.ndarray, " models"], interval: Interval | None) -> str:
    return Cell.of(interval, 2).text if interval is not None else f"{float(values.mean()):.2f}"


def parting_texts(
    scored: Sequence[RungScores], names: Sequence[str], spelled: Callable[[np.ndarray], str]
) -> tuple[PartingText, ...]:
    """The text of each ladder on which the models' scores lie furthest apart."""
    return tuple(_parting(scored, names, spelled))[:_MOST_PARTING]


def _parting(
    scored: Sequence[RungScores], names: Sequence[str], spelled: Callable[[np.ndarray], str]
) -> Iterator[PartingText]:
    for ladder in LADDERS:
        own = [(float(s.js[i]), s, i) for s in scored if s.rung.ladder == ladder for i in range(len(s.js))]
        if not own or ladder == "real by position":
            continue
        js, s, i = max(own, key=lambda x: x[0])
        scores = s.scores[:, i]
        high, low = int(np.nanargmax(scores)), int(np.nanargmin(scores))
        loo = float(np.nanmean(s.loo[:, i]))
        yield PartingText(
            ladder,
            s.rung.name,
            spelled(s.rung.ids[i]),
            js,
            loo,
            names[high],
            float(scores[high]),
            names[low],
            float(scores[low]),
        )
