import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from freerun.errors import DataError
from freerun.stats.detection.logistic import LogisticFit, Standardizer, best_penalty, fit_logistic, left_out_scores


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


def left_out(x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    units, texts, d = x.shape
    rows = np.tile(y, (penalties.size, units)), np.tile(weights, (penalties.size, units))
    fit = fit_logistic(x.reshape(-1, d), rows[0], penalty=penalties, weights=rows[1])
    assert fit.scores(x.reshape(-1, d)).shape == (penalties.size, units * texts)
    return left_out_scores(x, y, weights, fit, penalties=penalties)


@pytest.mark.parametrize(("penalty", "off"), [(100.0, 0.002), (10.0, 0.02), (1.0, 0.1)])
def test_left_out_scores_are_those_of_fits_without_the_unit(penalty: float, off: float) -> None:
    """Against 30 refits; the first order is better the more is penalised. The scores themselves have an SD of 0.3 to 2."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(30, 3, 4))
    x[:, 1:, 0] += 1.0
    y, weights = np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.5, 0.5])
    found = left_out(x, y, weights, np.array([penalty]))[0]
    golden = np.empty((30, 3))
    for i in range(30):
        rest = np.delete(x, i, axis=0)
        fit = fit_logistic(
            rest.reshape(-1, 4), np.tile(y, 29)[None], penalty=penalty, weights=np.tile(weights, 29)[None]
        )
        golden[i] = fit.scores(x[i])[0]
    assert np.abs(found - golden).mean() < off
    assert np.corrcoef(found.ravel(), golden.ravel())[0, 1] > 0.995


def test_a_left_out_unit_does_not_know_its_own_label() -> None:
    # the only feature is the unit's own, and labels are random: whoever saw the unit knows it
    x = np.eye(12)[:, None, :] * np.array([1.0, -1.0])[None, :, None]
    scores = left_out(x, np.array([0.0, 1.0]), np.ones(2), np.array([1.0]))[0]
    assert np.abs(scores).max() < 1e-6


def test_the_best_penalty_is_at_the_right_end() -> None:
    rng = np.random.default_rng(6)
    y, weights, tried = np.array([0.0, 1.0]), np.ones(2), np.array([0.01, 1000.0])
    noise = rng.normal(size=(60, 2, 30))
    assert best_penalty(left_out(noise, y, weights, tried), y, weights, penalties=tried) == 1
    signal = y[None, :, None] + 0.1 * rng.normal(size=(60, 2, 1))
    assert best_penalty(left_out(signal, y, weights, tried), y, weights, penalties=tried) == 0


def test_two_hundred_fits_are_quick() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(128, 17))
    y = rng.permuted(np.tile(np.arange(128) % 2.0, (200, 1)), axis=1)
    begin = time.process_time()
    fit_logistic(x, y, penalty=1.0)
    assert time.process_time() - begin < 1.5  # 0.1 s where it was written


def test_rows_that_are_alike_tie() -> None:
    """A matrix product gives equal rows other last digits at other places; an AUC would take the two texts for ordered."""
    rng = np.random.default_rng(0)
    parted = 0.0
    for n, d in ((7, 17), (41, 32), (163, 40)):
        x = rng.standard_normal((n, d))
        x[1::2] = x[1]
        fit = LogisticFit(rng.standard_normal((17, d)), rng.standard_normal(17))
        parted = max(parted, float(np.ptp(fit.log_odds(x)[:, 1::2], axis=1).max()))
        assert np.ptp(fit.scores(x)[:, 1::2], axis=1).max() == 0
        np.testing.assert_allclose(fit.scores(x), fit.log_odds(x), atol=1e-9, rtol=0)
    assert parted < 1e-12


def test_of_penalties_that_do_equally_well_but_for_rounding_the_largest_is_taken() -> None:
    scores = np.zeros((3, 1, 2)) + np.array([0.0, 1e-15, -1e-15])[:, None, None]
    assert best_penalty(scores, np.array([0.0, 1.0]), np.ones(2), penalties=np.array([0.1, 1.0, 10.0])) == 2
