"""Which documents a first look takes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from freerun.text.first_look import first_look
from freerun.text.pairs import Pair


def pair(unit: str, split: Literal["train", "test"], n: int = 0) -> Pair:
    return Pair(f"{unit}/{n}", unit, split, np.zeros(2, np.int32), np.zeros(3, np.int32))


def test_half_of_each_side_in_the_order_of_the_plan() -> None:
    pairs = [*(pair(f"a{i}", "train") for i in range(6)), *(pair(f"b{i}", "test") for i in range(6))]
    assert first_look(pairs, 4) == (0, 1, 6, 7)
    assert first_look(pairs, 5) == (0, 1, 2, 6, 7)


def test_a_side_that_is_short_is_made_up_for_by_the_other() -> None:
    pairs = [pair("a", "train"), *(pair(f"b{i}", "test") for i in range(9))]
    assert first_look(pairs, 6) == (0, 1, 2, 3, 4, 5)
    pairs = [*(pair(f"a{i}", "train") for i in range(9)), pair("b", "test")]
    assert first_look(pairs, 6) == (0, 1, 2, 3, 4, 9)


def test_one_document_of_each_unit_before_a_second_of_any() -> None:
    pairs = [pair(f"a{i // 2}", "train", i) for i in range(8)] + [pair(f"b{i}", "test") for i in range(8)]
    assert first_look(pairs, 6) == (0, 2, 4, 8, 9, 10)


def test_nothing_is_first_where_there_is_no_more() -> None:
    pairs = [pair(f"a{i}", "train") for i in range(8)]
    assert first_look(pairs, 8) == ()
    assert first_look(pairs, 7) == tuple(range(7))
