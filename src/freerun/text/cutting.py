"""Cutting long texts into pieces: at a separator, or into so many characters at white space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from freerun.errors import DataError, UsageError
from freerun.text.documents import Document

UNITS_THAT_STAND_ALONE = 16
"""From so many units on, the pieces of a document keep their document's unit; below, each piece becomes its own."""

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def unescape(separator: str) -> str:
    r"""Return the separator with \n, \t and \\ understood, as people type them in a shell.

    >>> unescape(r"\n\n---")
    '\n\n---'
    """
    return re.sub(r"\\([nt\\])", lambda found: _ESCAPES[found[1]], separator)


def split_at(text: str, separator: str) -> list[str]:
    """Return the pieces between the separators, which belong to no piece; pieces of white space alone are left out."""
    return [piece for piece in text.split(separator) if piece.strip()]


def chunks(text: str, size: int) -> list[str]:
    """Return pieces of at most `size` characters that end after white space where there is any; joined they are `text`.

    >>> chunks("one two three", 8)
    ['one two ', 'three']
    """
    pieces: list[str] = []
    start = 0
    while len(text) - start > size:
        end = start + size
        while end > start and not text[end - 1].isspace():
            end -= 1
        if end == start:
            end = start + size
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return [piece for piece in pieces if piece]


def cut_documents(
    documents: Sequence[Document], *, split_on: str | None, chunk_chars: int | None, spec: str
) -> tuple[list[Document], bool, str]:
    """Return the pieces of all documents, whether their units are independent, and a note that says what was done.

    With few units (fewer than `UNITS_THAT_STAND_ALONE`) each piece is its own unit, and units are not independent. With
    enough of them the pieces of a document keep its unit, so nothing is lost and nothing is pretended.

    Raises:
        UsageError: an empty separator, or a chunk below one character.
        DataError: nothing was cut.
    """
    if split_on == "":
        raise UsageError("--split-on '' is empty: give the text that stands between documents, for example '\\n\\n'")
    if chunk_chars is not None and chunk_chars < 1:
        raise UsageError(f"--chunk {chunk_chars} is too small: give the characters of one piece, for example 4000")
    separator = None if split_on is None else unescape(split_on)
    n_units = len({document.unit for document in documents})
    stand_alone = n_units >= UNITS_THAT_STAND_ALONE
    pieces: list[Document] = []
    for document in documents:
        parts = [document.text] if separator is None else split_at(document.text, separator)
        if chunk_chars is not None:
            parts = [chunk for part in parts for chunk in chunks(part, chunk_chars)]
        for number, part in enumerate(parts, start=1):
            name = f"{document.id}#{number}"
            pieces.append(replace(document, id=name, text=part, unit=document.unit if stand_alone else name))
    if len(pieces) <= len(documents):
        raise DataError(_nothing_cut(spec, split_on, chunk_chars, max(len(document.text) for document in documents)))
    done = f"{len(documents)} document(s) cut into {len(pieces)} pieces ({_flags(split_on, chunk_chars)})"
    if stand_alone:
        return pieces, True, f"{done}; pieces of one document stay in one unit"
    return pieces, False, f"{done}; each piece counts as its own unit, although pieces of one text are not independent"


def _flags(split_on: str | None, chunk_chars: int | None) -> str:
    given = [] if split_on is None else [f"--split-on {split_on!r}"]
    if chunk_chars is not None:
        given.append(f"--chunk {chunk_chars}")
    return ", ".join(given)


def _nothing_cut(spec: str, split_on: str | None, chunk_chars: int | None, longest: int) -> str:
    if chunk_chars is None:
        return (
            f"--split-on {split_on!r} cuts nothing in {spec!r}: it does not stand between texts there; try --chunk 4000"
        )
    return (
        f"--chunk {chunk_chars} cuts nothing in {spec!r}: its longest text has {longest} characters"
        "; give a smaller number, or a longer text"
    )
