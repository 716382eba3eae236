import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from freerun.report.visible import visible, visible_markup


def test_what_cannot_be_seen_becomes_a_sign():
    assert visible("\x00\x1b\x7f\x9b\u202e\ufeff\ud800\u2028") == (
        "⟨NULL⟩⟨ESCAPE⟩⟨DELETE⟩⟨U+009B⟩⟨U+202E⟩⟨U+FEFF⟩⟨U+D800⟩⟨U+2028⟩"
    )


def test_lines_tabs_and_joiners_stay():
    text = "a\tb\nc \u0645\u06cc\u200c\u062e \N{WOMAN}\u200d\N{PERSONAL COMPUTER}"
    assert visible(text) == text
    assert visible("one\r\ntwo\rthree") == "one\ntwo⟨CARRIAGE RETURN⟩three"


def test_markup_is_escaped_around_and_inside_signs():
    assert visible_markup("<b>\x1b&") == '&lt;b&gt;<span class="sign" title="U+001B">⟨ESCAPE⟩</span>&amp;'


@given(st.text(st.characters(codec=None)))
def test_no_hidden_character_survives_and_all_can_be_written(text):
    shown = visible(text)
    shown.encode("utf-8")
    hidden = {c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert hidden <= {"\n", "\t", "\u200c", "\u200d"}
    assert visible(shown) == shown
