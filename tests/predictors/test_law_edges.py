"""Laws at their edges: infinite logits, missing mass, other shapes."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import BackendError, UsageError
from freerun.predictors.law import Dense
from tests.laws import from_probs


@pytest.mark.parametrize("row", [[np.inf, 0, 1], [-np.inf] * 3])
def test_infinite_logits_are_a_broken_checkpoint_without_a_warning(row: list[float]) -> None:
    with pytest.raises(BackendError, match="NaN or infinite"):
        Dense(np.array([row])).observe(np.array([0]))


def test_a_complete_row_beside_an_incomplete_one_is_known() -> None:
    entropy = from_probs(np.array([[0.1] * 10, [0.05] * 10])).entropy()
    np.testing.assert_allclose(entropy[0], np.log(10))
    assert np.isnan(entropy[1])


def test_float32_probabilities_are_complete() -> None:
    for seed in range(5):
        p = np.random.default_rng(seed).dirichlet(np.ones(1000)).astype(np.float32)[None]
        assert np.isfinite(from_probs(p).entropy()).all()


def test_more_than_everything_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 1"):
        from_probs(np.array([[0.9, 0.9]]))


def test_rows_are_taken_as_numpy_takes_them() -> None:
    law = Dense(np.random.default_rng(0).normal(size=(3, 4)))
    np.testing.assert_array_equal(law.take(np.array([-1])).probs(), law.probs()[[-1]])
    np.testing.assert_array_equal(law.take(np.array([False, True, False])).probs(), law.probs()[[1]])


def test_one_id_for_two_rows_is_refused() -> None:
    with pytest.raises(UsageError):
        Dense(np.zeros((2, 4))).observe(np.array([1]))


def test_top_p_of_one_is_the_law_itself() -> None:
    law = Dense(np.array([[0.0, 0, -38, -39, -50]]))
    np.testing.assert_allclose(law.restricted(top_p=1.0).probs(), law.probs(), rtol=1e-12)
