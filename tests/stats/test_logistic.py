import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.logistic import Standardizer, best_penalty, cross_fitted_scores, fit_logistic


def problem(seed: int, n: int = 80, d: int = 5, batch: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = (x @ rng.normal(size=(d, batch)) + rng.normal(size=(n, batch)) > 0.5).T.astype(float)
    return x, y, rng.uniform(0, 2, (batch, n))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 50.0])
def test_the_fit_is_sklearns(penalty: float) -> None:
    x, y, weights = problem(1)
    ours = fit_logistic(x, y, penalty=penalty, weights=weights)
    for j in range(3):
        golden = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        golden.fit(x, y[j], sample_weight=weights[j])
        assert ours.coefficients[j] == pytest.approx(golden.coef_[0], abs=1e-6)
        assert ours.intercept[j] == pytest.approx(golden.intercept_[0], abs=1e-6)
        assert ours.scores(x)[j] == pytest.approx(golden.decision_function(x), abs=1e-5)


def test_batched_is_one_by_one_for_shared_and_own_features() -> None:
    x, y, weights = problem(2)
    own = np.stack([x, 2 * x, x - 1])
    shared_fit = fit_logistic(x, y, penalty=np.array([0.1, 1.0, 10.0]), weights=weights)
    own_fit = fit_logistic(own, y, penalty=np.array([0.1, 1.0, 10.0]), weights=weights)
    for j, penalty in enumerate((0.1, 1.0, 10.0)):
        for fit, features in ((shared_fit, x), (own_fit, own[j])):
            alone = fit_logistic(features, y[j : j + 1], penalty=penalty, weights=weights[j : j + 1])
            assert fit.coefficients[j] == pytest.approx(alone.coefficients[0], abs=1e-9)
            assert fit.intercept[j] == pytest.approx(alone.intercept[0], abs=1e-9)
    assert own_fit.scores(own)[1] == pytest.approx(own_fit.scores(own[1])[1])


def test_weight_zero_leaves_a_row_out_and_weight_two_repeats_it() -> None:
    x, y, _ = problem(3)
    weights = np.tile(np.arange(80) % 3, (3, 1)).astype(float)
    repeats = weights[0].astype(int)
    weighted = fit_logistic(x, y, penalty=1.0, weights=weights)
    repeated = fit_logistic(np.repeat(x, repeats, axis=0), np.repeat(y, repeats, axis=1), penalty=1.0)
    assert weighted.coefficients == pytest.approx(repeated.coefficients, abs=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("penalty", [1e-6, 1.0])
def test_separable_texts_settle_at_the_optimum(scale: float, penalty: float) -> None:
    x = scale * np.concatenate((np.arange(1.0, 9.0), -np.arange(1.0, 9.0)))[:, None]
    y = np.repeat([[1.0, 0.0]], 8, axis=1)
    fit = fit_logistic(x, y, penalty=penalty)
    residual = y[0] - 1 / (1 + np.exp(-np.clip(fit.scores(x)[0], -700, 700)))
    gradient = x[:, 0] @ residual - penalty * fit.coefficients[0, 0]
    assert abs(gradient) < 1e-5 * scale * 16 * max(penalty, 1e-2)
    assert fit.coefficients[0, 0] > 0
    assert abs(residual.sum()) < 1e-5


def test_what_no_fit_can_use_is_refused() -> None:
    x, y, _ = problem(4)
    with pytest.raises(DataError, match="above 0"):
        fit_logistic(x, y, penalty=0.0)
    with pytest.raises(DataError, match="only one class"):
        fit_logistic(x, np.ones_like(y), penalty=1.0)
    with pytest.raises(DataError, match="do not fit"):
        fit_logistic(x[:-1], y, penalty=1.0)
    with pytest.raises(DataError, match="not finite"):
        fit_logistic(np.where(x > 2, np.nan, x), y, penalty=1.0)


def test_standardizer_by_hand() -> None:
    # the first feature has mean 2, population sd 1; the second does not vary and becomes 0, elsewhere too
    standard = Standardizer.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert standard.apply(np.array([[4.0, 9.0]])).tolist() == [[2.0, 0.0]]


def test_cross_fitted_scores_never_saw_their_group() -> None:
    # within each group the labels are constant and the only feature is the group's own: a fit that saw the group
    # knows it
    groups = np.repeat(np.arange(10), 4)
    x = np.eye(10)[groups]
    y = (groups % 2).astype(float)
    scores = cross_fitted_scores(x, y, groups, penalties=[0.01], folds=10, rng=np.random.default_rng(0))[0]
    # an unseen group gets the intercept alone: 4 of 9 others share the label, so every guess is on the wrong side
    assert ((scores > 0) != (y > 0)).all()


def chosen_penalty(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, penalties: list[float], rng: np.random.Generator
) -> float:
    return best_penalty(cross_fitted_scores(x, y, groups, penalties=penalties, rng=rng), y, penalties=penalties)[0]


def test_the_best_penalty_is_at_the_right_end() -> None:
    rng = np.random.default_rng(6)
    groups = np.arange(60)
    noise = rng.normal(size=(60, 30))
    labels = rng.integers(0, 2, 60).astype(float)
    assert chosen_penalty(noise, labels, groups, [0.01, 1000.0], rng) == 1000.0
    signal = labels[:, None] + 0.1 * rng.normal(size=(60, 1))
    assert chosen_penalty(signal, labels, groups, [0.01, 1000.0], rng) == 0.01
    with pytest.raises(TooFewDocuments):
        chosen_penalty(signal, labels, np.zeros(60, dtype=int), [1.0], rng)


def test_two_hundred_fits_are_quick() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(128, 17))
    y = rng.permuted(np.tile(np.arange(128) % 2.0, (200, 1)), axis=1)
    begin = time.process_time()
    fit_logistic(x, y, penalty=1.0)
    assert time.process_time() - begin < 1.5  # 0.1 s where it was written
