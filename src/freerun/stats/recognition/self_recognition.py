"""Does a text look like the model's own? Martingale z, PIT values and an e-process.

Under the model's own sampling D_t = -ln q_t(x_t) - H_t has mean 0 and variance V_t = sum_v q ln^2 q - H_t^2 given the
past. So these are also an audit of the sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.errors import DataError
from freerun.stats.intervals import linearised_ratio, t_quantile


@dataclass(frozen=True)
class SelfRecognition:
    """z of each text and of all together under "the model wrote it at temperature 1".

    `z_per_sequence` is NaN where the summed variance is too small (inside loops; `n_flat` of them) or where the text
    holds a token that the model gives probability 0 (`n_impossible`). `mean` and `sd` are over the other `n`
    sequences and should be 0 and 1 (None for fewer than 2). `z_total` leaves out the impossible ones; if there are
    any, `p_two_sided` is 0. Where the variance of all of them together is too small (laws without varentropy, as a fair
    coin's) there is nothing to compare: `z_total` is None and `p_two_sided` 1.
    """

    z_per_sequence: Float[np.ndarray, " sequences"]
    z_total: float | None
    p_two_sided: float
    mean: float | None
    sd: float | None
    n: int
    n_flat: int
    n_impossible: int


def self_z(
    log_prob_nats: Float[np.ndarray, " tokens"],
    entropy_nats: Float[np.ndarray, " tokens"],
    varentropy_nats2: Float[np.ndarray, " tokens"],
    sequence_index: Int[np.ndarray, " tokens"],
    n_sequences: int,
    *,
    min_variance_nats2: float = 1e-3,
) -> SelfRecognition:
    """Return z = sum D / sqrt(sum V) per sequence and over all tokens, with its two-sided normal p-value.

    `varentropy_nats2` is V_t itself. Positive z: the text is more surprising than the model's own would be. The normal
    law is asymptotic in tokens; on real text the p-value tests "this model wrote it", not "these documents are
    typical".

    Raises DataError for columns that hold NaN.

    >>> self_z(np.array([-1.0, -3.0]), np.ones(2), np.ones(2), np.zeros(2, int), 1).z_total
    1.414213562373095
    """
    columns = (log_prob_nats, entropy_nats, varentropy_nats2)
    if any(np.isnan(column).any() for column in columns):
        raise DataError("log-prob, entropy or varentropy holds NaN; a z needs the whole law of every token")
    impossible = np.isneginf(log_prob_nats)
    blocked = np.bincount(sequence_index[impossible], minlength=n_sequences) > 0
    gain = np.where(impossible, 0.0, -log_prob_nats - entropy_nats)
    drift = np.bincount(sequence_index, weights=gain, minlength=n_sequences)
    variance = np.bincount(sequence_index, weights=varentropy_nats2, minlength=n_sequences)
    flat = ~blocked & (variance < min_variance_nats2)
    usable = ~blocked & ~flat
    z = np.full(n_sequences, np.nan)
    z[usable] = drift[usable] / np.sqrt(variance[usable])
    total = float(variance[~blocked].sum())
    z_total = float(drift[~blocked].sum()) / total**0.5 if total >= min_variance_nats2 else None
    n = int(usable.sum())
    return SelfRecognition(
        z_per_sequence=z,
        z_total=z_total,
        p_two_sided=0.0 if blocked.any() else 1.0 if z_total is None else float(2.0 * special.ndtr(-abs(z_total))),
        mean=float(z[usable].mean()) if n >= 2 else None,
        sd=float(z[usable].std(ddof=1)) if n >= 2 else None,
        n=n,
        n_flat=int(flat.sum()),
        n_impossible=int(blocked.sum()),
    )


@dataclass(frozen=True)
class PitHistogram:
    """Share of PIT values in each bin, with an interval clustered by sequence."""

    share: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]


def pit_histogram(
    pit: Float[np.ndarray, " tokens"],
    sequence_index: Int[np.ndarray, " tokens"],
    *,
    n_bins: int = 20,
    level: float = 0.95,
) -> PitHistogram | None:
    """PIT values u = F_t(<x) + U q_t(x), uniform under the model's own sampling; None for a single text or under 5 tokens a bin.

    Raises DataError for values outside [0, 1].
    """
    if not ((pit >= 0) & (pit <= 1)).all():
        raise DataError("PIT values must lie in [0, 1]")
    labels, index = np.unique(sequence_index, return_inverse=True)
    if pit.size < 5 * n_bins or labels.size < 2:
        return None
    bins = np.minimum((pit * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(index * n_bins + bins, minlength=labels.size * n_bins).reshape(labels.size, n_bins)
    lengths = counts.sum(axis=1).astype(np.float64)
    share, error = linearised_ratio(counts.T.astype(np.float64), np.tile(lengths, (n_bins, 1)))
    half = t_quantile(labels.size, level) * error
    return PitHistogram(share, np.maximum(share - half, 0.0), np.minimum(share + half, 1.0))


@dataclass(frozen=True)
class EProcess:
    """Log e-values per sequence, in nats: at its end, and the largest on the way.

    Under the model's own sampling P(end >= ln 1/a) <= a (Markov) and P(largest >= ln 1/a) <= a (Ville). Plus infinity
    where the text holds a token of probability 0.
    """

    log_e_end: Float[np.ndarray, " sequences"]
    log_e_max: Float[np.ndarray, " sequences"]


def e_process_log(
    log_prob_nats: Float[np.ndarray, " tokens"],
    log_power_sum: Float[np.ndarray, "tokens n_lambda"],
    lambdas: Float[np.ndarray, " n_lambda"],
    sequence_index: Int[np.ndarray, " tokens"],
    n_sequences: int,
) -> EProcess:
    """Return ln of the mean over lambda of prod_t q_t(x_t)^-lambda / sum_v q_t(v)^(1-lambda), per sequence.

    `log_power_sum[t, j]` is ln sum_v q_t(v)^(1 - lambdas[j]). Tokens of a sequence must stand in their order; sequences
    may be interleaved. A sequence without tokens has e = 1.

    Raises DataError for NaN, or shapes that do not fit.
    """
    lambdas = np.asarray(lambdas, dtype=np.float64)
    if log_power_sum.shape != (log_prob_nats.size, lambdas.size) or lambdas.size == 0:
        raise DataError(f"log_power_sum has shape {log_power_sum.shape}; {log_prob_nats.size} tokens x {lambdas.size}")
    if np.isnan(log_prob_nats).any() or np.isnan(log_power_sum).any():
        raise DataError("log-prob or log_power_sum holds NaN; an e-process needs every token")
    end, peak = np.zeros(n_sequences), np.zeros(n_sequences)
    if log_prob_nats.size == 0:
        return EProcess(end, peak)
    order = np.argsort(sequence_index, kind="stable")
    sequence = sequence_index[order]
    starts = np.flatnonzero(np.concatenate(([True], sequence[1:] != sequence[:-1])))
    owners = sequence[starts]
    lengths = np.diff(np.concatenate((starts, [sequence.size])))
    impossible = np.isneginf(log_prob_nats)
    mixed = np.full(sequence.size, -np.inf)
    for j, power in enumerate(lambdas.tolist()):  # one lambda at a time: columns may hold millions of tokens
        steps = np.where(impossible, 0.0, -power * np.where(impossible, 0.0, log_prob_nats) - log_power_sum[:, j])
        path = np.cumsum(steps[order])
        path -= np.repeat(path[starts] - steps[order][starts], lengths)
        np.logaddexp(mixed, path, out=mixed)
    mixed -= np.log(lambdas.size)
    end[owners] = mixed[starts + lengths - 1]
    peak[owners] = np.maximum(np.maximum.reduceat(mixed, starts), 0.0)
    if (lambdas > 0).any():
        refuted = sequence_index[impossible]
        end[refuted] = peak[refuted] = np.inf
    return EProcess(end, peak)


@dataclass(frozen=True)
class MonteCarloRank:
    """Where a text stands among fresh samples of the same prefix, over many prefixes.

    `mean_rank` is the mean share of samples that score below it (ties half): 1/2 if the model wrote the text. `p_two_sided` is
    exact for any score and any number of tokens.
    """

    mean_rank: float
    p_two_sided: float
    n: int
    n_samples: int


def monte_carlo_rank(
    score: Float[np.ndarray, " prefixes"], sampled: Float[np.ndarray, "prefixes samples"]
) -> MonteCarloRank:
    """Rank each text's score among those of samples from the same prefix; where no z exists (loops) this still holds.

    If the model wrote the text, it and its prefix's samples are exchangeable: each of the 1 + samples is as likely to be "the
    text". So the law of the sum of its ranks, given the scores, is a convolution of the mid-ranks in each prefix, and exact.

    Raises DataError for NaN, no prefixes or no samples.

    >>> monte_carlo_rank(np.array([3.0, 3.0]), np.array([[1.0, 2.0], [0.0, 1.0]])).p_two_sided
    0.2222222222222222
    """
    if sampled.ndim != 2 or score.shape != sampled.shape[:1] or 0 in sampled.shape:
        raise DataError(f"{score.shape} texts and samples of shape {sampled.shape} do not fit")
    pooled = np.concatenate((score[:, None], sampled), axis=1)
    if np.isnan(pooled).any():
        raise DataError("scores hold NaN; a rank needs a number for every text")
    samples = sampled.shape[1]
    # twice the mid-rank from 0: whole numbers 0 .. 2 samples
    doubled = (pooled[:, :, None] > pooled[:, None, :]).sum(2) + (pooled[:, :, None] >= pooled[:, None, :]).sum(2) - 1
    law = np.ones(1)
    for row in doubled:
        law = np.convolve(law, np.bincount(row, minlength=2 * samples + 1) / (samples + 1))
    total = int(doubled[:, 0].sum())
    below, above = float(law[: total + 1].sum()), float(law[total:].sum())
    n = len(score)
    return MonteCarloRank(total / (2 * samples * n), min(1.0, 2 * min(below, above)), n, samples)
