import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.detection.horizon import End, HorizonResult, horizon, horizon_interval

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


def limits(curve: list[float], low: list[float], high: list[float]) -> HorizonResult:
    return horizon_interval(LENGTHS, *map(np.array, (curve, low, high)), level_auc=0.75)


def test_the_ends_are_where_the_limits_cross() -> None:
    # lower limits pass .75 half way (in log length) from 64 to 128, upper ones half way from 16 to 32
    found = limits([0.6, 0.7, 0.8, 0.9], [0.5, 0.6, 0.7, 0.8], [0.7, 0.8, 0.9, 0.95])
    assert found.low.tokens == pytest.approx(16 * 2**0.5)
    assert found.estimate.tokens == pytest.approx(32 * 2**0.5)
    assert found.high.tokens == pytest.approx(64 * 2**0.5)


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        ([0.5, 0.6, 0.7, 0.74], [0.7, 0.8, 0.9, 0.95], (None, "beyond")),
        ([0.5, 0.6, 0.7, 0.8], [0.75, 0.8, 0.9, 0.95], ("before", None)),
        ([0.4] * 4, [0.9] * 4, ("before", "beyond")),
        ([0.4] * 4, [0.74] * 4, ("beyond", "beyond")),
        ([0.76] * 4, [0.9] * 4, ("before", "before")),
    ],
)
def test_open_ends_of_the_interval(low: list[float], high: list[float], ends: tuple[str | None, str | None]) -> None:
    middle = ((np.array(low) + high) / 2).tolist()
    found = limits(middle, low, high)
    assert (found.low.where, found.high.where) == tuple(e or "inside" for e in ends)


def test_an_end_does_not_pass_a_length_that_is_not_settled() -> None:
    """A curve that dips: 32 tokens may reach .75 although 64 do not, and 64 may fall short although 32 do not."""
    early = limits([0.6, 0.76, 0.6, 0.95], [0.5, 0.7, 0.5, 0.9], [0.7, 0.82, 0.7, 0.99])
    assert 16 < early.low.tokens < 32
    late = limits([0.6, 0.8, 0.74, 0.95], [0.5, 0.76, 0.7, 0.9], [0.7, 0.84, 0.78, 0.99])
    assert 64 < late.high.tokens < 128


def test_the_estimate_lies_inside_its_interval() -> None:
    """Pooling a dip moves the estimate; the ends give way."""
    found = limits([0.5, 0.9, 0.5, 0.99], [0.45, 0.85, 0.45, 0.97], [0.55, 0.95, 0.55, 1.0])
    assert found.low.tokens <= found.estimate.tokens <= found.high.tokens


def test_unusable_curves_are_refused() -> None:
    with pytest.raises(DataError, match="one number for every length"):
        horizon(LENGTHS, np.array([0.5, np.nan, 0.5, 0.5]), level_auc=0.75)
    with pytest.raises(DataError, match="ascending"):
        horizon(LENGTHS[::-1], np.full(4, 0.5), level_auc=0.75)
