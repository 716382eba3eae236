"""What goes to the terminal: text of models, documents, files and servers with everything unseen shown as a sign.

Control characters, ANSI escapes, C1, bidirectional marks, zero-width characters and lone surrogates cannot move the cursor, colour
the line, reorder or hide it. The table is the one of the pages (`freerun/report/visible.py`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from typing import TextIO

from freerun.report.visible import sign_of

_JOINERS = "\u200c\u200d"
_PLAIN = re.compile(r"[ -~]*\Z")


def shown(text: str) -> str:
    """`text` as one line that shows all of its characters.

    Zero-width joiners stay where both neighbours are seen and beyond ASCII (Persian, emoji), and are signs elsewhere.

    >>> shown("a\\x1b[31m\\u202eb\\n"), shown("x\\u200dy")
    ('a⟨ESCAPE⟩[31m⟨U+202E⟩b⟨LINE FEED⟩', 'x⟨U+200D⟩y')
    """
    if _PLAIN.match(text):
        return text
    return "".join(_shown(c, text[at - 1 : at], text[at + 1 : at + 2]) for at, c in enumerate(text))


def _shown(c: str, before: str, after: str) -> str:
    if c == "\n":
        return "⟨LINE FEED⟩"
    if c == "\t":
        return "⟨HORIZONTAL TABULATION⟩"
    if c in _JOINERS and not all(n > "\x7f" and n not in _JOINERS and not sign_of(n) for n in (before, after)):
        return f"⟨U+{ord(c):04X}⟩"
    return sign_of(c) or c


def columns_between(least: int, most: int) -> int:
    """Columns of the terminal, between two limits."""
    return max(least, min(most, shutil.get_terminal_size((100, 24)).columns))


def takes_colour(out: TextIO) -> bool:
    """Whether a stream shows colours, and nobody asked for none."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(lines: Iterable[str], out: TextIO) -> None:
    """Print lines, each `shown`; what the terminal's encoding lacks becomes a question mark."""
    for line in lines:
        print(encodable(shown(line), out), file=out, flush=True)


def encodable(line: str, out: TextIO) -> str:
    """The line with question marks for what `out` cannot encode."""
    encoding = out.encoding or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def escaped_json(text: str) -> str:
    r"""JSON with unseen characters of its strings as escapes; it means the same.

    >>> escaped_json('["\u202e\U000e0041é"]')
    '["\\u202e\\udb40\\udc41é"]'
    """
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(_escape(c) if c != "\n" and (sign_of(c) or c in _JOINERS) else c for c in text)


def _escape(c: str) -> str:
    units = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
