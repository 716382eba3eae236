"""A comparison has a card for each question: its clearest difference, and in how many numbers the runs differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from freerun.comparisons.questions import questions_compared
from freerun.findings.registry import QUESTIONS
from freerun.results.compare import Difference

PLAIN = Difference(
    "loss", "x", "X", "nats", 1.0, 1.5, 0.5, 0.25, None, 0.95, 40, 0.01, 0.02, 0.1, 0.3, "mean", found=True
)


def test_the_clearest_difference_stands_on_the_card_and_all_are_counted() -> None:
    clearer = replace(PLAIN, label="Y", value=-0.75, low=-1.0, high=-0.5, adjusted_p=0.001)
    blind = replace(PLAIN, label="Z", adjusted_p=0.5, found=False)
    untested = replace(PLAIN, label="W", p_value=None, adjusted_p=None, found=False)
    (card,) = questions_compared((PLAIN, blind, clearer, untested))
    assert (card.name, card.status, card.n_found, card.n_tested) == ("loss", "bad", 2, 3)
    first, count = card.cards
    assert (first.label, first.value, first.unit, first.interval) == ("Y", "−0.75", "nats", "−1 to −0.5")
    assert count.value == "2 of 3"


def test_a_primary_difference_stands_there_even_if_another_is_clearer() -> None:
    primary = replace(PLAIN, label="P", primary=True, adjusted_p=0.2, found=False)
    (card,) = questions_compared((PLAIN, primary), "slope")
    assert card.cards[0].label == "P, slope"
    assert card.cards[0].interval == "+0.25 to open"


@pytest.mark.parametrize(
    ("difference", "status"),
    [
        (replace(PLAIN, found=False), "neutral"),
        (replace(PLAIN, p_value=None, found=False), "unknown"),
        (replace(PLAIN, p_value=None, found=False, identical=True), "neutral"),
    ],
)
def test_nothing_found_is_not_nothing_tested(difference: Difference, status: str) -> None:
    (card,) = questions_compared((difference,))
    assert card.status == status


def test_questions_stand_as_on_an_audits_page() -> None:
    own = [replace(PLAIN, finding=q.name) for q in reversed(QUESTIONS)]
    assert [card.name for card in questions_compared(own)] == [q.name for q in QUESTIONS]
