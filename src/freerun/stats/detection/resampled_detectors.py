"""Contrasts of detectability between settings, with the luck of training in the interval.

A detector that was trained on other documents is another detector, and two settings whose texts are equally easy to tell differ by
that luck alone. So training and test documents are resampled together, the same ones for all settings, and every detector is
fitted again on each resample (Efron & Tibshirani 1993, ch. 17).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.stats.detection.logistic import Standardizer, fit_logistic
from freerun.stats.detection.two_sample import training_rows, unit_auc_draws
from freerun.stats.paired import PairedDifference

AT_ONCE = 50
"""Resamples that are fitted together."""


def refitted_auc_draws(
    real_x: Float[np.ndarray, "units d"],
    free_x: Float[np.ndarray, "units reps d"],
    *,
    train: Bool[np.ndarray, " units"],
    penalty: float,
    train_counts: Int[np.ndarray, "resamples train"],
    test_counts: Int[np.ndarray, "resamples test"],
) -> Float[np.ndarray, " resamples"]:
    """Return the AUC (generated above real) of a detector fitted on each resample of training units, on its resample of test units.

    The detector is that of `detect` (standardised on the training units, both kinds of equal weight) with the penalty that it
    chose; a unit that is drawn twice weighs twice, with all its texts. A resample holds fewer different units than the sample, so
    the draws lie a little lower than the AUC itself: their spread is what they are for.

    Raises DataError for counts that do not fit the units.
    """
    n_train, n_test, reps = int(train.sum()), int((~train).sum()), free_x.shape[1]
    if train_counts.shape[1] != n_train or test_counts.shape != (len(train_counts), n_test):
        raise DataError(
            f"counts of shapes {train_counts.shape} and {test_counts.shape} do not fit {n_train} training and {n_test} test units"
        )
    x, y, weights, unit = training_rows(real_x[train], free_x[train])
    standardizer = Standardizer.fit(x)
    x = standardizer.apply(x)
    test_x = standardizer.apply(training_rows(real_x[~train], free_x[~train])[0])
    draws = []
    for start in range(0, len(train_counts), AT_ONCE):
        counts = train_counts[start : start + AT_ONCE][:, unit] * weights
        fit = fit_logistic(x, np.tile(y, (len(counts), 1)), penalty=penalty, weights=counts)
        for row, times in zip(fit.scores(test_x), test_counts[start : start + AT_ONCE], strict=True):
            draws.append(unit_auc_draws(row[:n_test], row[n_test:].reshape(n_test, reps), times[None])[0])
    return np.array(draws)


def resampled_contrast(
    values: Float[np.ndarray, " settings"],
    draws: Float[np.ndarray, "resamples settings"],
    weights: Float[np.ndarray, " settings"],
    *,
    n_documents: int,
    level: float = 0.95,
) -> PairedDifference:
    """Return Σ w_k values_k with the standard error of its draws and a t interval of n − 1 degrees of freedom.

    The draws give the spread alone: their mean is shifted where detectors were fitted on fewer different documents. The spread is
    widened by √(n/(n − 1)), since resampling n documents falls short by that.

    Raises DataError where shapes do not fit or draws are not finite.

    >>> draws = np.array([[0.7, 0.6], [0.8, 0.6]])
    >>> contrast = resampled_contrast(np.array([0.7, 0.6]), draws, np.array([-1.0, 1.0]), n_documents=50)
    >>> round(contrast.value, 3), round(contrast.standard_error, 3)
    (-0.1, 0.071)
    """
    if draws.ndim != 2 or draws.shape[1:] != values.shape or weights.shape != values.shape or len(draws) < 2:
        raise DataError(f"values {values.shape}, draws {draws.shape} and weights {weights.shape} do not fit")
    if not np.isfinite(draws).all():
        raise DataError("a contrast got draws that are not finite; leave such resamples out first")
    value = float(values @ weights)
    error = float((draws @ weights).std(ddof=1) * np.sqrt(n_documents / (n_documents - 1)))
    return PairedDifference.of(value, error, n_documents, level=level)
