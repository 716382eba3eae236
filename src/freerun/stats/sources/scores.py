"""How good a posterior over sources is on labelled texts: proper scores, a fitted exponent, and what permuted headers give.

One text is one observation; texts of one group (author, say) may depend on each other, groups are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, cluster_ratio, group_index, t_quantile
from freerun.stats.sources.posterior import posterior_of

MOST_BETA = 10.0
FLOOR = 1e-300
"""A posterior of 0 for the truth costs 690 nats, not infinitely many, so that one text does not hide all others."""


@dataclass(frozen=True)
class LabelScores:
    """Means over texts, intervals clustered by group. `log_score_nats`: −ln of the probability of the truth (Good 1952), smaller is
    better; `brier`: Σ_s (π(s) − 1{s true})² (Brier 1950); `accuracy`: how often the most probable value is the truth."""

    log_score_nats: Interval
    brier: Interval
    accuracy: Interval


def label_scores(
    posterior: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    groups: Int[np.ndarray, " texts"],
    *,
    level: float = 0.95,
) -> LabelScores:
    """Score the posteriors of texts whose value is known; ties in the most probable value count as shared.

    Raises TooFewDocuments for fewer than two groups, DataError for shapes that do not fit.

    >>> found = label_scores(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]), np.array([0, 1]))
    >>> round(found.log_score_nats.value, 4), found.brier.value, found.accuracy.value
    (0.3466, 0.25, 0.75)
    """
    _check(posterior, truth)
    one, at = np.ones(len(truth)), np.arange(len(truth))
    best = posterior == posterior.max(axis=1, keepdims=True)
    hit = best[at, truth] / best.sum(axis=1)
    target = np.zeros_like(posterior)
    target[at, truth] = 1.0
    return LabelScores(
        cluster_ratio(surprise_of(posterior, truth), one, groups, level=level),
        cluster_ratio(np.square(posterior - target).sum(axis=1), one, groups, level=level),
        cluster_ratio(hit, one, groups, level=level),
    )


def surprise_of(
    posterior: Float[np.ndarray, "texts values"], truth: Int[np.ndarray, " texts"]
) -> Float[np.ndarray, " texts"]:
    """Return −ln π(truth) of each text, nats."""
    return np.asarray(-np.log(np.maximum(posterior[np.arange(len(truth)), truth], FLOOR)))


def fit_beta(
    prior: Float[np.ndarray, " values"],
    log_likelihood_nats: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    weights: Float[np.ndarray, " texts"] | None = None,
) -> float:
    """Return the β in [0, 10] of the smallest mean log score of π ∝ π_0 q^β; the score is convex in β, so there is one.

    Raises DataError for shapes that do not fit, or no texts.
    """
    _check(log_likelihood_nats, truth)
    w = np.ones(len(truth)) if weights is None else weights

    def slope(beta: float) -> float:
        return float(w @ _slopes(prior, log_likelihood_nats, truth, beta)[0])

    if slope(0.0) >= 0:
        return 0.0
    if slope(MOST_BETA) <= 0:
        return MOST_BETA
    return float(optimize.brentq(slope, 0.0, MOST_BETA, xtol=1e-6))


def _slopes(
    prior: Float[np.ndarray, " values"],
    log_likelihood_nats: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    beta: float,
) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
    """How each text's log score changes with β, nats: E_π ln q − ln q(truth); and the variance of that where π is true."""
    impossible = np.isneginf(log_likelihood_nats)
    known = np.where(impossible, 0.0, log_likelihood_nats)
    with np.errstate(divide="ignore"):
        joint = np.where(impossible, -np.inf, np.log(prior) + beta * known)
    p = np.exp(joint - joint.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = (p * known).sum(axis=1)
    return expected - known[np.arange(len(truth)), truth], (p * np.square(known - expected[:, None])).sum(axis=1)


def beta_interval(
    prior: Float[np.ndarray, " values"],
    log_likelihood_nats: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    groups: Int[np.ndarray, " texts"],
    *,
    level: float = 0.95,
) -> Interval:
    """The fitted β with the values that a t test of the mean slope over groups does not reject (a score interval; Rao 1948).

    At the true β the mean slope is 0 whatever n is, while the fitted β is too large in small sets. Its standard error is the
    larger of two: what a true posterior would have over independent texts (the other is too small in sets that happen to lack the
    rare texts that are misjudged), and what is seen between groups.

    Raises TooFewDocuments for fewer than two groups, DataError for shapes that do not fit, or no texts.
    """
    value = fit_beta(prior, log_likelihood_nats, truth)
    index, n_groups = group_index(groups)
    if n_groups < 2:
        raise TooFewDocuments(f"{n_groups} independent units; an interval for β needs at least 2")
    most = t_quantile(n_groups, level)

    def beyond(beta: float, sign: float) -> float:
        slopes, variances = _slopes(prior, log_likelihood_nats, truth, beta)
        seen = np.bincount(index, slopes, n_groups).std(ddof=1) * np.sqrt(n_groups)
        return float(sign * slopes.sum() - most * max(seen, np.sqrt(variances.sum())))

    def end(limit: float, sign: float) -> float:
        if beyond(limit, sign) <= 0 or beyond(value, sign) > 0:  # the fit itself may stand at its limit
            return limit
        return float(optimize.brentq(beyond, value, limit, args=(sign,), xtol=1e-6))

    return Interval(value, end(0.0, -1.0), end(MOST_BETA, 1.0), level, n_groups)


@dataclass(frozen=True)
class FittedBeta:
    """β fitted on all texts with a score interval over groups, and each text's posterior with the β of the other folds."""

    beta: Interval
    posterior: Float[np.ndarray, "texts values"]


def cross_fitted_beta(
    prior: Float[np.ndarray, " values"],
    log_likelihood_nats: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    groups: Int[np.ndarray, " texts"],
    *,
    n_folds: int = 5,
    level: float = 0.95,
    rng: np.random.Generator,
) -> FittedBeta:
    """Fit β by log score; no text is judged with a β that has seen its group.

    Raises TooFewDocuments for fewer than 4 groups.
    """
    index, n_groups = group_index(groups)
    if n_groups < 4:
        raise TooFewDocuments(f"{n_groups} independent units; a fitted β needs at least 4")
    folds = rng.permutation(n_groups) % min(n_folds, n_groups)
    posterior = np.zeros_like(log_likelihood_nats)
    for fold in range(int(folds.max()) + 1):
        held = folds[index] == fold
        beta = fit_beta(prior, log_likelihood_nats[~held], truth[~held])
        posterior[held] = posterior_of(prior, log_likelihood_nats[held], beta=beta)
    return FittedBeta(beta_interval(prior, log_likelihood_nats, truth, groups, level=level), posterior)


@dataclass(frozen=True)
class PermutedHeaders:
    """Accuracy when the headers are dealt to the values at random: mean and middle 95% over the permutations.

    `p_value` is the share of permutations at least as accurate as the headers as they are, these counted in.
    """

    mean: float
    low: float
    high: float
    p_value: float
    n: int


def permuted_headers(
    log_likelihood_nats: Float[np.ndarray, "texts values"],
    truth: Int[np.ndarray, " texts"],
    *,
    n_permutations: int = 500,
    rng: np.random.Generator,
) -> PermutedHeaders:
    """Deal the columns (headers) of the named values to other values and see how often the truth comes first.

    Every header is as probable for every value, so each text is right with probability 1 / values on average, whatever its
    likelihoods (a header that wins always is right where it is dealt to the truth): this is chance.

    Raises DataError for shapes that do not fit.
    """
    _check(log_likelihood_nats, truth)
    n_values = log_likelihood_nats.shape[1]
    best = log_likelihood_nats.argmax(axis=1)
    found = np.array([(rng.permutation(n_values)[best] == truth).mean() for _ in range(n_permutations)])
    own = float((best == truth).mean())
    low, high = (float(np.quantile(found, q)) for q in (0.025, 0.975))
    return PermutedHeaders(
        float(found.mean()), low, high, float((1 + (found >= own).sum()) / (1 + n_permutations)), n_permutations
    )


def _check(table: Float[np.ndarray, "texts values"], truth: Int[np.ndarray, " texts"]) -> None:
    if table.ndim != 2 or len(table) != len(truth) or not len(truth):
        raise DataError(f"{len(truth)} labels do not fit a table of shape {table.shape}, or there are none")
    if truth.min() < 0 or truth.max() >= table.shape[1]:
        raise DataError(f"labels lie outside the {table.shape[1]} values")
