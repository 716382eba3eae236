"""What stands in a file of samples, one JSON value after another, without holding more than one of them."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from freerun.errors import DataError
from freerun.files import cannot
from freerun.text.formats import check_is_file
from freerun.text.packing import Stream, packing_of

_PIECE_BYTES = 1 << 20
_BLANK = " \t\r\n"
_SEPARATORS = (re.compile(r"[ \t\r\n]*"), re.compile(r"[ \t\r\n,]*"))
"""What may stand before the next mark outside and inside an array."""


@dataclass(frozen=True)
class Row:
    """One value of a file and where it stands, as messages call it."""

    value: Any
    place: str


def plain_rows(path: Path) -> Iterator[Row]:
    """Yield the whole of a file of plain text as one row.

    Raises:
        DataError: not UTF-8, damaged, or cut off.
    """
    with opened(path) as stream:
        text = _Text(stream, path).rest()
    if text.strip():
        yield Row(text, "the file")


def line_rows(path: Path) -> Iterator[Row]:
    """Yield each line of a file of plain text that is not blank.

    Raises:
        DataError: not UTF-8, damaged, or cut off.
    """
    with opened(path) as stream:
        for number, line in enumerate(_Text(stream, path).lines(), start=1):
            if line.strip():
                yield Row(line.rstrip("\r"), f"line {number:,}")


@dataclass(frozen=True)
class NotJSON:
    """What stands in the place of a line that is not JSON, among others that are."""

    detail: str


@contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """Open a file, unpacked as it is read where its first bytes show gzip or Zstandard.

    Raises:
        DataError: it cannot be read, or is damaged or cut off.
    """
    check_is_file(path, str(path))
    name = "file"
    try:
        with path.open("rb") as file:
            packing = packing_of(_first_bytes(file))
            name = f"{packing.name} file" if packing else name
            yield file if packing is None else packing.open(file)
    except (EOFError, zlib.error) as error:
        raise _damaged(path, name, error) from None
    except OSError as error:
        raise _damaged(path, name, error) if error.errno is None else cannot("read", path, error) from None


def _first_bytes(file: BinaryIO) -> bytes:
    data = file.read(16)
    file.seek(0)
    return data


def first_bytes(path: Path, n: int = 16) -> bytes:
    """Return the first bytes of a file, unpacked. Raises DataError where it cannot be read."""
    with opened(path) as stream:
        return stream.read(n)


def _damaged(path: Path, name: str, error: Exception) -> DataError:
    reason = str(error).rstrip(".") or type(error).__name__
    return DataError(f"{path} is a damaged or cut-off {name} ({reason}); fetch or write it again")


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the JSON values of a file: one a line, the elements of one array, or one object over any number of lines.

    A line inside the file that is not JSON comes out as `NotJSON`.

    Raises:
        DataError: not UTF-8, damaged, or cut off: the last value is not whole.
    """
    with opened(path) as stream:
        text = _Text(stream, path)
        if text.starts_with("["):
            yield from _elements(text)
        else:
            yield from _lines(text)


class _Text:
    """A stream of UTF-8, of which no more is held than one value needs."""

    def __init__(self, stream: Stream, path: Path) -> None:
        self.path, self.held, self.at_end = path, "", False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._n_bytes = self._at = 0

    def more(self) -> None:
        """Read on. Raises DataError where bytes are not UTF-8."""
        piece = self._stream.read(max(_PIECE_BYTES, len(self.held)))  # as much again: a long value costs no square
        try:
            self.held += self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            at = self._n_bytes + error.start
            raise DataError(
                f"{self.path} is not UTF-8 text near byte {at:,}; a binary format is recognised by its first bytes, or "
                "named with --format; text is converted with iconv"
            ) from None
        self._n_bytes += len(piece)
        self.at_end = not piece

    def starts_with(self, mark: str) -> bool:
        """Whether this mark is the first that is not blank."""
        while not self.held.lstrip(_BLANK) and not self.at_end:
            self.more()
        return self.held.lstrip(_BLANK).startswith(mark)

    def rest(self) -> str:
        """Return all that no line was made of."""
        self.held, self._at = self.held[self._at :], 0
        while not self.at_end:
            self.more()
        return self.held

    def lines(self) -> Iterator[str]:
        """Yield lines that end in \\n alone: JSON strings may hold the other separators of Unicode."""
        while True:
            end = self.held.find("\n", self._at)
            if end >= 0:
                line, self._at = self.held[self._at : end], end + 1
                yield line
                continue
            self.held, self._at = self.held[self._at :], 0
            if self.at_end:
                yield self.held
                return
            self.more()


def _lines(text: _Text) -> Iterator[Row]:
    waiting: Row | None = None
    for number, line in enumerate(text.lines(), start=1):
        if not line.strip(_BLANK):
            continue
        if waiting is not None:
            yield waiting
        place = f"line {number:,}"
        try:
            waiting = Row(json.loads(line.removeprefix("\ufeff")), place)
        except (ValueError, RecursionError) as error:
            if waiting is None:
                yield from _one_value(line, text, error)
                return
            waiting = Row(NotJSON(_why(error)), place)
    if waiting is None:
        return
    if isinstance(waiting.value, NotJSON):
        raise _cut(text.path, waiting.place, waiting.value.detail)
    yield waiting


def _one_value(first_line: str, text: _Text, error: Exception) -> Iterator[Row]:
    """One value that is spread over lines, or a file that is not JSON at all."""
    whole = f"{first_line}\n{text.rest()}"
    try:
        yield Row(json.loads(whole), "the file")
    except (ValueError, RecursionError) as later:
        if first_line.lstrip(_BLANK)[:1] != "{" or first_line.rstrip(_BLANK)[-1:] == "}":
            raise DataError(
                f"{text.path}, line 1, is not JSON ({_why(error)}); name what it is with --format"
            ) from None
        raise _cut(text.path, "its JSON", _why(later)) from None


def _elements(text: _Text) -> Iterator[Row]:
    """The elements of one array, or of several one after another, each decoded when it is whole."""
    decoder = json.JSONDecoder()
    number, at, inside = 0, 0, False
    while True:
        at = _SEPARATORS[inside].match(text.held, at).end()  # type: ignore[union-attr]
        mark = text.held[at : at + 1]
        if mark == ("]" if inside else "["):
            inside, at = not inside, at + 1
            continue
        if not mark and text.at_end and not inside:
            return
        if mark and not inside:
            raise DataError(
                f"{text.path} holds more than JSON arrays; put all rows into one array, or one object on each line"
            )
        try:
            value, end = decoder.raw_decode(text.held, at)
        except (ValueError, RecursionError) as error:
            if text.at_end:
                raise _cut(text.path, f"element {number + 1:,} of its array", _why(error)) from None
        else:
            if end < len(text.held) or text.at_end:  # else a number may go on
                number, at = number + 1, end
                yield Row(value, f"element {number:,}")
                continue
        text.held, at = text.held[at:], 0
        text.more()


def _cut(path: Path, place: str, reason: str) -> DataError:
    return DataError(
        f"{path} is cut off: {place} is not whole JSON ({reason}); what is lost may be the longest samples, so write it again, "
        "or leave out the piece at the end yourself"
    )


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')}, column {error.colno:,}"
    return str(error).split("; use")[0]
