"""Which of many laws wrote the tokens? Chosen on half of the sequences, tested on the other half.

Limits of a support (top-k, top-p, min-p) are non-regular parameters, so no information criterion holds. The likelihood ratio of a
law that was chosen on other sequences against the declared law is an e-value whatever was tried and however it was chosen
(universal inference: Wasserman, Ramdas & Balakrishnan 2020, PNAS 117:16880).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import Interval, cluster_ratio

MIXED_IN = 1e-4
"""Share of the model's untruncated law in every candidate, so that one stray token does not rule it out."""
MOST_MIXED_IN = 0.05
STEP_NATS = 6.0
"""What a further step must gain on the fitting half, so that noise adds none."""
ALSO_FITS_NATS = 3.0
"""Candidates as near as this to the best over all sequences cannot be told from it."""


@dataclass(frozen=True)
class Fit:
    """The candidate chosen on the fitting half, and what it gains over the declared law on the other half, nats."""

    candidate: int
    log_e: float
    """Natural logarithm of the e-value."""
    gain_nats: Interval | None
    """A token of the other half; None with fewer than two sequences."""
    also: tuple[int, ...]
    n_fit: int
    n_test: int


def mixed_in_at(floor_nats: float) -> float:
    """Share of the untruncated law where two right computations of one law differ by so many nats (root mean square).

    Noise carries about that share of the mass near a cut across it. With less mixed in, the few tokens that an engine draws just
    outside the right cut would speak for a wider one. It is fixed before the tokens are looked at, so the e-value stays one.

    >>> mixed_in_at(0.0), mixed_in_at(0.003), mixed_in_at(0.2)
    (0.0001, 0.003, 0.05)
    """
    return min(max(MIXED_IN, floor_nats), MOST_MIXED_IN)


def smoothed(
    log_prob: Float[np.ndarray, "tokens candidates"], plain: Float[np.ndarray, " tokens"], mixed_in: float = MIXED_IN
) -> Float[np.ndarray, "tokens candidates"]:
    """Candidates with a little of the model's own law in them."""
    return np.asarray(np.logaddexp(np.log1p(-mixed_in) + log_prob, np.log(mixed_in) + plain[:, None], dtype=np.float64))


def halves(sequences: Int[np.ndarray, " tokens"], seed: int) -> Bool[np.ndarray, " tokens"]:
    """Whether each token's sequence is of the fitting half; the other half is for the test."""
    labels, index = np.unique(sequences, return_inverse=True)
    order = np.random.default_rng([seed, 2]).permutation(len(labels))
    return np.asarray(order[index] < len(labels) // 2)


def fit_and_test(
    candidates: Float[np.ndarray, "tokens candidates"],
    declared: Float[np.ndarray, " tokens"],
    n_steps: Int[np.ndarray, " candidates"],
    sequences: Int[np.ndarray, " tokens"],
    fit: Bool[np.ndarray, " tokens"],
) -> Fit:
    """Choose by likelihood on the tokens of `fit`, `STEP_NATS` off for each step of a candidate; test on the others.

    `candidates` and `declared` are log-probabilities (nats), smoothed. Raises TooFewDocuments where a half has no sequence.
    """
    if not fit.any() or fit.all():
        raise TooFewDocuments(
            "a cause is fitted on half of the sequences and tested on the others: at least 2 are needed"
        )
    chosen = int(np.argmax(candidates[fit].sum(axis=0) - STEP_NATS * n_steps))
    gain = candidates[~fit, chosen] - declared[~fit]
    of = sequences[~fit]
    try:
        interval = cluster_ratio(gain, np.ones(len(gain)), of)
    except TooFewDocuments:
        interval = None
    total = candidates.sum(axis=0) - STEP_NATS * n_steps
    near = np.flatnonzero(total >= total[chosen] - ALSO_FITS_NATS)
    also = tuple(int(j) for j in near[np.argsort(-total[near])] if j != chosen)
    return Fit(chosen, float(gain.sum()), interval, also, int(fit.sum()), int((~fit).sum()))
