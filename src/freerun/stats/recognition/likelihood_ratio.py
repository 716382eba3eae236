"""The likelihood ratio of a model against a reference: what anyone who knows both laws could say of a text.

Under the model's own sampling prod_t r_t/q_t is a martingale (a supermartingale where the reference has mass that the model
lacks), so by Ville's inequality p = min(1, min_t prod_{s<=t} q_s/r_s) is a p-value at any stopping time: P(p <= a) <= a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError
from freerun.stats.intervals import Interval, clopper_pearson


@dataclass(frozen=True)
class LikelihoodRatio:
    """Per text: sum of ln q - ln r, and the any-time p-value of "the model wrote it".

    `sum_nats` is minus infinity where the model gives a token no mass (`n_impossible` texts; p = 0), plus infinity where only
    the reference does (`n_unknown` texts; they are never rejected from there on).
    """

    sum_nats: Float[np.ndarray, " sequences"]
    p_any_time: Float[np.ndarray, " sequences"]
    n_impossible: int
    n_unknown: int

    def rejected(self, alpha: float = 0.05, *, level: float = 0.95) -> Interval:
        """Share of texts with p <= alpha, Clopper-Pearson; at most alpha of the model's own texts."""
        hits = int(np.count_nonzero(self.p_any_time <= alpha))
        return clopper_pearson(hits, self.p_any_time.size, level=level)


def likelihood_ratio(
    log_prob_nats: Float[np.ndarray, " tokens"],
    reference_log_prob_nats: Float[np.ndarray, " tokens"],
    sequence_index: Int[np.ndarray, " tokens"],
    n_sequences: int,
) -> LikelihoodRatio:
    """Return the likelihood ratio of every text; tokens of a text must stand in their order and together.

    The reference must be predictable (each r_t a law that depends on the tokens before t only) and fixed before the text.

    Raises DataError for NaN, shapes that do not fit, or sequences that are not in ascending order.

    >>> ratio = likelihood_ratio(np.log([0.1, 0.5]), np.log([0.4, 0.1]), np.zeros(2, int), 1)
    >>> round(float(ratio.p_any_time[0]), 4), round(float(np.exp(ratio.sum_nats[0])), 4)
    (0.25, 1.25)
    """
    q, r = np.asarray(log_prob_nats, np.float64), np.asarray(reference_log_prob_nats, np.float64)
    if q.shape != r.shape or q.shape != np.shape(sequence_index) or np.isnan(q).any() or np.isnan(r).any():
        raise DataError("log-probs under model and reference must be as long as the index, without NaN")
    if q.size and (np.diff(sequence_index) < 0).any():
        raise DataError("sequences must stand one after another, in ascending order")
    total, least = np.zeros(n_sequences), np.zeros(n_sequences)
    impossible = np.isneginf(q)
    unknown = np.isneginf(r) & ~impossible
    step = np.where(impossible | unknown, 0.0, np.where(impossible, 0.0, q) - np.where(np.isneginf(r), 0.0, r))
    # before a text's first token without mass its path counts as it is; there it jumps for good
    starts = np.searchsorted(sequence_index, np.arange(n_sequences + 1))
    for i in range(n_sequences):
        rows = slice(int(starts[i]), int(starts[i + 1]))
        path = np.cumsum(step[rows])
        lost, beyond = np.flatnonzero(impossible[rows]), np.flatnonzero(unknown[rows])
        if beyond.size:
            path[beyond[0] :] = np.inf
        if lost.size:
            path[lost[0] :] = -np.inf
        total[i] = path[-1] if path.size else 0.0
        least[i] = min(0.0, float(path.min())) if path.size else 0.0
    return LikelihoodRatio(
        sum_nats=total,
        p_any_time=np.exp(least),
        n_impossible=int(np.isneginf(total).sum()),
        n_unknown=int(np.isposinf(total).sum()),
    )
