"""How far apart are the two clouds of texts? A description in the model's own hidden states, with its yardsticks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.question import Question
from freerun.results.finding import Cell, Chart, Estimate, Finding, Series, Table
from freerun.results.quantity import Quantity
from freerun.stats.divergences import EnergyTest, energy_test, frontier, precision_recall
from freerun.stats.intervals import Interval

QUESTION = "How far apart are the two clouds of texts?"
_quantity = partial(Quantity, "divergences", own_text=True, paired=False)
AREA = _quantity("frontier_area", "Area under the divergence frontier, own against real text, same prefixes", "share")
AREA_HALVES = _quantity("frontier_area_halves", "the same, other documents", "share")
AREA_REAL_HALVES = _quantity("frontier_area_real_halves", "yardstick: real against real", "share")
ENERGY = _quantity("energy_coefficient", "Energy coefficient, own against real text", "share", exact=True)
ENERGY_P = _quantity("energy_p", "Energy test, p-value", "p", exact=True)
PRECISION = _quantity("precision", "Precision: own texts inside the real cloud", "share")
RECALL = _quantity("recall", "Recall: real texts inside its cloud", "share")
QUANTITIES = (AREA, AREA_HALVES, AREA_REAL_HALVES, ENERGY, ENERGY_P, PRECISION, RECALL)
MIN_PAIRS = 16
N_SPLITS = 40
N_RESAMPLES = 200
N_PERMUTATIONS = 9_999
GRID = tuple(i / 20 for i in range(20))

Vectors = Float[np.ndarray, "pairs width"]


@dataclass(frozen=True)
class Halves:
    """One comparison over random halves of the documents: one side from a half, the other side from the other half.

    Numbers: means over splits and the middle 95% of them. `curves`: mean, low and high of the frontier over the grid.
    """

    label: str
    role: str
    area: Interval
    energy: Interval
    precision: Interval
    recall: Interval
    curves: Float[np.ndarray, "3 grid"]
    n: int
    n_clusters: int


def divergences(evidence: Evidence) -> Finding:
    """Divergence frontier, precision and recall, and the energy test of one free continuation a document against the real one."""
    embedding = evidence.records.sequences.get("embedding")
    if embedding is None or not embedding.shape[1] or not np.isfinite(embedding).any():
        return Finding.unknown(
            "divergences",
            QUESTION,
            "These records hold no hidden states, so the texts cannot be placed as points: the model or the organism shows none, or an "
            "older version made the run. Audit a transformers model (hf/…, or a name from `freerun models`) in a new folder.",
        )
    panel = evidence.whole_panel
    known = np.isfinite(embedding[panel.real]).all(1) & np.isfinite(embedding[panel.free]).all((1, 2))
    if known.sum() < MIN_PAIRS:
        return Finding.unknown(
            "divergences",
            QUESTION,
            f"Only {known.sum()} pairs reach the last token on both sides; at least {MIN_PAIRS} are needed: take a smaller --tokens or more "
            "--documents.",
        )
    real, free, other = (embedding[s[known]] for s in (panel.real, panel.free[:, 0], panel.free[:, -1]))
    cold_rows = panel.tempered[known]
    cold = embedding[np.where(cold_rows >= 0, cold_rows, 0)]
    has_cold = (cold_rows >= 0) & np.isfinite(cold).all(1)
    groups = np.arange(len(real))

    rng = statistics_rng(evidence, "divergences")
    whole = frontier(
        real, free, seeds=_seeds(rng, 5), p_groups=groups, q_groups=groups, n_resamples=N_RESAMPLES, rng=rng
    )
    tested = energy_test(real, free, groups, n_permutations=N_PERMUTATIONS, rng=rng)
    inside = precision_recall(real, free)
    main = _halves("its own text against real text", "free", real, free, rng)
    yardstick = _halves("real text against real text", "real", real, real, rng)
    comparisons = [main, yardstick]
    if panel.free.shape[1] > 1:
        comparisons.append(_halves("its own text against its own", "control", free, other, rng))
    if has_cold.sum() >= MIN_PAIRS:
        t = f"t = {evidence.plan.control_temperature:g}"
        label = f"its text at {t} against real text"
        comparisons.append(_halves(label, "tempered", real[has_cold], cold[has_cold], rng))
    area = Interval(whole.value, whole.low, whole.high, whole.level, len(real))
    return Finding(
        name="divergences",
        question=QUESTION,
        sentence=_sentence(_place(evidence), main, yardstick, tested),
        status="neutral",
        estimates=(
            AREA.estimate(
                area,
                method="one k-means on both sets, n/10 cells, exp(−5·KL); mean over 5 seeds; interval over seeds and documents at this n",
            ),
            _range_estimate(AREA_HALVES, main.area),
            _range_estimate(AREA_REAL_HALVES, yardstick.area),
            ENERGY.number(
                tested.coefficient,
                n=tested.n_groups,
                method="2·E|X−Y| − E|X−X′| − E|Y−Y′| over 2·E|X−Y|, vectors of length 1; above 0 even for equal laws, see the table",
            ),
            ENERGY_P.number(
                tested.p_value,
                n=tested.n_groups,
                method=f"{tested.n_permutations} permutations that swap the real and the own text of a document",
            ),
            *(
                quantity.number(
                    share,
                    n=len(real),
                    method=f"{inside.neighbours} nearest neighbours; no interval: the table says how far halves of the documents differ",
                )
                for quantity, share in ((PRECISION, inside.precision), (RECALL, inside.recall))
            ),
        ),
        charts=(_chart(comparisons),),
        tables=(_table(comparisons),),
        licence=(
            "A description, never evidence of closeness: areas, precision and recall depend on n, on the number of cells and on what the hidden "
            "states keep, and two different laws can share every histogram. Only the energy test has a null: within a document its own and the "
            "real text are exchangeable. Unit: the document. Fixed n."
        ),
        notes=(
            f"A text of {evidence.length} tokens is the mean of last hidden states, in {_place(evidence)}: numbers of two models that place texts "
            "by themselves are not on one scale.",
            f"{main.n_clusters} cells at {main.n} documents a side, {whole.n_clusters} at {whole.n_p}. Fewer documents a cell make areas smaller, "
            "and with 2 or 3 cells much goes unseen: the line of real against real, at the same n, is the yardstick, not 1.",
            "Over the same prefixes texts of one document lie near one another, so those estimates are kinder than the table's, where no "
            "document stands on both sides.",
            "A pair whose own text ended before the last token is left out "
            f"({panel.n_dropped} of {panel.n_dropped + panel.n_pairs}).",
        ),
    )


def _halves(label: str, role: str, left: Vectors, right: Vectors, rng: np.random.Generator) -> Halves:
    """Left (the real texts) of a random half of the documents against right of the other half: no document on both sides."""
    n = len(left) // 2
    numbers, curves, cells = [], [], 0
    for _ in range(N_SPLITS):
        order = rng.permutation(len(left))
        p, q = left[order[:n]], right[order[n : 2 * n]]
        drawn = frontier(p, q, seeds=_seeds(rng, 1))
        shares = precision_recall(p, q)
        tested = energy_test(p, q, np.arange(n), n_permutations=0, rng=rng)
        numbers.append((drawn.value, tested.coefficient, shares.precision, shares.recall))
        curves.append(np.interp(GRID, drawn.x[::-1], drawn.y[::-1]))
        cells = drawn.n_clusters
    area, energy, precision, recall = (
        Interval(float(value), float(low), float(high), 0.95, n) for value, low, high in _middle(np.array(numbers)).T
    )
    return Halves(label, role, area, energy, precision, recall, _middle(np.array(curves)), n, cells)


def _middle(values: Float[np.ndarray, "splits k"]) -> Float[np.ndarray, "3 k"]:
    """Mean over splits, and the ends of the middle 95% of them."""
    return np.array([values.mean(axis=0), *np.quantile(values, [0.025, 0.975], axis=0)])


def _seeds(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    return tuple(int(s) for s in rng.integers(0, 2**31, size=n))


def _place(evidence: Evidence) -> str:
    """Where the texts are points."""
    encoder = evidence.plan.embed_with
    return f"the encoder {encoder}" if encoder else "the model's own hidden states"


def _range_estimate(quantity: Quantity, middle: Interval) -> Estimate:
    how = f"mean over {N_SPLITS} random halves and the middle 95% of them: a range, not a confidence interval"
    return quantity.estimate(middle, method=how)


def _sentence(place: str, main: Halves, yardstick: Halves, tested: EnergyTest) -> str:
    least = 1 / (1 + tested.n_permutations)
    p = f"p = {tested.p_value:.2g}" if tested.p_value > least * 1.5 else f"p ≤ {least:.1g}"
    energy = (
        f"An energy test tells its texts from the real ones ({p}, {tested.n_groups} documents)"
        if tested.p_value < 0.01
        else f"The energy test does not tell them apart at the 1% level at this n ({p}, {tested.n_groups} documents)"
    )
    return (
        f"In {place} the divergence frontier between its texts and real ones has area {main.area.value:.2f} at "
        f"{main.n} against {main.n} documents, where real text against other real text gives {yardstick.area.value:.2f}. {energy}; "
        f"{main.precision.value:.0%} of its texts lie inside the real cloud and {main.recall.value:.0%} of the real ones inside its own, "
        f"against {yardstick.precision.value:.0%} for real text."
    )


def _table(comparisons: list[Halves]) -> Table:
    return Table(
        "divergences",
        f"One side from a random half of the documents, the other from the other half ({N_SPLITS} halves, 95% of them in parentheses)",
        ("comparison", "documents", "frontier area", "energy coefficient", "precision", "recall"),
        tuple(
            (
                c.label,
                f"{c.n} + {c.n}",
                *(Cell.of(x, 2, "share") for x in (c.area, c.energy, c.precision, c.recall)),
            )
            for c in comparisons
        ),
    )


def _chart(comparisons: list[Halves]) -> Chart:
    banded = ("free", "real")
    return Chart(
        name="frontier",
        title="Divergence frontier",
        x_label="exp(−5·KL), the first-named text from a mixture of both",
        y_label="exp(−5·KL), the second-named from it",
        x=GRID,
        series=tuple(
            Series.curve(c.label, c.role, *(c.curves if c.role in banded else c.curves[:1])) for c in comparisons
        ),
        y_range=(0.0, 1.0),
        caption=(
            "Up and to the right: the two sets fill the same cells. Means over random halves; shaded: 95% of the halves, for real text and "
            "its own. Read a line against that of real text, not against the corner."
        ),
    )


ENTRY = Question("divergences", QUESTION, divergences, QUANTITIES, needs_text=True, place=90)
