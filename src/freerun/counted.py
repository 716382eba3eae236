"""Counts in sentences: one pair was, two pairs were."""

from __future__ import annotations


def counted(n: int, one: str, many: str = "") -> str:
    """The number with the words that agree with it; `many` where it is not `one` with an s.

    >>> counted(1, "pair was", "pairs were"), counted(0, "text"), counted(2048, "token")
    ('1 pair was', '0 texts', '2,048 tokens')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
