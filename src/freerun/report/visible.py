"""Text that a model wrote, made safe to look at: what is invisible or reorders the line is shown as a sign.

The one table of such characters, for the pages here and for the terminal (`freerun/commands/terminal.py`).
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

_KEPT = {"\n", "\t", "\u200c", "\u200d"}
"""Line breaks and tabs are laid out; the joiners belong to ordinary Persian text and to emoji."""
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_BLANKS = frozenset(
    chr(c)
    for some in ((0x34F,), (0x115F, 0x1160), (0x17B4, 0x17B5), range(0x180B, 0x1810), (0x2800, 0x3164, 0xFFA0))
    for c in (*some, *range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0))
)
"""Letters and marks by category that leave the page empty; the variation selectors of emoji (U+FE0E, U+FE0F) stay."""
_PICTURES = 0x2400
"""Unicode has a picture of each control character; few fonts have it, so its name is written out."""
_PLAIN = re.compile(r"[ -~\n\t]*\Z")


def visible(text: str) -> str:
    """Return `text` with control, bidirectional and other unseen characters replaced by signs.

    >>> visible("a\\x1b[31m\\u202eb")
    'a⟨ESCAPE⟩[31m⟨U+202E⟩b'
    """
    text = text.replace("\r\n", "\n")
    return text if _PLAIN.match(text) else "".join(sign_of(c) or c for c in text)


def visible_markup(text: str) -> Markup:
    """Return `text` escaped for HTML, with each replaced character in a `<span class="sign">`."""
    span = Markup('<span class="sign" title="U+{:04X}">{}</span>')
    text = text.replace("\r\n", "\n")
    if _PLAIN.match(text):
        return escape(text)
    return Markup("").join(span.format(ord(c), sign) if (sign := sign_of(c)) else c for c in text)


def sign_of(c: str) -> str:
    """What stands for a character that cannot be seen; empty for one that can."""
    code = ord(c)
    if c in _KEPT:
        return ""
    if code < 0x20 or code == 0x7F:
        picture = chr(_PICTURES + min(code, 0x21))
        return f"⟨{unicodedata.name(picture).removeprefix('SYMBOL FOR ')}⟩"
    no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    unseen = no_character or c in _BLANKS or unicodedata.category(c) in _HIDDEN_CATEGORIES
    return f"⟨U+{code:04X}⟩" if unseen else ""
