"""Do the intervals and bounds hold? Each statistic on data whose truth is known in closed form, many times over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from freerun.results.quantity import LEAST_DOCUMENTS
from freerun.stats.bounds.tv_from_loss import tv_from_loss, tv_from_loss_band
from freerun.stats.detection.auc import auc_interval, unit_aucs
from freerun.stats.detection.betting import betting_wealth
from freerun.stats.detection.horizon import horizon, horizon_interval
from freerun.stats.detection.two_sample import detect, paired_permutation_p
from freerun.stats.intervals import Interval, clopper_pearson, clopper_pearson_high, cluster_ratio
from freerun.stats.loops.survival import CENSORED, END_OF_TEXT, LOOP, cumulative_incidence, hazard_per_token
from freerun.stats.paired import contrast_of_ratios, slope_weights
from freerun.stats.proportions import clustered_rate
from freerun.stats.sources.coherence import martingale_band, one_step
from freerun.text.near_duplicates import units_of_near_duplicates

_LOOP_HAZARD, _END_HAZARD = 0.002, 0.001
LENGTHS = np.array([1, 2, 4, 8, 16, 32])
Draw = Callable[[np.random.Generator], tuple[bool, float]]


@dataclass(frozen=True)
class Coverage:
    """How often an interval or bound missed the truth.

    `upper`: one-sided 95% Clopper–Pearson limit of the miss rate. `median_ratio`: median of bound/truth (for intervals, of half
    the width over the truth): a bound that never misses because it says nothing is not a success.
    """

    name: str
    nominal: float
    runs: int
    misses: int
    upper: float
    median_ratio: float
    meaning: str

    @property
    def holds(self) -> bool:
        """Whether the miss rate is shown to be at most nominal + 0.01."""
        return self.upper <= self.nominal + 0.01


# ---- data with known truth ---------------------------------------------------------------------------------------------


def _scores(rng: np.random.Generator, n: int, reps: int, shift: float, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of real and generated text: normal, a shared part of variance rho in each unit, generated ones shifted."""
    shared = np.sqrt(rho) * rng.normal(size=(n, 1))
    real = shared[:, 0] + np.sqrt(1 - rho) * rng.normal(size=n)
    return real, shift + shared + np.sqrt(1 - rho) * rng.normal(size=(n, reps))


def _auc_interval(rng: np.random.Generator) -> tuple[bool, float]:
    """AUC 0.8, 54 documents with two continuations each, correlation 0.3 within a document."""
    n, truth = 54, 0.8
    real, free = _scores(rng, n, 2, float(np.sqrt(2) * special.ndtri(truth)), 0.3)
    # pairs of one document are compared too: their win probability is higher, with weight 1/n
    within = float(special.ndtr(special.ndtri(truth) / np.sqrt(1 - 0.3)))
    truth = (truth * (n - 1) + within) / n
    found = _limits(real[None], free[None])[0]
    return not found.low <= truth <= found.high, (found.high - found.low) / (2 * truth)


def _limits(real: np.ndarray, free: np.ndarray) -> list[Interval]:
    """AUCs of scores that no training fitted, with their intervals."""
    found, n = unit_aucs(real, free), real.shape[1]
    variances = np.square(found.influence).sum(axis=1) / (n * (n - 1))
    return [
        auc_interval(float(a), float(v), n_units=n, replicates=float(r))
        for a, v, r in zip(found.auc, variances, found.replicates, strict=True)
    ]


def _tv_from_detector(rng: np.random.Generator) -> tuple[bool, float]:
    """Two Gaussians in four dimensions, 1.5 SD apart in one: TV = 2Φ(0.75) − 1 = 0.547; 60 + 60 documents."""
    truth = float(2 * special.ndtr(0.75) - 1)
    real, free = rng.normal(size=(120, 4)), rng.normal(size=(120, 1, 4))
    free[:, :, 0] += 1.5
    found = detect(real, free, train=np.arange(120) < 60, rng=rng, n_permutations=9)
    return found.tv_low > truth, found.tv_low / truth


def _coins(rng: np.random.Generator, n: int) -> Float[np.ndarray, "documents lengths"]:
    """ln r − ln q of documents of fair coins, q a coin of 0.7, r the truth: sums over the first tokens."""
    heads = rng.integers(0, 2, size=(n, int(LENGTHS[-1])))
    steps = np.log(0.5) - np.where(heads == 1, np.log(0.7), np.log(0.3))
    return np.asarray(steps.cumsum(axis=1)[:, LENGTHS - 1])


def coin_tv(length: int) -> float:
    """Exact total variation of `length` fair coins from as many of 0.7."""
    k = np.arange(length + 1)
    return float(0.5 * np.abs(stats.binom.pmf(k, length, 0.5) - stats.binom.pmf(k, length, 0.7)).sum())


def _tv_from_loss_band(rng: np.random.Generator) -> tuple[bool, float]:
    """Fair coins against a coin of 0.7, six lengths at once, 64 + 64 documents; a miss anywhere counts."""
    truth = np.array([coin_tv(int(n)) for n in LENGTHS])
    band = tv_from_loss_band(_coins(rng, 64), _coins(rng, 64), LENGTHS)
    return bool((band.tv_low > truth).any()), float(band.tv_low[-1] / truth[-1])


def _tv_from_loss_uniform(rng: np.random.Generator) -> tuple[bool, float]:
    """The same at 32 tokens, uniformly in the threshold, 128 documents."""
    truth = coin_tv(int(LENGTHS[-1]))
    found = tv_from_loss(_coins(rng, 128)[:, -1])
    return found.tv_low > truth, found.tv_low / truth


def _walks(rng: np.random.Generator, n: int, kappa: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores by length with AUC Φ(√(κT)): endpoints of random walks, the generated one with drift."""
    walk = rng.normal(size=(3, n, int(LENGTHS[-1]))).cumsum(axis=2)[:, :, LENGTHS - 1] / np.sqrt(LENGTHS)
    walk[1:] += np.sqrt(2 * kappa * LENGTHS)
    return list(walk[0].T), [np.stack([a, b], axis=1) for a, b in zip(walk[1].T, walk[2].T, strict=True)]


def _horizon(rng: np.random.Generator) -> tuple[bool, float]:
    """H75 of AUC = Φ(√(κT)) with κ = 0.05, read off the grid as the audit does; 54 documents with two continuations."""
    kappa = 0.05
    aucs = special.ndtr(np.sqrt(kappa * LENGTHS))
    truth = horizon(LENGTHS, aucs, level_auc=0.75).value
    assert truth is not None
    limits = _limits(*map(np.stack, _walks(rng, 54, kappa)))
    columns = (np.array([getattr(i, end) for i in limits]) for end in ("value", "low", "high"))
    found = horizon_interval(LENGTHS, *columns, level_auc=0.75)
    low, high = found.low_tokens or 0.0, np.inf if found.high_tokens is None else found.high_tokens
    return not low <= truth <= high, (min(high, float(LENGTHS[-1])) - low) / (2 * truth)


def _hard_documents(rng: np.random.Generator) -> tuple[bool, float]:
    """Loss over the least number of documents that a gate believes, one in ten of them twice as hard; nominal 2.5% a side."""
    n = LEAST_DOCUMENTS
    means = np.where(rng.random(n) < 0.1, 6.0, 3.0) * np.exp(rng.normal(-0.02, 0.2, size=n))
    found = cluster_ratio(means, np.ones(n), np.arange(n))
    return found.high < 3.3, (found.high - found.low) / 6.6


def _rare(rng: np.random.Generator) -> Interval:
    expected = rng.gamma(2.0, 5.5 / 96, 48)
    return clustered_rate(rng.poisson(expected).astype(float), expected)


def _rare_low(rng: np.random.Generator) -> tuple[bool, float]:
    """Observed over expected rare tokens, lower limit: 5.5 expected in 48 documents, overdispersed; nominal 2.5% a side."""
    found = _rare(rng)
    return found.low > 1.0, (found.high - found.low) / 2.0


def _rare_high(rng: np.random.Generator) -> tuple[bool, float]:
    """The same, upper limit."""
    found = _rare(rng)
    return found.high < 1.0, (found.high - found.low) / 2.0


def _loss(rng: np.random.Generator) -> tuple[bool, float]:
    """Loss over 64 documents of unequal length, their means skewed: log-normal around 3 nats."""
    sizes = rng.integers(40, 128, size=64)
    means = np.exp(rng.normal(np.log(3) - 0.02, 0.2, size=64))
    sums = means * sizes + np.sqrt(sizes) * rng.normal(size=64)
    found = cluster_ratio(sums, sizes.astype(float), np.arange(64))
    return not found.low <= 3.0 <= found.high, (found.high - found.low) / 6.0


def _near_copies(rng: np.random.Generator) -> tuple[bool, float]:
    """Loss over 64 documents, three in ten of them with a near copy (one word in two hundred replaced) of the same loss; near
    duplicates share a unit."""
    copied = np.repeat(np.arange(64), 1 + (rng.random(64) < 0.3))
    words = rng.integers(0, 1000, size=(64, 120))[copied]
    words = np.where(rng.random(words.shape) < 0.005, 1000, words)
    texts = [" ".join(map(str, row)) for row in words]
    units = units_of_near_duplicates(texts, [str(i) for i in range(len(texts))])
    means = np.exp(rng.normal(np.log(3) - 0.02, 0.2, size=64))[copied]
    found = cluster_ratio(means, np.ones(means.size), np.unique(units, return_inverse=True)[1])
    return not found.low <= 3.0 <= found.high, (found.high - found.low) / 6.0


def _trend(rng: np.random.Generator) -> tuple[bool, float]:
    """Slope over four runs of the same 48 documents that do not differ; their means skewed, each run's own part as large as what
    they share."""
    means = np.exp(rng.normal(np.log(3), 0.2, size=48) + rng.normal(0, 0.2, size=(4, 48)))
    found = contrast_of_ratios(means, np.ones((4, 48)), slope_weights(np.arange(4.0)))
    return not found.low <= 0.0 <= found.high, (found.high - found.low) / 2


def _no_drift(rng: np.random.Generator) -> tuple[bool, float]:
    """Posterior over three sources along 4 own texts of 48 tokens of their mixture: its mean at the end against the band of no
    drift."""
    laws = rng.dirichlet(np.full(20, 2.0), size=3)
    posterior = np.full((4, 49, 3), 1 / 3)
    variance = np.zeros((4, 48))
    for i, t in np.ndindex(4, 48):
        now = posterior[i, t]
        variance[i, t] = one_step(now @ laws, laws, now).variance[0]
        after = now * laws[:, rng.choice(20, p=now @ laws)]
        posterior[i, t + 1] = after / after.sum()
    band = martingale_band(posterior[:, :, 0], variance)
    outside = band.mean[-1] < band.low[-1] - 1e-12 or band.mean[-1] > band.high[-1] + 1e-12
    return bool(outside), float(band.high[-1] - band.low[-1]) * 1.5


def _swaps(rng: np.random.Generator) -> tuple[bool, float]:
    """No difference: two continuations and the real text exchangeable within documents; rejected at 5%."""
    real, free = _scores(rng, 40, 2, 0.0, 0.3)
    p = paired_permutation_p(real, free, n_permutations=199, rng=rng)
    return p <= 0.05, 1.0


def _bets(rng: np.random.Generator) -> tuple[bool, float]:
    """No difference, watched over 100 documents; rejected at 5% at any time."""
    real, free = _scores(rng, 100, 2, 0.0, 0.3)
    return betting_wealth(real, free).rejected_after is not None, 1.0


def _endings(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loops at hazard 0.002 a token against ends at 0.001, followed for 128 tokens: 64 documents, two continuations each; loops of
    both at once in a tenth of the documents."""
    loop, end = (np.floor(np.log(rng.random((64, 2))) / np.log1p(-h)) + 1 for h in (_LOOP_HAZARD, _END_HAZARD))
    shared = rng.random(64) < 0.1
    loop[shared, 1] = loop[shared, 0]
    time = np.minimum(np.minimum(loop, end), 128).astype(np.int64)
    cause = np.where((loop <= end) & (loop <= 128), LOOP, np.where(end <= 128, END_OF_TEXT, CENSORED))
    return time.ravel(), cause.ravel(), np.repeat(np.arange(64), 2)


def _incidence(rng: np.random.Generator) -> tuple[bool, float]:
    """Loop by 128 tokens at hazard 0.002 with ends at 0.001 competing; 64 documents, two partly dependent continuations."""
    time, cause, groups = _endings(rng)
    found = cumulative_incidence(time, cause, groups=groups, event=LOOP)
    # a tie of both goes to the loop: it wins each token with h, and the race goes on with (1 − h)(1 − e)
    goes_on = (1 - _LOOP_HAZARD) * (1 - _END_HAZARD)
    truth = _LOOP_HAZARD * (1 - goes_on**128) / (1 - goes_on)
    low, high = float(found.low[-1]), float(found.high[-1])
    return not low <= truth <= high, (high - low) / (2 * truth)


def _hazard(rng: np.random.Generator) -> tuple[bool, float]:
    """Loops per token at risk, 0.002, in the same texts."""
    time, cause, groups = _endings(rng)
    found = hazard_per_token(time, cause, groups=groups, event=LOOP)
    return not found.low <= _LOOP_HAZARD <= found.high, (found.high - found.low) / (2 * _LOOP_HAZARD)


STATISTICS: dict[str, tuple[float, Draw]] = {
    "AUC interval (score limits)": (0.05, _auc_interval),
    "TV lower bound of a detector": (0.05, _tv_from_detector),
    "TV lower band from losses, six lengths": (0.05, _tv_from_loss_band),
    "TV lower bound from losses, all thresholds": (0.05, _tv_from_loss_uniform),
    "H75 interval (limits of the AUC)": (0.05, _horizon),
    "loop incidence (Aalen–Johansen, clustered)": (0.05, _incidence),
    "loop hazard (Korn–Graubard)": (0.05, _hazard),
    "loss interval (document-clustered t)": (0.05, _loss),
    "loss interval, upper limit, one document in ten twice as hard": (0.025, _hard_documents),
    "rare tokens, lower limit (Poisson)": (0.025, _rare_low),
    "rare tokens, upper limit (Poisson)": (0.025, _rare_high),
    "loss interval, near copies among the documents": (0.05, _near_copies),
    "slope over four runs, no trend": (0.05, _trend),
    "mean posterior outside the band of no drift": (0.05, _no_drift),
    "swap test, no difference": (0.05, _swaps),
    "betting, no difference, any time": (0.05, _bets),
}


def coverage(name: str, *, runs: int, seed: int = 0) -> Coverage:
    """Simulate one of `STATISTICS` and count its misses."""
    nominal, draw = STATISTICS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    found = [draw(rng) for _ in range(runs)]
    misses = sum(missed for missed, _ in found)
    upper = clopper_pearson_high(misses, runs, alpha=0.05)
    return Coverage(
        name, nominal, runs, misses, upper, float(np.median([r for _, r in found])), (draw.__doc__ or "").strip()
    )


def rate(c: Coverage) -> str:
    """The miss rate in words."""
    i = clopper_pearson(c.misses, c.runs)
    return f"{i.value:.1%} ({i.low:.1%} to {i.high:.1%})"
