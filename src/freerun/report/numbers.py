"""How numbers are printed: few digits, a true minus sign, a dash for what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"
MINUS = "−"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(x: float | None, *, digits: int = 4) -> str:
    """Print `x` with at most `digits` significant digits; integers stay whole; None, NaN and infinities are a dash.

    >>> [format_number(x) for x in (3.0512, 23.0, -0.5, 1234567, 0.000012, None)]
    ['3.051', '23', '−0.5', '1,234,567', '1.2 × 10⁻⁵', '–']
    """
    if x is None or not _finite(x):
        return UNKNOWN
    if x == 0:
        return "0"
    if not 1e-4 <= abs(x) < 1e15:
        return _scientific(float(x))
    if isinstance(x, int):
        return fixed(x, 0)
    text = fixed(x, _decimals(x, digits))
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_interval(low: float | None, high: float | None, *, digits: int = 4) -> str:
    """Print an interval with the same number of decimals at both ends; an end that is not known is left open.

    >>> format_interval(2.95, 3.1), format_interval(15, None), format_interval(None, None)
    ('2.95 to 3.10', '15 or more', '–')
    """
    return join_interval(*format_column((low, high), digits=digits))


def join_interval(low: str, high: str) -> str:
    """Join two printed ends; one that is not known is left open."""
    if low == high == UNKNOWN:
        return UNKNOWN
    if high == UNKNOWN:
        return f"{low} or more"
    return f"{high} or less" if low == UNKNOWN else f"{low} to {high}"


def format_column(values: Sequence[float | None], *, digits: int = 4) -> list[str]:
    """Print numbers that stand together with the same number of decimals, unless small ones would lose theirs.

    >>> format_column([0.5, 0.6123, None]), format_column([0.001, 12.34])
    (['0.5000', '0.6123', '–'], ['0.001', '12.34'])
    """
    alone = [format_number(x, digits=digits) for x in values]
    sizes = [abs(x) for x, text in zip(values, alone, strict=True) if x and text != UNKNOWN]
    if not sizes or any("×" in text for text in alone):
        return alone
    shown = max(len(text.partition(".")[2]) for text in alone)
    decimals = min(shown, _decimals(max(sizes), digits))
    if decimals < shown and min(sizes) < 10.0 ** (1 - decimals):
        return alone
    return [text if text == UNKNOWN else fixed(x or 0.0, decimals) for x, text in zip(values, alone, strict=True)]


def fixed(x: float, decimals: int) -> str:
    """Print `x` with exactly `decimals` decimals, thousands separators and a true minus sign."""
    text = f"{abs(x):,.{decimals}f}"
    return MINUS + text if x < 0 and text.strip("0.,") else text


def _decimals(x: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(x))))


def _scientific(x: float) -> str:
    mantissa, _, exponent = f"{abs(x):.2e}".partition("e")
    sign = MINUS if x < 0 else ""
    return f"{sign}{mantissa.rstrip('0').rstrip('.')} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _finite(x: float) -> bool:
    try:
        return math.isfinite(x)
    except OverflowError:
        return False
