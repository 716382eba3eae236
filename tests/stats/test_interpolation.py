import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from freerun.errors import DataError
from freerun.stats.interpolation import fit_interpolation, mix_log_probs


def test_weights_by_hand() -> None:
    # components that never overlap: three of four tokens come from the first, so its weight is 3/4
    log_probs = np.log(np.array([[1.0, 1.0, 1.0, 0.25], [0.25, 0.25, 0.25, 1.0]]))
    log_probs[log_probs < -1] = -np.inf
    assert fit_interpolation(log_probs).tolist() == pytest.approx([0.75, 0.25])


@given(seed=st.integers(0, 10_000), n_components=st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_no_other_weights_do_better(seed: int, n_components: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = rng.normal(-5, 2, (n_components, 60))
    log_probs[0, ::3] = -np.inf
    weights = fit_interpolation(log_probs, n_steps=20_000, tol=1e-7)
    assert weights.sum() == pytest.approx(1)
    best = mix_log_probs(weights, log_probs).mean()
    for other in rng.dirichlet(np.full(n_components, 0.5), 50):
        assert mix_log_probs(other, log_probs).mean() <= best + 1e-7


def test_two_components_against_a_line_search() -> None:
    log_probs = np.random.default_rng(1).normal(-4, 1.5, (2, 400))
    golden = optimize.minimize_scalar(
        lambda w: -mix_log_probs(np.array([w, 1 - w]), log_probs).mean(), bounds=(0, 1), options={"xatol": 1e-9}
    )
    assert fit_interpolation(log_probs, n_steps=5000, tol=1e-10)[0] == pytest.approx(golden.x, abs=1e-4)


def test_mixture_by_hand_and_its_zeros() -> None:
    log_probs = np.array([[np.log(0.2), -np.inf, -np.inf, -800.0], [np.log(0.4), np.log(0.5), -np.inf, -801.0]])
    mixed = mix_log_probs(np.array([0.25, 0.75]), log_probs)
    assert mixed[:2] == pytest.approx(np.log([0.35, 0.375]))
    assert np.isneginf(mixed[2])
    assert mixed[3] == pytest.approx(-800 + np.log(0.25 + 0.75 * np.exp(-1)))
    assert mix_log_probs(np.array([1.0, 0.0]), log_probs)[0] == pytest.approx(np.log(0.2))


def test_unusable_components_are_refused() -> None:
    with pytest.raises(DataError, match="probability 0 under every component"):
        fit_interpolation(np.array([[-np.inf, -1.0], [-np.inf, -2.0]]))
    with pytest.raises(DataError, match="not empty"):
        fit_interpolation(np.zeros((2, 0)))
    with pytest.raises(DataError, match="sum to 1"):
        mix_log_probs(np.array([0.5, 0.6]), np.zeros((2, 3)))
    with pytest.raises(DataError, match="NaN"):
        mix_log_probs(np.array([0.5, 0.5]), np.full((2, 3), np.nan))
