"""Cutting long texts into pieces: at a separator, or into so many characters at white space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from freerun.counted import counted
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
    return re.sub(r"\\([nt\\])", lambda match: _ESCAPES[match[1]], separator)


def split_at(text: str, separator: str) -> list[str]:
    """Return the pieces between the separators, which belong to no piece; pieces of white space alone are left out."""
    return [piece for piece in text.split(separator) if piece.strip()]


def chunks(text: str, size: int) -> list[str]:
    """Return pieces of at most `size` characters that end after white space where there is any; joined they are `text`.

    >>> chunks("one two three", 8)
    ['one two ', 'three']
    """
    ends = [0]
    while len(text) - ends[-1] > size:
        whole = ends[-1] + size
        ends.append(next((end for end in range(whole, ends[-1], -1) if text[end - 1].isspace()), whole))
    return [text[start:end] for start, end in pairwise([*ends, len(text)]) if end > start]


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
    stand_alone = len({document.unit for document in documents}) >= UNITS_THAT_STAND_ALONE
    pieces: list[Document] = []
    for document in documents:
        parts = [document.text] if separator is None else split_at(document.text, separator)
        if chunk_chars is not None:
            parts = [chunk for part in parts for chunk in chunks(part, chunk_chars)]
        for number, part in enumerate(parts, start=1):
            name = f"{document.id}#{number}"
            pieces.append(replace(document, id=name, text=part, unit=document.unit if stand_alone else name))
    if len(pieces) <= len(documents):
        if chunk_chars is None:
            raise DataError(
                f"--split-on {split_on!r} cuts nothing in {spec!r}: it does not stand between texts there; try --chunk 4000"
            )
        longest = max(len(document.text) for document in documents)
        raise DataError(
            f"--chunk {chunk_chars} cuts nothing in {spec!r}: its longest text has {longest} characters"
            "; give a smaller number, or a longer text"
        )
    flags = [f"--split-on {split_on!r}"] * (split_on is not None) + [f"--chunk {chunk_chars}"] * (
        chunk_chars is not None
    )
    units = (
        "pieces of one document stay in one unit"
        if stand_alone
        else "each piece counts as its own unit, although pieces of one text are not independent"
    )
    note = (
        f"{counted(len(documents), 'document')} cut into {counted(len(pieces), 'piece')} ({', '.join(flags)}); {units}"
    )
    return pieces, stand_alone, note
