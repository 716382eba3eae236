"""From bytes to text: one encoding, one kind of line end, nothing a tokenizer cannot take."""

from __future__ import annotations

import re
from collections import Counter

from freerun.counted import counted
from freerun.errors import DataError

_CHANGES = {
    "line ends of {documents} changed to \\n": (re.compile("\r\n?"), "\n"),
    "NUL characters removed from {documents}": (re.compile("\0"), ""),
    "lone surrogates of {documents} replaced by U+FFFD": (re.compile("[\ud800-\udfff]"), "\ufffd"),
}
"""What is changed, and the note that counts it."""

_CONVERTERS = {
    b"%PDF-": "is a PDF; convert it to text first, for example with `pdftotext`",
    b"PK\x03\x04": "is a zip archive, or a document stored as one (.docx, .odt, .epub); unpack it, or convert it to text first, "
    "for example with `pandoc -t plain`",
}
"""How files begin that are often given by mistake, and the way out."""


class Cleaning:
    """Decodes and cleans texts, and counts what it changed, for the corpus notes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def decode(self, data: bytes, source: str) -> str:
        """Return the bytes as text; a byte order mark is left out.

        Raises:
            DataError: the bytes are not UTF-8 or hold a NUL byte; names `source` and the byte offset. Or a PDF, or a zip archive.
        """
        if converter := next((words for magic, words in _CONVERTERS.items() if data.startswith(magic)), None):
            raise DataError(f"{source} {converter}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            sixteen = data[:2] in (b"\xff\xfe", b"\xfe\xff")
            encoding = "UTF-16" if sixteen else "ENCODING"
            raise DataError(
                f"{source} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
                f"; convert it, for example with `iconv -f {encoding} -t UTF-8`"
            ) from None
        position = data.find(0)
        if position >= 0:
            raise DataError(
                f"{source} is not plain text: NUL byte at offset {position}; it is binary, or UTF-16 that "
                "`iconv -f UTF-16 -t UTF-8` converts"
            )
        return text.removeprefix("\ufeff")

    def clean(self, text: str) -> str:
        """Return `text` with line ends as \\n, without NULs, and U+FFFD for a lone surrogate (JSON can hold both)."""
        for sentence, (pattern, replacement) in _CHANGES.items():
            if pattern.search(text):
                self.counts[sentence] += 1
                text = pattern.sub(replacement, text)
        return text

    def notes(self) -> list[str]:
        """Return one sentence for each kind of change."""
        seen = [(sentence, n) for sentence in _CHANGES if (n := self.counts[sentence])]
        return [sentence.format(documents=counted(n, "document")) for sentence, n in seen]
