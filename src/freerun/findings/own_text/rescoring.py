"""Is the law that was recorded while sampling the one that a fresh pass over the same text gives?

The sampler's audit compares own text with the laws recorded with it: it passes where sampler and record are wrong together (a stale
cache, a row that was taken for another). This is the second look, from the texts that were scored again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.findings.recognition.quantities import CDF_GAP, FLOOR, OFF_FROM, OFF_SHARE, RESCORED, RESCORING_GAPS
from freerun.results.audit import SecondLook
from freerun.results.finding import Cell, Chart, Estimate, Row, Series, Table, known
from freerun.results.quantity import Quantity
from freerun.stats.position import log_spaced_edges
from freerun.stats.recognition.rescoring import (
    FLOOR_QUANTILE,
    LARGEST_NATS,
    MIN_FLOOR_TOKENS,
    Bound,
    Gap,
    exact_bounds,
    floor_of,
    log_prob_gap,
    rounded_bounds,
    summarise,
)

LEAST_DRAWN_NATS = 1e-16
"""What no difference at all is drawn as, on a logarithmic scale."""
_NAMES = {"largest": "the largest", "0.5": "the median", "0.9": "the 90% quantile", "0.99": "the 99% quantile"}


@dataclass(frozen=True)
class Off:
    """Where exact arithmetic is off by more than it may be: in so many texts, and at which token after the cut first (from 1)."""

    n_texts: int
    first_token: int


@dataclass(frozen=True)
class Rescoring:
    """The second look at own text. `gap` is None where nothing was scored again.

    `floor` holds the differences of real text that is scored twice, where arithmetic is rounded; `floor_nats` is the unit of the bounds.
    """

    outcome: SecondLook
    n_texts: int
    gap: Gap | None
    bounds: tuple[Bound, ...] = ()
    floor: Gap | None = None
    floor_nats: float | None = None
    largest_cdf_gap: float | None = None
    off: Off | None = None
    by_token_nats: Float[np.ndarray, " n"] | None = None
    position: Int[np.ndarray, " n"] | None = None

    @property
    def broken(self) -> tuple[Bound, ...]:
        """The bounds that do not hold."""
        return tuple(b for b in self.bounds if not b.holds)


def rescoring(evidence: Evidence) -> Rescoring:
    """Compare the recorded laws of own text with those of the fresh pass, at the tokens that were scored again."""
    tokens = evidence.records.tokens
    fresh = tokens["fresh_log_prob_nats"]
    again = ~np.isnan(fresh)
    own = np.flatnonzero(again & evidence.tokens_of("free"))
    if not own.size:
        return Rescoring("not_measured", 0, None)
    by_token = log_prob_gap(tokens["log_prob_nats"][own], fresh[own])
    gap = summarise(by_token)
    cdf = np.abs(tokens["cdf_below"][own] - tokens["fresh_cdf_below"][own])
    of_text, position = evidence.token_sequence[own], tokens["position"][own]
    measured = Rescoring(
        "not_measured",
        np.unique(of_text).size,
        gap,
        largest_cdf_gap=float(np.nanmax(cdf)) if np.isfinite(cdf).any() else None,
        by_token_nats=by_token,
        position=position,
    )
    bounds, far = exact_bounds(gap), by_token > LARGEST_NATS
    if evidence.plan.rounded_arithmetic is True:
        real = np.flatnonzero(again & evidence.tokens_of("real"))
        if real.size < MIN_FLOOR_TOKENS:
            return measured
        floor = log_prob_gap(tokens["log_prob_nats"][real], fresh[real])
        bounds = rounded_bounds(gap, floor)
        measured = replace(measured, floor=summarise(floor), floor_nats=floor_of(floor))
    elif far.any():
        measured = replace(measured, off=Off(np.unique(of_text[far]).size, int(position[far].min()) + 1))
    evidence.records.forget("fresh_log_prob_nats", "fresh_cdf_below", "fresh_cdf_upto", "cdf_below")
    return replace(measured, outcome="passed" if all(b.holds for b in bounds) else "failed", bounds=bounds)


# ---- words -------------------------------------------------------------------------------------------------------------


def refusal_words(again: Rescoring) -> str:
    """Why own text is refused, as a sentence."""
    assert again.gap is not None
    gap = " and ".join(f"{_NAMES[b.name]} is {nats(b.value)} nats, {nats(b.limit)} allowed" for b in again.broken)
    if again.off is not None:
        gap += f"; {again.off.n_texts} of the texts are off, the first at token {again.off.first_token} after the cut"
    if again.gap.n_one_sided:
        gap += f"; {again.gap.n_one_sided:,} of these tokens have mass under one of the two laws alone"
    return (
        f"The sampler's law is not the scorer's: scored again by a fresh pass, {again.n_texts} own texts ({again.gap.n:,} tokens) have other "
        f"log-probabilities than those recorded while sampling (of the differences {gap})"
    )


def agreement_words(again: Rescoring) -> str:
    """What the second look says where it refuses nothing, as a sentence."""
    if again.outcome == "not_measured" or again.gap is None:
        return "Own text was not scored again, so nothing but the sampler vouches for its laws."
    if again.floor_nats is not None:
        return (
            f"A fresh pass gives them the same laws as far as rounding allows (of {again.gap.n:,} differences the median is "
            f"{nats(again.gap.median)} and the 99% quantile {nats(again.gap.q99)} nats; the floor of this arithmetic is {nats(again.floor_nats)})."
        )
    return f"A fresh pass gives them the same laws (largest difference {nats(again.gap.largest)} nats at {again.gap.n:,} tokens)."


def nats(x: float) -> str:
    """Two digits; infinity in words."""
    return "infinitely many" if np.isinf(x) else f"{x:.2g}".replace("-", "−")


# ---- numbers and pictures ----------------------------------------------------------------------------------------------


def rescoring_estimates(again: Rescoring) -> tuple[Estimate, ...]:
    """The differences as estimates; one that says so where nothing was scored again."""
    gap, off, n = again.gap, again.off, again.n_texts
    if gap is None:
        return (RESCORED.number(None, text="not measured"),)
    how = "absolute difference of ln q as recorded while sampling and by a fresh pass over the text alone"
    estimates = [
        RESCORED.number(float(gap.n), n=n, method=how),
        *(_nats(quantity, getattr(gap, name), gap.n, how) for name, quantity in RESCORING_GAPS.items()),
    ]
    if again.largest_cdf_gap is not None:
        estimates.append(CDF_GAP.number(again.largest_cdf_gap, n=gap.n, independent_unit="token"))
    if off is not None:
        how = f"with a token that differs by more than {LARGEST_NATS:g} nats"
        estimates.append(OFF_SHARE.number(off.n_texts / n, n=n, independent_unit="text", method=how))
        estimates.append(OFF_FROM.number(float(off.first_token)))
    if again.floor is not None and again.floor_nats is not None:
        how = f"{FLOOR_QUANTILE:.0%} quantile of the differences of real tokens scored twice, kept between 0.01 and 0.5"
        estimates.append(_nats(FLOOR, again.floor_nats, again.floor.n, how))
    return tuple(estimates)


def _nats(quantity: Quantity, value: float, n: int, how: str) -> Estimate:
    finite = bool(np.isfinite(value))
    text = "" if finite else "infinite: a token without mass under one of the two laws"
    return quantity.number(value if finite else None, n=n, independent_unit="token", method=how, text=text)


def rescoring_chart(again: Rescoring, length: int) -> tuple[Chart, ...]:
    """Differences by position, as powers of ten."""
    if again.by_token_nats is None or again.position is None:
        return ()
    edges = log_spaced_edges(length)
    bins = np.digitize(again.position, edges[1:-1])
    by_bin = [again.by_token_nats[bins == i] for i in range(len(edges) - 1)]
    lines = (("largest", "free", 1.0), ("90%", "other", 0.9), ("median", "reference", 0.5))
    return (
        Chart(
            name="rescoring_by_position",
            title="Own text scored again: how far the sampler's log-probabilities are from a fresh pass",
            x_label="tokens after the cut",
            y_label="log₁₀ of the difference, nats",
            x=bin_middles(edges),
            x_scale="log2",
            series=tuple(Series(name, role, tuple(_power(v, share) for v in by_bin)) for name, role, share in lines),
            levels=tuple((float(np.log10(b.limit)), f"{_NAMES[b.name]} may be") for b in again.bounds),
            caption="Rounding is small and even along a text; what grows with position, or begins at one, is a fault. No difference at all is drawn "
            "at −16, infinite ones leave a gap.",
        ),
    )


def _power(values: Float[np.ndarray, " n"], share: float) -> float | None:
    if not values.size:
        return None
    at = float(np.quantile(values, share, method="higher"))
    return float(np.log10(max(at, LEAST_DRAWN_NATS))) if np.isfinite(at) else None


def rescoring_table(again: Rescoring, length: int) -> tuple[Table, ...]:
    """Own text, its two halves, and the floor where there is one."""
    if again.gap is None or again.by_token_nats is None or again.position is None:
        return ()
    late = again.position >= length // 2
    halves = (("first half", again.by_token_nats[~late]), ("second half", again.by_token_nats[late]))
    gaps = [("own text, all", again.gap), *((f"own text, {name}", summarise(v)) for name, v in halves if v.size)]
    if again.floor is not None:
        gaps.append(("real text scored twice (floor)", again.floor))
    rows: list[Row] = [
        (name, Cell.number(g.n, ",", "tokens"), *map(_nats_cell, (g.median, g.q90, g.q99, g.largest)))
        for name, g in gaps
    ]
    limits = {b.name: _nats_cell(b.limit) for b in again.bounds}
    allowed = (limits.get(name, Cell.number(None)) for name in ("0.5", "0.9", "0.99", "largest"))
    return (
        Table(
            "rescoring",
            "Differences between the sampler's log-probabilities and those of a fresh pass, nats",
            ("text", "tokens", "median", "90%", "99%", "largest"),
            (*rows, ("allowed", "", *allowed)),
        ),
    )


def _nats_cell(x: float) -> Cell:
    return Cell(nats(x), known(x), "nats")
