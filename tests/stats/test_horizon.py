import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.auc import auc
from freerun.stats.horizon import auc_draws, horizon, horizon_bootstrap

LENGTHS = np.array([16, 32, 64, 128])


def test_crossing_by_hand() -> None:
    # .70 at 32 and .80 at 64: .75 is half way in log length, 32 * sqrt(2)
    found = horizon(LENGTHS, np.array([0.6, 0.7, 0.8, 0.9]), level_auc=0.75)
    assert found.side == "inside"
    assert found.value == pytest.approx(32 * 2**0.5)


def test_dips_are_pooled_first() -> None:
    # .8 then .6 pool to .7 at 32 and 64; from .7 at 64 to .9 at 128, .75 lies a quarter of the octave in
    found = horizon(LENGTHS, np.array([0.5, 0.8, 0.6, 0.9]), level_auc=0.75)
    assert found.value == pytest.approx(64 * 2**0.25)


def test_crossings_outside_have_a_side_and_no_value() -> None:
    assert horizon(LENGTHS, np.array([0.5, 0.5, 0.6, 0.7]), level_auc=0.75).side == "above"
    below = horizon(LENGTHS, np.array([0.8, 0.8, 0.9, 0.9]), level_auc=0.75)
    assert (below.side, below.value) == ("below", None)
    assert horizon(LENGTHS, np.array([0.75, 0.8, 0.9, 0.9]), level_auc=0.75).value == 16
    assert horizon(LENGTHS, np.array([0.5, 0.6, 0.7, 0.75]), level_auc=0.75).value == 128


@given(aucs=st.lists(st.floats(0, 1), min_size=4, max_size=4), low=st.floats(0.3, 0.9), step=st.floats(0, 0.1))
@settings(deadline=None)
def test_a_higher_level_is_never_reached_sooner(aucs: list[float], low: float, step: float) -> None:
    ends = {"below": 0.0, "above": np.inf}
    first, second = (horizon(LENGTHS, np.array(aucs), level_auc=level) for level in (low, low + step))
    assert ends.get(first.side, first.value) <= ends.get(second.side, second.value)


def test_open_ends_of_the_interval() -> None:
    inside = np.array([0.6, 0.7, 0.8, 0.9])
    never = np.full(4, 0.5)
    always = np.full(4, 0.9)
    mixed = horizon_bootstrap(LENGTHS, np.array([inside] * 80 + [never] * 20), inside, level_auc=0.75, n_units=10**6)
    assert mixed.low == pytest.approx(32 * 2**0.5)
    assert mixed.high is None
    assert (mixed.share_above, mixed.share_below) == (0.2, 0.0)
    early = horizon_bootstrap(LENGTHS, np.array([inside] * 80 + [always] * 20), inside, level_auc=0.75, n_units=10**6)
    assert early.low is None
    assert early.high == pytest.approx(32 * 2**0.5)
    out = horizon_bootstrap(LENGTHS, np.array([never] * 10), never, level_auc=0.75, n_units=10**6)
    assert (out.value, out.side, out.low, out.high) == (None, "above", 128.0, None)
    soon = horizon_bootstrap(LENGTHS, np.array([always] * 10), always, level_auc=0.75, n_units=10**6)
    assert (soon.value, soon.side, soon.low, soon.high) == (None, "below", None, 16.0)


def test_one_resample_serves_all_lengths() -> None:
    rng = np.random.default_rng(0)
    real, free = rng.normal(size=12), rng.normal(0.5, 1, size=(12, 2))
    draws = auc_draws([real, real], [free, free], n_resamples=50, rng=rng)
    assert draws.shape == (50, 2)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert np.std(draws[:, 0]) > 0
    assert draws.mean() == pytest.approx(auc(free.ravel(), real), abs=0.1)


def test_unusable_curves_are_refused() -> None:
    with pytest.raises(DataError, match="one number for every length"):
        horizon(LENGTHS, np.array([0.5, np.nan, 0.5, 0.5]), level_auc=0.75)
    with pytest.raises(DataError, match="ascending"):
        horizon(LENGTHS[::-1], np.full(4, 0.5), level_auc=0.75)
    with pytest.raises(DataError, match="same units"):
        auc_draws([np.ones(3), np.ones(4)], [np.ones((3, 1)), np.ones((4, 1))], rng=np.random.default_rng(0))
