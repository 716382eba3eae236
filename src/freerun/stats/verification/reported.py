"""Log-probabilities that an engine reported, against those of a scoring pass: how far apart, and of what they are the logarithm.

d = log q(x) − l for a reported l, and r = e^d. Where l is of the law that was sampled, r has mean at most 1: the mass that
truncations keep. The estimators k1 = −d and k3 = r − 1 − d of KL(engine‖trainer) (Schulman 2020) differ by 1 − r, so under a
truncation k3 is off by the mass that is lost and k1 is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import Interval, cluster_ratio, group_index
from freerun.stats.proportions import clustered_proportion
from freerun.stats.quantiles import Quantile, clustered_quantiles

BAND = (0.9, 1.1)
"""Where ratios are left alone by clipping of a tenth."""
_MOST_NATS = 60.0
"""Ratios are e to at most this."""

Meaning = Literal[
    "raw", "heated", "processed", "shifted_left", "shifted_right", "base_2", "base_10", "sign_turned", "none"
]
"""raw: log q at temperature 1. heated: at the declared temperature. processed: of the law that was declared, truncations and all.
shifted_left, shifted_right: of the next, of the previous token. none: of nothing that was tried."""


@dataclass(frozen=True)
class Gaps:
    """Absolute differences |d| of n tokens, nats."""

    n: int
    mean: Interval | None
    median: Quantile
    q95: Quantile
    q99: Quantile
    largest: float


@dataclass(frozen=True)
class Ratios:
    """What trainers print of engine against trainer; intervals are clustered by prompt, None with fewer than two.

    Numbers without one are of these very tokens: extremes, effective sample sizes, and the chi-square by sequence, which a single
    sequence can decide.
    """

    gaps: Gaps
    mean_d: Interval | None
    sd_d: Interval | None
    k1_nats: Interval | None
    k3_nats: Interval | None
    mean_ratio: Interval | None
    least_ratio: float
    largest_ratio: float
    outside_band: Interval | None
    chi2_token: Interval | None
    chi2_sequence: float
    ppl_ratio: Interval | None
    ess_token: float
    ess_sequence: float


def ratios_of(
    log_prob_nats: Float[np.ndarray, " tokens"],
    reported_nats: Float[np.ndarray, " tokens"],
    sequence: Int[np.ndarray, " tokens"],
    group: Int[np.ndarray, " tokens"],
) -> Ratios | None:
    """All of it, from tokens with a finite log-probability on both sides; None where there are none. A token that one side alone
    holds impossible is outside the band, and enters nothing else."""
    known = np.isfinite(log_prob_nats) & np.isfinite(reported_nats)
    if not known.any():
        return None
    at_all = known | (np.isneginf(log_prob_nats) ^ np.isneginf(reported_nats)) & ~np.isnan(
        log_prob_nats + reported_nats
    )
    outside = _is_outside((log_prob_nats - reported_nats)[at_all])
    d = (log_prob_nats - reported_nats)[known]
    r = np.exp(np.minimum(d, _MOST_NATS))
    of, unit = sequence[known], group[known]
    index, n_sequences = group_index(of)
    length = np.bincount(index, minlength=n_sequences)
    total = np.bincount(index, d, n_sequences)
    whole = np.exp(np.clip(total, -_MOST_NATS, _MOST_NATS))
    size = np.abs(d)
    first = np.unique(index, return_index=True)[1]
    median, q95, q99 = quantiles_of(size, unit, (0.5, 0.95, 0.99))
    return Ratios(
        gaps=Gaps(d.size, _mean(size, unit), median, q95, q99, float(size.max())),
        mean_d=_mean(d, unit),
        sd_d=_moved(_mean(np.square(d - d.mean()), unit), lambda x: math.sqrt(max(x, 0.0))),
        k1_nats=_mean(-d, unit),
        k3_nats=_moved(_mean(r - 1.0 - d, unit), lambda x: max(x, 0.0)),
        mean_ratio=_mean(r, unit),
        least_ratio=float(r.min()),
        largest_ratio=float(r.max()),
        outside_band=_share(outside, np.ones(outside.size), group[at_all]),
        chi2_token=_moved(_mean(np.square(r), unit), lambda x: max(x, 0.0) - 1.0),
        chi2_sequence=float(np.square(whole).mean()) - 1.0,
        ppl_ratio=_moved(_mean(np.exp(-total / length), unit[first]), lambda x: max(x, 0.0)),
        ess_token=float(r.sum() ** 2 / (r.size * np.square(r).sum())),
        ess_sequence=float(whole.sum() ** 2 / (n_sequences * np.square(whole).sum())),
    )


def _is_outside(d: Float[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"]:
    r = np.exp(np.minimum(d, _MOST_NATS))
    return np.asarray((r < BAND[0]) | (r > BAND[1]))


def _mean(values: Float[np.ndarray, " tokens"], group: Int[np.ndarray, " tokens"]) -> Interval | None:
    try:
        return cluster_ratio(values, np.ones(values.size), group)
    except TooFewDocuments:
        return None


def _moved(interval: Interval | None, to: Callable[[float], float]) -> Interval | None:
    """Estimate and limits of what grows with a mean, or stays."""
    if interval is None:
        return None
    value, low, high = (to(x) for x in (interval.value, interval.low, interval.high))
    return Interval(value, low, high, interval.level, interval.n)


def quantiles_of(
    values: Float[np.ndarray, " tokens"], group: Int[np.ndarray, " tokens"], shares: Sequence[float]
) -> list[Quantile]:
    """Quantiles with clustered limits; of a single group without."""
    try:
        return clustered_quantiles(values, group, shares)
    except TooFewDocuments:
        return [Quantile(s, float(np.quantile(values, s)), None, None, 0.95, 1) for s in shares]


def _share(
    events: Bool[np.ndarray, " tokens"], trials: Float[np.ndarray, " tokens"], group: Int[np.ndarray, " tokens"]
) -> Interval | None:
    try:
        return clustered_proportion(events, trials, group)
    except TooFewDocuments:
        return None


# ---- of what are they the logarithm? ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explanation:
    """A meaning that reported log-probabilities may have, and how near they come to it: quantiles of |difference|, nats."""

    meaning: Meaning
    median_nats: float
    q90_nats: float
    n: int


def explanations(
    reported_nats: Float[np.ndarray, " tokens"],
    columns: Mapping[Meaning, Float[np.ndarray, " tokens"]],
    sequence: Int[np.ndarray, " tokens"],
    position: Int[np.ndarray, " tokens"],
) -> tuple[Explanation, ...]:
    """Every meaning with its distance, the nearest first; `columns` are what each of raw, heated, processed would be."""
    raw = columns["raw"]
    following = (np.diff(sequence) == 0) & (np.diff(position) == 1)
    left, right = np.full(raw.size, np.nan), np.full(raw.size, np.nan)
    left[:-1][following], right[1:][following] = raw[1:][following], raw[:-1][following]
    tried: dict[Meaning, Float[np.ndarray, " tokens"]] = {
        **columns,
        "shifted_left": left,
        "shifted_right": right,
        "base_2": raw / math.log(2.0),
        "base_10": raw / math.log(10.0),
        "sign_turned": -raw,
    }
    found = []
    for meaning, values in tried.items():
        known = np.isfinite(values) & np.isfinite(reported_nats)
        if known.any():
            gap = np.abs(values - reported_nats)[known]
            median, q90 = (float(np.quantile(gap, q, method="higher")) for q in (0.5, 0.9))
            found.append(Explanation(meaning, median, q90, gap.size))
    return tuple(sorted(found, key=lambda e: e.q90_nats))


AGREES_NATS = 0.05
"""Nine tokens in ten within this of a meaning, or within ten noise floors: it is that one."""


def meaning_of(found: tuple[Explanation, ...], floor_nats: float) -> Meaning:
    """What reported log-probabilities are, where one meaning comes near enough; of equals the first that was tried."""
    limit = max(AGREES_NATS, 10.0 * floor_nats)
    near = [e for e in found if e.q90_nats <= limit]
    if not near:
        return "none"
    best = min(e.q90_nats for e in near)
    order: tuple[Meaning, ...] = ("raw", "heated", "processed")
    for meaning in order:
        if any(e.meaning == meaning and e.q90_nats <= 1.5 * best + 1e-4 for e in near):
            return meaning
    return near[0].meaning
