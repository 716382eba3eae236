"""How often each interval and band of two laws misses a truth that enumeration knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy import special

from freerun.stats.detection.horizon import HorizonResult, horizon
from freerun.stats.intervals import (
    Interval,
    bootstrap_groups,
    clopper_pearson,
    clopper_pearson_low,
    has_no_width,
    percentile_tail,
)
from freerun.stats.quantiles import clustered_quantiles
from freerun.stats.two_laws.best_detector import AUC_LEVELS, best_detector, fits_tv
from freerun.stats.two_laws.certificate import TvBand, certificate
from freerun.stats.two_laws.k import KEstimate, k_by_length
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.token_means import TokenMean, delta_p, token_means
from studies.two_laws.worlds import LENGTHS, PAIRS, Pair

SIDE, BOTH = 0.025, 0.05
TOKENS = int(LENGTHS[-1])
_EXACT = 1e-9

Sides = Iterator[tuple[str, float, bool | None]]
"""What could miss, its nominal rate, and whether it does; None where there is no interval, for want of a width."""


@dataclass(frozen=True)
class Misses:
    """How often one claim missed in how many simulations; in `silent` of them there was no interval."""

    world: str
    documents: int
    claim: str
    nominal: float
    runs: int
    misses: int
    silent: int = 0

    @property
    def rate(self) -> Interval:
        """The miss rate with its 95% interval."""
        return clopper_pearson(self.misses, self.runs)

    @property
    def holds(self) -> bool:
        """Whether the one-sided 95% lower limit of the miss rate is at most the nominal rate."""
        return clopper_pearson_low(self.misses, self.runs, alpha=0.05) <= self.nominal


@dataclass(frozen=True, eq=False)
class Truth:
    """What enumeration says of a pair at every length, and of single tokens on p's texts."""

    k: Float[np.ndarray, " lengths"]
    reverse_k: Float[np.ndarray, " lengths"]
    tv: Float[np.ndarray, " lengths"]
    auc: Float[np.ndarray, " lengths"]
    kl_nats: float
    reverse_kl_nats: float
    loss_difference: float
    delta_p: float
    same_top: float

    @classmethod
    def of(cls, pair: Pair) -> Truth:
        """By enumeration of every text."""
        at = np.array([pair.truth(int(n)) for n in LENGTHS])
        turned = Pair(pair.q, pair.p, pair.kinds, pair.ends, pair.meaning)
        symbols, kind, p, _ = pair.strings(TOKENS)
        laws = pair.along(symbols, kind, np.arange(kind.size))
        tokens = float(p @ laws.n_tokens)

        def mean(column: Float[np.ndarray, "texts tokens"]) -> float:
            return float(p @ np.where(laws.inside, column, 0.0).sum(axis=1)) / tokens

        return cls(
            k=at[:, 0],
            reverse_k=np.array([turned.truth(int(n))[0] for n in LENGTHS]),
            tv=at[:, 1],
            auc=at[:, 2],
            kl_nats=mean(laws.kl_pq),
            reverse_kl_nats=mean(laws.kl_qp),
            loss_difference=mean(laws.gap),
            delta_p=mean(delta_p(laws)),
            same_top=mean(laws.same_top),
        )


def simulate(world: str, documents: int, *, runs: int, seed: int = 0) -> list[Misses]:
    """Draw own texts of both laws so often, and count what misses."""
    pair, truth = PAIRS[world], _truth(world)
    rng = np.random.default_rng([seed, documents, *world.encode()])
    missed: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    nominal: dict[str, float] = {}
    for _ in range(runs):
        for claim, rate, miss in _claims(*pair.draw(rng, documents, TOKENS), truth):
            nominal[claim] = rate
            missed[claim] += bool(miss)
            silent[claim] += miss is None
    return [Misses(world, documents, c, rate, runs, missed[c], silent[c]) for c, rate in nominal.items()]


@cache
def _truth(world: str) -> Truth:
    return Truth.of(PAIRS[world])


def _claims(texts_p: TwoLaws, texts_q: TwoLaws, truth: Truth) -> Sides:
    found = certificate(texts_p, texts_q, LENGTHS)
    for name, band in (("TV", found.both), ("TV from p's texts", found.from_p), ("TV from q's texts", found.from_q)):
        yield from _band(f"{name}, all lengths", band, truth.tv)
    yield "both sides of TV agree", BOTH, not found.agree
    best = best_detector(texts_p, texts_q, LENGTHS)
    for at in (0, -1):
        yield from _interval(f"best AUC at {LENGTHS[at]}", best.auc[at], float(truth.auc[at]))
        yield from _interval(f"counted AUC at {LENGTHS[at]}", best.counted[at], float(truth.auc[at]))
    yield "best AUC and counted AUC agree", BOTH, not best.agree
    yield "counted AUC does not fall", BOTH, bool(best.falls)
    fits = [fits_tv(*x) for x in zip(best.auc, found.both.low, found.both.high, strict=True)]
    yield "AUC fits TV at the last length", BOTH, not fits[-1]
    for level in AUC_LEVELS:
        yield from _horizon(f"best H{100 * level:.0f}", best.horizon(level), truth.auc)
    for name, estimates, k in (
        ("K", k_by_length(texts_p, LENGTHS), truth.k),
        ("reverse K", k_by_length(texts_q.swapped, LENGTHS), truth.reverse_k),
    ):
        yield from _k(f"{name} at {TOKENS}", estimates[-1], float(k[-1]))
    means = token_means(texts_p)
    yield from _mean("token KL", means.kl_pq, truth.kl_nats)
    yield from _mean("token KL, reverse", means.kl_qp, truth.reverse_kl_nats)
    yield from _mean("loss difference", means.loss_difference, truth.loss_difference)
    yield from _mean("Δp", means.delta_p, truth.delta_p)
    yield from _mean("same top", means.same_top, truth.same_top)


def _band(name: str, band: TvBand, truth: Float[np.ndarray, " lengths"]) -> Sides:
    yield f"{name}: lower limits", SIDE, bool((band.low > truth + _EXACT).any())
    yield f"{name}: upper limits", SIDE, bool((band.high < truth - _EXACT).any())


def _interval(name: str, interval: Interval, truth: float) -> Sides:
    silent = has_no_width(interval.low, interval.high)
    yield f"{name}: lower limit", SIDE, None if silent else interval.low > truth + _EXACT
    yield f"{name}: upper limit", SIDE, None if silent else interval.high < truth - _EXACT


def _k(name: str, estimate: KEstimate, truth: float) -> Sides:
    assert estimate.interval is not None
    yield from _interval(name, estimate.interval, truth)


def _mean(name: str, mean: TokenMean, truth: float) -> Sides:
    assert mean.interval is not None
    yield from _interval(name, mean.interval, truth)


def _horizon(name: str, found: HorizonResult, aucs: Float[np.ndarray, " lengths"]) -> Sides:
    truth = horizon(LENGTHS, aucs, level_auc=found.level_auc)
    ends = [{"before": 0.0, "inside": e.tokens, "beyond": np.inf}[e.where] for e in (truth, found.low, found.high)]
    yield f"{name}: lower end", SIDE, ends[1] > ends[0] + _EXACT
    yield f"{name}: upper end", SIDE, ends[2] < ends[0] - _EXACT


# ---- quantiles, of tokens whose law has no atoms ----------------------------------------------------------------------------

SHARES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
PER_DOCUMENT = 64
SPREADS = {"skewed tokens": (0.7, 1.4), "skewed documents": (1.4, 0.7)}
"""Standard deviation of the logarithm between documents, and within one."""


def quantiles(world: str, documents: int, *, runs: int, seed: int = 0, bootstrap: bool = False) -> list[Misses]:
    """Tokens e^(document + token), both normal: limits of quantiles, or those of resampled documents."""
    between, within = SPREADS[world]
    rng = np.random.default_rng([seed, documents, 77])
    group = np.repeat(np.arange(documents), PER_DOCUMENT)
    truths = [float(np.exp(np.hypot(between, within) * special.ndtri(s))) for s in SHARES]
    missed: Counter[str] = Counter()
    for _ in range(runs):
        logs = between * rng.normal(size=documents)[group] + within * rng.normal(size=group.size)
        limits = _resampled(np.exp(logs), group, rng) if bootstrap else _limits(np.exp(logs), group)
        for share, truth, (low, high) in zip(SHARES, truths, limits, strict=True):
            missed[f"{100 * share:.1f}% quantile: lower limit"] += bool(low > truth)
            missed[f"{100 * share:.1f}% quantile: upper limit"] += bool(high < truth)
    named = f"{world}, bootstrap" if bootstrap else world
    return [Misses(named, documents, claim, SIDE, runs, count) for claim, count in missed.items()]


def _limits(values: np.ndarray, group: np.ndarray) -> list[tuple[float, float]]:
    return [
        (-np.inf if q.low is None else q.low, np.inf if q.high is None else q.high)
        for q in clustered_quantiles(values, group, SHARES)
    ]


def _resampled(values: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> list[tuple[float, float]]:
    """The percentile interval of 200 resamples, for comparison."""
    order = np.argsort(values)
    weights = bootstrap_groups(group, n_resamples=200, rng=rng)[:, order].cumsum(axis=1)
    tail = percentile_tail(int(group.max()) + 1, 0.95)
    limits = []
    for share in SHARES:
        place = (weights >= share * weights[:, -1:]).argmax(axis=1)
        limits.append(tuple(np.quantile(values[order][place], [tail, 1.0 - tail])))
    return limits
