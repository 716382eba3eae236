import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.report.charts.scales import drawable, linear_axis, log2_axis

finite = st.floats(min_value=-1e149, max_value=1e149)


def test_a_log2_axis_has_powers_of_two_as_integers_at_equal_steps():
    axis = log2_axis((1.0, 128.0), start=0, end=70, n_ticks=20)
    assert [label for _, label in axis.ticks] == ["1", "2", "4", "8", "16", "32", "64", "128"]
    assert [axis.position(value) for value, _ in axis.ticks] == pytest.approx([0, 10, 20, 30, 40, 50, 60, 70])


def test_only_powers_in_range_are_ticks_and_they_thin_out():
    assert [t for t, _ in log2_axis((3.0, 20.0), start=0, end=1, n_ticks=9).ticks] == [4, 8, 16]
    assert [t for t, _ in log2_axis((1.0, 256.0), start=0, end=1, n_ticks=5).ticks] == [1, 4, 16, 64, 256]
    assert [label for _, label in log2_axis((0.25, 1.0), start=0, end=1, n_ticks=9).ticks] == ["1/4", "1/2", "1"]


def test_a_range_without_powers_of_two_gets_round_ticks():
    assert [label for _, label in log2_axis((5.0, 7.0), start=0, end=1, n_ticks=9).ticks] == [
        "5.0", "5.5", "6.0", "6.5", "7.0",
    ]  # fmt: skip


def test_linear_ticks_are_round_and_share_their_decimals():
    axis = linear_axis((0.42, 0.97), start=100, end=0, n_ticks=5, snap=True)
    assert [label for _, label in axis.ticks] == ["0.4", "0.6", "0.8", "1.0"]
    assert axis.position(0.4) == pytest.approx(100)
    assert axis.position(0.7) == pytest.approx(50)
    assert [label for _, label in linear_axis((-2.5, 0.0), start=0, end=1, n_ticks=5).ticks] == [
        "−2.5", "−2.0", "−1.5", "−1.0", "−0.5", "0.0",
    ]  # fmt: skip


def test_whole_ticks_stay_at_integers():
    assert [label for _, label in linear_axis((1.0, 3.0), start=0, end=1, n_ticks=8, whole=True).ticks] == [
        "1",
        "2",
        "3",
    ]


def test_what_no_axis_can_hold_is_not_drawable():
    assert [drawable(v) for v in (None, float("nan"), float("inf"), 1e200, True, "3", 3)] == [None] * 6 + [3.0]
    assert drawable(0.0, "log2") is None
    assert drawable(-1.0, "log2") is None


@given(st.lists(finite, min_size=1, max_size=6), st.integers(1, 12), st.booleans(), st.booleans())
def test_linear_positions_stay_between_the_ends_and_in_order(values, n_ticks, whole, snap):
    axis = linear_axis(values, start=10, end=200, n_ticks=n_ticks, whole=whole, snap=snap)
    positions = [axis.position(v) for v in sorted(values)]
    assert positions == sorted(positions)
    assert 10 - 1e-6 <= positions[0] <= positions[-1] <= 200 + 1e-6
    assert len(axis.ticks) <= n_ticks + 3
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)


@given(st.lists(st.floats(min_value=1e-90, max_value=1e149), min_size=1, max_size=6), st.integers(2, 12))
def test_log2_positions_stay_between_the_ends_and_in_order(values, n_ticks):
    axis = log2_axis(values, start=10, end=200, n_ticks=n_ticks)
    positions = [axis.position(v) for v in sorted(values)]
    assert positions == sorted(positions)
    assert 10 - 1e-6 <= positions[0] <= positions[-1] <= 200 + 1e-6
    assert len(axis.ticks) <= max(n_ticks, 6) + 1
