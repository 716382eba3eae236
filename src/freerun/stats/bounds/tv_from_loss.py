"""A lower bound on the total variation from losses alone, teacher-forced: no text is generated.

On real documents let L = ln r - ln q of a whole continuation, r any reference that was fixed before these documents were seen.
If the documents came from q, L >= ln c would have probability at most 1/c (Markov: the mean of r/q under q is at most 1). So
TV(P, Q) >= P(L >= ln c) - 1/c, and P(L >= ln c) is counted. P and Q are joint laws of prefix and continuation, so that the
total variation is the mean over real prefixes.

L may be infinite: plus where q gives a real token no mass (an event that q never makes), minus where only r does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import checked_level, clopper_pearson_low

MIN_DOCUMENTS = 4

_DOCUMENTS = (
    "independent documents from one source; a reference with at most unit mass, fixed before the test documents were seen, as was "
    "the model; fixed n. Averages over real prefixes; one-sided; zero proves nothing"
)


@dataclass(frozen=True)
class TvFromLoss:
    """A one-sided lower confidence limit of the total variation at one length.

    `threshold_nats` is ln c, `count` the documents that reach it; the threshold is None (count 0) where nothing is proven.
    """

    tv_low: float
    threshold_nats: float | None
    count: int
    level: float
    n: int
    method: str = "largest empirical tail - 1/c, one-sided Dvoretzky-Kiefer-Wolfowitz (Massart 1990), uniform in c"
    licence: str = _DOCUMENTS


@dataclass(frozen=True)
class TvFromLossBand:
    """Lower limits of the total variation at several lengths, all valid at once at `level`.

    `tv_low` never falls (a longer text is never harder to tell apart); `tv_low_alone` is what each length proves by itself.
    `threshold_nats` is ln c as chosen on the training documents, NaN where they gave none; `count` of `n_test` reach it.
    """

    lengths: Int[np.ndarray, " lengths"]
    tv_low: Float[np.ndarray, " lengths"]
    tv_low_alone: Float[np.ndarray, " lengths"]
    threshold_nats: Float[np.ndarray, " lengths"]
    count: Int[np.ndarray, " lengths"]
    level: float
    n_train: int
    n_test: int
    method: str = (
        "c chosen on training documents; Clopper-Pearson lower limit of the test share at (1 - level)/lengths each, "
        "minus 1/c; running maximum"
    )
    licence: str = _DOCUMENTS


def tv_from_loss(gains_nats: Float[np.ndarray, " documents"], *, level: float = 0.95) -> TvFromLoss:
    """Return max over c of [share of documents with L >= ln c] - 1/c - sqrt(ln(1/alpha)/2n), 0 if negative.

    Needs no training documents; `tv_from_loss_band` is sharper where there are some. `gains_nats` are L, one a document.

    Raises TooFewDocuments for fewer than 4 documents, DataError for NaN or a level outside [1/2, 1).

    >>> round(tv_from_loss(np.full(100, 5.0)).tv_low, 3)
    0.871
    """
    gains = _checked("gains_nats", np.asarray(gains_nats, dtype=np.float64)[:, None])[:, 0]
    if checked_level(level) < 0.5:
        raise DataError(f"level is {level}; the one-sided band holds from 0.5 on")
    slack = math.sqrt(-math.log(1.0 - level) / (2.0 * gains.size))
    tops = np.sort(gains)[::-1]
    proven = np.arange(1, gains.size + 1) / gains.size - np.exp(-np.maximum(tops, 0.0)) - slack
    best = int(np.argmax(proven))
    if proven[best] <= 0.0:
        return TvFromLoss(0.0, None, 0, level, gains.size)
    return TvFromLoss(float(proven[best]), float(tops[best]), best + 1, level, gains.size)


def tv_from_loss_band(
    train_nats: Float[np.ndarray, "train lengths"],
    test_nats: Float[np.ndarray, "test lengths"],
    lengths: Int[np.ndarray, " lengths"],
    *,
    level: float = 0.95,
) -> TvFromLossBand:
    """Return, at each length, CP_low(share of test documents with L >= ln c) - 1/c with c fixed on the training documents.

    `train_nats`, `test_nats` are L summed over the first `lengths[j]` tokens, one row a document.

    Raises TooFewDocuments for fewer than 4 documents on a side, DataError for NaN, shapes that do not fit or lengths that do
    not ascend.
    """
    train = _checked("train_nats", np.asarray(train_nats, dtype=np.float64))
    test = _checked("test_nats", np.asarray(test_nats, dtype=np.float64))
    lengths = np.asarray(lengths)
    if lengths.size == 0 or (np.diff(lengths) <= 0).any() or not train.shape[1] == test.shape[1] == lengths.size:
        raise DataError(
            f"lengths are {lengths.tolist()} for {train.shape[1]} and {test.shape[1]} columns; they must ascend, one a column"
        )
    alpha = (1.0 - checked_level(level)) / lengths.size
    thresholds = np.array([_threshold(column, alpha) for column in train.T])
    counts = (test >= np.where(np.isnan(thresholds), np.inf, thresholds)).sum(axis=0)
    counts[np.isnan(thresholds)] = 0
    alone = [_proven(int(k), len(test), t, alpha) for k, t in zip(counts, thresholds, strict=True)]
    return TvFromLossBand(
        lengths=lengths,
        tv_low=np.maximum.accumulate(alone),
        tv_low_alone=np.array(alone),
        threshold_nats=thresholds,
        count=counts,
        level=level,
        n_train=len(train),
        n_test=len(test),
    )


def _threshold(gains: Float[np.ndarray, " documents"], alpha: float) -> float:
    """Return the ln c > 0 that would prove most on these documents; NaN if none is above 0."""
    tops = np.sort(gains[gains > 0.0])[::-1]
    if tops.size == 0:
        return math.nan
    tops = np.where(np.isinf(tops), np.max(tops[np.isfinite(tops)], initial=0.0) + 20.0, tops)  # 1/c below 3e-9
    proven = [
        clopper_pearson_low(i, gains.size, alpha=alpha) - math.exp(-t) for i, t in enumerate(tops.tolist(), start=1)
    ]
    return float(tops[int(np.argmax(proven))])


def _proven(count: int, n: int, threshold_nats: float, alpha: float) -> float:
    if math.isnan(threshold_nats):
        return 0.0
    return max(0.0, clopper_pearson_low(count, n, alpha=alpha) - math.exp(-threshold_nats))


def _checked(name: str, gains: Float[np.ndarray, "documents lengths"]) -> Float[np.ndarray, "documents lengths"]:
    if gains.ndim != 2 or np.isnan(gains).any():
        raise DataError(f"{name} of shape {gains.shape} must hold one row a document and no NaN")
    if len(gains) < MIN_DOCUMENTS:
        raise TooFewDocuments(
            f"{name} holds {counted(len(gains), 'document')}; a bound over documents needs at least {MIN_DOCUMENTS}"
        )
    return gains
