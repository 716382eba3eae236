import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.report.numbers import format_interval, format_number


@pytest.mark.parametrize(
    ("x", "printed"),
    [
        (None, "–"),
        (math.nan, "–"),
        (-math.inf, "–"),
        (0, "0"),
        (-0.0, "0"),
        (23.0, "23"),
        (3.0512, "3.051"),
        (0.99996, "1"),
        (-1.25, "−1.25"),
        (12345.6, "12,346"),
        (1234567, "1,234,567"),
        (0.0001234, "0.0001234"),
        (-0.0000123, "−1.23 × 10⁻⁵"),
        (6.02e23, "6.02 × 10²³"),
        (10**400, "–"),
    ],
)
def test_a_number_is_printed_with_few_digits(x, printed):
    assert format_number(x) == printed


@pytest.mark.parametrize(
    ("low", "high", "printed"),
    [
        (2.95, 3.16, "2.95 to 3.16"),
        (0.5, 0.6123, "0.5000 to 0.6123"),
        (-0.1, 0, "−0.1 to 0.0"),
        (0.001, 12.34, "0.001 to 12.34"),
        (15, 31, "15 to 31"),
        (15.0, None, "15 or more"),
        (None, 1.0, "1 or less"),
        (math.nan, None, "–"),
    ],
)
def test_both_ends_of_an_interval_have_the_same_decimals(low, high, printed):
    assert format_interval(low, high) == printed


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-300 < abs(x) < 1e300))
def test_what_is_printed_is_the_number_to_three_digits(x):
    text = format_number(x).replace("−", "-").replace(",", "")
    mantissa, _, power = text.partition(" × 10")
    exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    assert float(f"{mantissa}e{exponent}") == pytest.approx(x, rel=0.005)
