import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.detection.auc import auc
from freerun.stats.detection.horizon import End, HorizonResult, auc_draws, horizon, horizon_bootstrap

LENGTHS = np.array([16, 32, 64, 128])


def test_crossing_by_hand() -> None:
    # .70 at 32 and .80 at 64: .75 is half way in log length, 32 * sqrt(2)
    found = horizon(LENGTHS, np.array([0.6, 0.7, 0.8, 0.9]), level_auc=0.75)
    assert found.where == "inside"
    assert found.tokens == pytest.approx(32 * 2**0.5)


def test_dips_are_pooled_first() -> None:
    # .8 then .6 pool to .7 at 32 and 64; from .7 at 64 to .9 at 128, .75 lies a quarter of the octave in
    found = horizon(LENGTHS, np.array([0.5, 0.8, 0.6, 0.9]), level_auc=0.75)
    assert found.value == pytest.approx(64 * 2**0.25)


def test_crossings_outside_are_places_without_a_value() -> None:
    never = horizon(LENGTHS, np.array([0.5, 0.5, 0.6, 0.7]), level_auc=0.75)
    assert (never, never.value) == (End("beyond", 128.0), None)
    assert horizon(LENGTHS, np.array([0.8, 0.8, 0.9, 0.9]), level_auc=0.75) == End("before", 16.0)
    assert horizon(LENGTHS, np.array([0.75, 0.8, 0.9, 0.9]), level_auc=0.75).value == 16
    assert horizon(LENGTHS, np.array([0.5, 0.6, 0.7, 0.75]), level_auc=0.75).value == 128


@pytest.mark.parametrize(
    ("end", "below", "at_least"),
    [
        (End("inside", 16.0), [17], [15, 16]),
        (End("before", 16.0), [16, 17], []),
        (End("beyond", 16.0), [], [15, 16]),
    ],
)
def test_what_is_known_of_a_place(end: End, below: list[float], at_least: list[float]) -> None:
    assert [t for t in (15.0, 16.0, 17.0) if end.is_below(t)] == below
    assert [t for t in (15.0, 16.0, 17.0) if end.is_at_least(t)] == at_least


@given(aucs=st.lists(st.floats(0, 1), min_size=4, max_size=4), low=st.floats(0.3, 0.9), step=st.floats(0, 0.1))
@settings(deadline=None)
def test_a_higher_level_is_never_reached_sooner(aucs: list[float], low: float, step: float) -> None:
    ends = {"before": 0.0, "beyond": np.inf}
    first, second = (horizon(LENGTHS, np.array(aucs), level_auc=level) for level in (low, low + step))
    assert ends.get(first.where, first.tokens) <= ends.get(second.where, second.tokens)


def jittered(curve: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.clip(curve + rng.normal(0, 0.004, size=(n, 4)), 0, 1)


def test_open_ends_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    inside, never, always = np.array([0.6, 0.7, 0.8, 0.9]), np.full(4, 0.5), np.full(4, 0.9)

    def found(curve: np.ndarray, *parts: tuple[np.ndarray, int]) -> HorizonResult:
        draws = np.concatenate([jittered(part, n, rng) for part, n in parts])
        return horizon_bootstrap(LENGTHS, draws, curve, level_auc=0.75, n_units=10**6)

    mixed = found(inside, (inside, 80), (never, 20))
    assert mixed.low.tokens == pytest.approx(32 * 2**0.5, rel=0.1)
    assert mixed.high == End("beyond", 128.0)
    early = found(inside, (inside, 80), (always, 20))
    assert early.low == End("before", 16.0)
    assert early.high.tokens == pytest.approx(32 * 2**0.5, rel=0.1)
    out = found(never, (never, 50))
    assert (out.estimate, out.low, out.high) == (End("beyond", 128.0),) * 3
    soon = found(always, (always, 50))
    assert (soon.estimate, soon.low, soon.high) == (End("before", 16.0),) * 3
    both = found(always, (always, 50), (never, 50))
    assert (both.estimate, both.low, both.high) == (End("before", 16.0), End("before", 16.0), End("beyond", 128.0))


def test_resamples_that_all_agree_say_no_more_than_their_number() -> None:
    """An AUC of 1 on 5 documents has not settled 0.75 (Newcombe's limit is below it); on 40 it has."""
    draws = np.ones((100, 4))
    few, many = (horizon_bootstrap(LENGTHS, draws, np.ones(4), level_auc=0.75, n_units=n) for n in (5, 40))
    assert (few.estimate, few.low, few.high) == (End("before", 16.0), End("before", 16.0), End("beyond", 128.0))
    assert many.high == End("before", 16.0)
    stepped = np.array([0.5, 0.5, 1.0, 1.0])
    step = horizon_bootstrap(LENGTHS, np.tile(stepped, (100, 1)), stepped, level_auc=0.75, n_units=400)
    assert (step.low, step.high) == (End("inside", 32.0), End("inside", 64.0))


def test_an_end_does_not_pass_a_length_that_is_not_settled() -> None:
    """.75 ± .04 at 32 tokens and a dip after it: every pooled curve crosses later, yet 32 may reach it. Mirrored at 64."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, size=200)
    dip, rise = np.array([0.6, 0.75, 0.55, 0.95]), np.array([0.55, 0.95, 0.75, 0.9])
    draws = [jittered(c, 200, rng) * [1, 0, 1, 1] + c * [0, 1, 0, 0] + np.outer(noise, [0, 1, 0, 0]) for c in (dip,)]
    found = horizon_bootstrap(LENGTHS, draws[0], dip, level_auc=0.75, n_units=10**6)
    assert found.low == End("inside", 32.0)
    draws = [jittered(rise, 200, rng) * [1, 1, 0, 1] + rise * [0, 0, 1, 0] + np.outer(noise, [0, 0, 1, 0])]
    found = horizon_bootstrap(LENGTHS, draws[0], rise, level_auc=0.75, n_units=10**6)
    assert found.high == End("inside", 64.0)


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
