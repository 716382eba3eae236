"""Words of a text where there is no tokenizer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.text.words import WordIds, words_of


def test_words_by_hand() -> None:
    assert words_of("") == words_of("  \t ") == []
    assert words_of("v1.10, it's\n\n— ok") == ["v", "1", ".", "10", ",", "it", "'", "s", "\n", "\n", "—", "ok"]
    assert words_of("x12y 007") == ["x", "12", "y", "007"]
    assert words_of("東京 is 日本") == ["東", "京", "is", "日", "本"]


@given(st.text())
@settings(max_examples=25)
def test_no_character_but_space_is_lost(text: str) -> None:
    assert "".join(words_of(text)).replace("\n", "") == "".join(c for c in text if not c.isspace())


def test_numbers_of_words_are_those_of_all_texts() -> None:
    words = WordIds()
    first, second = words.encode(["to be or not 2", "not to be 10 2"])
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert second.tolist() == [3, 0, 1, 5, 4]
    assert words.spell(second.tolist()) == "not to be 10 2"
    assert words.are_numbers().tolist() == [False, False, False, False, True, True]
