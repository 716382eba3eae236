"""Is the law that was recorded while sampling the one that a fresh pass over the same text gives?

The sampler's audit holds own text against the laws recorded with it: it passes where sampler and record are wrong together (a stale
cache, a row that was taken for another). This is the second look, from the texts that were scored again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.results.finding import Chart, Estimate, Series, Table
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

Outcome = Literal["passed", "failed", "not_measured"]
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

    outcome: Outcome
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
    cdf_gap = float(np.nanmax(cdf)) if np.isfinite(cdf).any() else None
    of_text, position = evidence.token_sequence[own], tokens["position"][own]
    n_texts = np.unique(of_text).size
    bounds, floor, floor_nats = exact_bounds(gap), None, None
    far = by_token > LARGEST_NATS
    off = Off(np.unique(of_text[far]).size, int(position[far].min()) + 1) if far.any() else None
    if evidence.plan.get("rounded_arithmetic") is True:
        real = np.flatnonzero(again & evidence.tokens_of("real"))
        if real.size < MIN_FLOOR_TOKENS:
            return Rescoring("not_measured", n_texts, gap, (), None, None, cdf_gap, None, by_token, position)
        off = None
        differences = log_prob_gap(tokens["log_prob_nats"][real], fresh[real])
        bounds, floor, floor_nats = rounded_bounds(gap, differences), summarise(differences), floor_of(differences)
    evidence.records.forget("fresh_log_prob_nats", "fresh_cdf_below", "fresh_cdf_upto", "cdf_below")
    outcome: Outcome = "passed" if all(b.holds for b in bounds) else "failed"
    return Rescoring(outcome, n_texts, gap, bounds, floor, floor_nats, cdf_gap, off, by_token, position)


# ---- words -------------------------------------------------------------------------------------------------------------


def refusal_words(found: Rescoring) -> str:
    """Why own text is refused, as a sentence."""
    assert found.gap is not None
    said = " and ".join(f"{_NAMES[b.name]} is {nats(b.value)} nats, {nats(b.limit)} allowed" for b in found.broken)
    more = ""
    if found.off is not None:
        more += f"; {found.off.n_texts} of the texts are off, the first at token {found.off.first_token} after the cut"
    if found.gap.n_one_sided:
        more += f"; {found.gap.n_one_sided:,} of these tokens have mass under one of the two laws alone"
    return (
        f"The sampler's law is not the scorer's: scored again by a fresh pass, {found.n_texts} own texts ({found.gap.n:,} tokens) have other "
        f"log-probabilities than those recorded while sampling (of the differences {said}{more})"
    )


def agreement_words(found: Rescoring) -> str:
    """What the second look says where it refuses nothing, as a sentence."""
    if found.outcome == "not_measured" or found.gap is None:
        return "Own text was not scored again, so nothing but the sampler vouches for its laws."
    if found.floor_nats is not None:
        return (
            f"A fresh pass gives them the same laws as far as rounding allows (of {found.gap.n:,} differences the median is "
            f"{nats(found.gap.median)} and the 99% quantile {nats(found.gap.q99)} nats; the floor of this arithmetic is {nats(found.floor_nats)})."
        )
    return f"A fresh pass gives them the same laws (largest difference {nats(found.gap.largest)} nats at {found.gap.n:,} tokens)."


def nats(x: float) -> str:
    """Two digits; infinity in words."""
    return "infinitely many" if np.isinf(x) else f"{x:.2g}".replace("-", "−")


# ---- numbers and pictures ----------------------------------------------------------------------------------------------


def rescoring_estimates(found: Rescoring) -> tuple[Estimate, ...]:
    """The differences as estimates; without any where nothing was scored again one that says so."""
    if found.gap is None:
        return (Estimate("rescored_tokens", "Own tokens scored again", None, "tokens", text="not measured"),)
    gap, unit = found.gap, "token"
    how = "absolute difference of ln q as recorded while sampling and by a fresh pass over the text alone"
    out = [
        Estimate("rescored_tokens", "Own tokens scored again", float(gap.n), "tokens", n=found.n_texts, method=how),
        *(
            _nats(f"rescoring_gap_{name}_nats", f"Fresh pass against sampler, {label}", value, gap.n, how)
            for name, label, value in (
                ("median", "median difference", gap.median),
                ("q90", "90% quantile", gap.q90),
                ("q99", "99% quantile", gap.q99),
                ("max", "largest difference", gap.largest),
            )
        ),
    ]
    if found.largest_cdf_gap is not None:
        label = "Largest difference of the mass on smaller ids"
        out.append(
            Estimate("rescoring_cdf_gap_max", label, found.largest_cdf_gap, "mass", n=gap.n, independent_unit=unit)
        )
    if found.off is not None:
        method = f"with a token that differs by more than {LARGEST_NATS:g} nats"
        label, first = "Texts scored again that are off", float(found.off.first_token)
        share = found.off.n_texts / found.n_texts
        out.append(
            Estimate(
                "rescoring_off_share", label, share, "share", n=found.n_texts, independent_unit="text", method=method
            )
        )
        out.append(Estimate("rescoring_off_from_token", "the first such token after the cut", first, "tokens"))
    if found.floor is not None and found.floor_nats is not None:
        method = (
            f"{FLOOR_QUANTILE:.0%} quantile of the differences of real tokens scored twice, held between 0.01 and 0.5"
        )
        label = "Floor of this arithmetic"
        out.append(_nats("rescoring_floor_nats", label, found.floor_nats, found.floor.n, method))
    return tuple(out)


def _nats(name: str, label: str, value: float, n: int, method: str) -> Estimate:
    known = bool(np.isfinite(value))
    text = "" if known else "infinite: a token without mass under one of the two laws"
    return Estimate(
        name, label, value if known else None, "nats", n=n, independent_unit="token", method=method, text=text
    )


def rescoring_chart(found: Rescoring, length: int) -> tuple[Chart, ...]:
    """Differences by position, as powers of ten."""
    if found.by_token_nats is None or found.position is None:
        return ()
    edges = log_spaced_edges(length)
    bins = np.digitize(found.position, edges[1:-1])
    held = [found.by_token_nats[bins == i] for i in range(len(edges) - 1)]
    series = tuple(
        Series(name, role, tuple(_power(v, share) for v in held))
        for name, role, share in (("largest", "free", 1.0), ("90%", "other", 0.9), ("median", "reference", 0.5))
    )
    limits = tuple((float(np.log10(b.limit)), f"{_NAMES[b.name]} may be") for b in found.bounds)
    return (
        Chart(
            name="rescoring_by_position",
            title="Own text scored again: how far the sampler's log-probabilities are from a fresh pass",
            x_label="tokens after the cut",
            y_label="log₁₀ of the difference, nats",
            x=bin_middles(edges),
            x_scale="log2",
            series=series,
            levels=limits,
            caption="Rounding is small and even along a text; what grows with position, or begins at one, is a fault. No difference at all is drawn "
            "at −16, infinite ones leave a gap.",
        ),
    )


def _power(values: Float[np.ndarray, " n"], share: float) -> float | None:
    if not values.size:
        return None
    at = float(np.quantile(values, share, method="higher"))
    return float(np.log10(max(at, LEAST_DRAWN_NATS))) if np.isfinite(at) else None


def rescoring_table(found: Rescoring, length: int) -> tuple[Table, ...]:
    """Own text, its two halves, and the floor where there is one."""
    if found.gap is None or found.by_token_nats is None or found.position is None:
        return ()
    late = found.position >= length // 2
    halves = (("first half", found.by_token_nats[~late]), ("second half", found.by_token_nats[late]))
    rows = [("own text, all", found.gap), *((f"own text, {name}", summarise(v)) for name, v in halves if v.size)]
    if found.floor is not None:
        rows.append(("real text scored twice (floor)", found.floor))
    limits = {b.name: nats(b.limit) for b in found.bounds}
    cells = [(name, f"{g.n:,}", *map(nats, (g.median, g.q90, g.q99, g.largest))) for name, g in rows]
    allowed = ("allowed", "", *(limits.get(name, "–") for name in ("0.5", "0.9", "0.99", "largest")))
    return (
        Table(
            "rescoring",
            "Differences between the sampler's log-probabilities and those of a fresh pass, nats",
            ("text", "tokens", "median", "90%", "99%", "largest"),
            (*cells, allowed),
        ),
    )
