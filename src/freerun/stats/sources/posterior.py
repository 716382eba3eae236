"""The posterior over sources: which of a few predictors wrote the tokens, after each of them.

π_t(s) ∝ π_0(s) · q(x_≤t | s)^β. A source may speak in several ways (header templates): which one is a nuisance latent, so that
q(x_≤t | s) = mean_j q(x_≤t | h_sj): likelihoods are averaged, not posteriors. β = 1 is Bayes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.errors import DataError

NATS_TO_BITS = float(1 / np.log(2))


@dataclass(frozen=True)
class SourcePath:
    """A posterior after 0, 1, … tokens, and what each token did to it.

    `posterior[t]` is after t tokens, `entropy_bits[t]` its entropy. `information_bits[t]` is KL(π_{t+1} ‖ π_t), what token t told:
    at least 0, and under the mixture's own law its expectation is the mutual information of token and source. `shift[t]` is the
    total variation between the two, the share of belief that moved.
    """

    posterior: Float[np.ndarray, "tokens_1 sources"]
    entropy_bits: Float[np.ndarray, " tokens_1"]
    information_bits: Float[np.ndarray, " tokens"]
    shift: Float[np.ndarray, " tokens"]


def cumulative_likelihood(
    log_probs_nats: Float[np.ndarray, "templates tokens"],
) -> Float[np.ndarray, " tokens_1"]:
    """Return ln q(x_≤t | s) after 0, 1, … tokens from the log-probabilities of each token after each header of one source.

    The likelihoods of whole beginnings are averaged, so that a header that foretells the text better weighs more as it goes on.

    Raises DataError for no templates or NaN.

    >>> cumulative_likelihood(np.log([[0.5, 0.5], [0.1, 0.1]])).round(4).tolist()
    [0.0, -1.204, -2.0402]
    """
    return np.asarray(special.logsumexp(_sums(log_probs_nats), axis=0) - np.log(len(log_probs_nats)))


def template_weights(log_probs_nats: Float[np.ndarray, "templates tokens"]) -> Float[np.ndarray, "templates tokens_1"]:
    """Return the posterior over the templates of one source after 0, 1, … tokens; their prior is uniform.

    The next-token law of the source is the mixture of its templates' laws with these weights.

    Raises DataError as `cumulative_likelihood` does, and where every template finds the text impossible.
    """
    sums = _sums(log_probs_nats)
    total = special.logsumexp(sums, axis=0)
    if np.isneginf(total).any():
        raise DataError("no template of a source can write this text: it has no posterior over templates")
    return np.asarray(np.exp(sums - total))


def source_path(
    prior: Float[np.ndarray, " sources"],
    log_likelihood_nats: Float[np.ndarray, "sources tokens_1"],
    *,
    beta: float = 1.0,
) -> SourcePath:
    """Return the posterior after every number of tokens.

    `log_likelihood_nats[s, t]` is ln q(x_≤t | s), −inf where the source cannot write it; column 0 is 0.

    Raises DataError for a prior that is not a law, a negative β, NaN, or a text that no source with a prior can write.

    >>> path = source_path(np.array([0.5, 0.5]), np.log([[1, 0.5, 0.25], [1, 0.5, 0.75]]))
    >>> path.posterior[:, 0].tolist(), path.information_bits.round(3).tolist()
    ([0.5, 0.5, 0.25], [0.0, 0.189])
    """
    posterior = posterior_of(prior, np.asarray(log_likelihood_nats).T, beta=beta)
    return SourcePath(posterior, entropy_bits(posterior), information_bits(posterior), shifts(posterior))


def posterior_of(
    prior: Float[np.ndarray, " sources"], log_likelihood_nats: Float[np.ndarray, "*rows sources"], *, beta: float = 1.0
) -> Float[np.ndarray, "*rows sources"]:
    """Return π ∝ π_0 q^β for rows of log-likelihoods.

    Raises DataError as `source_path` does.
    """
    weights = np.asarray(prior, np.float64)
    if not ((weights >= 0).all() and np.isclose(weights.sum(), 1, atol=1e-9)):
        raise DataError(f"a prior has no negative entry and sums to 1, not to {weights.sum():.6g}")
    if not (np.isfinite(beta) and beta >= 0):
        raise DataError(f"β = {beta} must be a finite number ≥ 0")
    values = np.asarray(log_likelihood_nats, np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        raise DataError("log-likelihoods must be numbers or −inf")
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = np.log(weights) + np.where(np.isneginf(values), values, beta * values)
    total = special.logsumexp(joint, axis=-1, keepdims=True)
    if np.isneginf(total).any():
        raise DataError("no source with a prior can write this text, so no posterior follows")
    return np.asarray(np.exp(joint - total))


def entropy_bits(posterior: Float[np.ndarray, "*rows sources"]) -> Float[np.ndarray, "*rows"]:
    """Return the entropy of each row, bits.

    >>> entropy_bits(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    return np.asarray(special.entr(posterior).sum(axis=-1) * NATS_TO_BITS)


def information_bits(posterior: Float[np.ndarray, "tokens_1 sources"]) -> Float[np.ndarray, " tokens"]:
    """Return KL(π_{t+1} ‖ π_t) of consecutive rows, bits."""
    return np.asarray(special.rel_entr(posterior[1:], posterior[:-1]).sum(axis=-1) * NATS_TO_BITS)


def shifts(posterior: Float[np.ndarray, "tokens_1 sources"]) -> Float[np.ndarray, " tokens"]:
    """Return the total variation between consecutive rows: the share of belief that each token moved."""
    return np.asarray(0.5 * np.abs(np.diff(posterior, axis=0)).sum(axis=1))


def tokens_until_sure(posterior: Float[np.ndarray, "tokens_1 sources"], *, level: float = 0.9) -> int | None:
    """Return after how many tokens some source first has at least `level`; None if none ever has.

    >>> tokens_until_sure(np.array([[0.5, 0.5], [0.95, 0.05], [0.6, 0.4]]))
    1
    """
    sure = np.flatnonzero((posterior >= level).any(axis=1))
    return int(sure[0]) if sure.size else None


def tokens_until_settled(posterior: Float[np.ndarray, "tokens_1 sources"], *, level: float = 0.9) -> int | None:
    """Return after how many tokens the last source has `level` and keeps it to the end; None if it has not got it there.

    >>> tokens_until_settled(np.array([[0.95, 0.05], [0.6, 0.4], [0.05, 0.95], [0.08, 0.92]]))
    2
    """
    last = int(np.argmax(posterior[-1]))
    below = np.flatnonzero(posterior[:, last] < level)
    start = int(below[-1]) + 1 if below.size else 0
    return start if start < len(posterior) else None


def strongest(shift: Float[np.ndarray, " tokens"], n: int) -> Int[np.ndarray, " taken"]:
    """Return the indices of the up to n largest shifts above 0, largest first, ties to the earlier."""
    order = np.argsort(-np.asarray(shift), kind="stable")[:n]
    return np.asarray(order[np.asarray(shift)[order] > 0])


def _sums(log_probs_nats: Float[np.ndarray, "templates tokens"]) -> Float[np.ndarray, "templates tokens_1"]:
    values = np.asarray(log_probs_nats, np.float64)
    if values.ndim != 2 or not len(values) or np.isnan(values).any() or (values > 1e-6).any():
        raise DataError("log-probabilities of templates × tokens must be at most 0, of at least one template")
    return np.hstack([np.zeros((len(values), 1)), np.cumsum(values, axis=1)])
