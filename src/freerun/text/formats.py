"""The table of formats: suffix, what a document is, and what reads it. Messages and help are made from it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from freerun.errors import DataError
from freerun.text import arrow, readers
from freerun.text.documents import Document
from freerun.text.packing import PACKINGS, Packing, packing_of, unpack
from freerun.text.reading import PlacedRow, Reading

Reader = Callable[[bytes, str, Reading], Iterator[PlacedRow]]
"""From bytes, what messages call them, and how they are read, to rows."""


@dataclass(frozen=True)
class Format:
    """A kind of file: its name for `--format`, its suffixes, what a document is there, and its reader.

    `read` is None where the whole file is one document, without rows and fields. `packed`: whether it may be packed by gzip or
    Zstandard. `magic`: what its bytes may begin with, where text cannot.
    """

    name: str
    suffixes: tuple[str, ...]
    document: str
    read: Reader | None
    packed: bool = True
    magic: tuple[bytes, ...] = ()

    def documents(self, data: bytes, label: str, reading: Reading, id_prefix: str = "") -> Iterator[Document]:
        """Yield the documents in bytes of this format; `id_prefix` goes before the ids of rows."""
        if self.read is not None:
            yield from reading.documents(self.read(data, label, reading), id_prefix)
        else:
            name = reading.cleaning.clean(label)
            yield Document(name, reading.cleaning.clean(reading.cleaning.decode(data, label)), unit=name)


FORMATS: dict[str, Format] = {
    kind.name: kind
    for kind in (
        Format("text", (".txt", ".md"), "the whole file", None),
        Format(
            "jsonl", (".jsonl", ".ndjson"), "a line: an object with the text field, or a string", readers.json_lines
        ),
        Format(
            "json",
            (".json",),
            "an element of its array (or of the one array in its object): an object with the text field, or a string",
            readers.json_array,
        ),
        Format("csv", (".csv",), "a row below the header, between commas, semicolons, tabs or bars", readers.csv_rows),
        Format("tsv", (".tsv",), "a row below the header, between tabs", readers.tsv_rows),
        Format("parquet", (".parquet",), "a row", arrow.parquet, packed=False, magic=(b"PAR1",)),
        Format(
            "arrow",
            (".arrow", ".feather"),
            "a row of an Arrow file or stream",
            arrow.arrow,
            packed=False,
            magic=(arrow.ARROW_MAGIC, b"\xff\xff\xff\xff"),
        ),
    )
}


@dataclass(frozen=True)
class Kind:
    """What a file's name says: its format, and how it is packed."""

    format: Format
    suffix: str
    packing: Packing | None = None


_KINDS = {
    suffix + tail: Kind(format, suffix + tail, packing)
    for format in FORMATS.values()
    for suffix in format.suffixes
    for tail, packing in [("", None), *((p.suffix, p) for p in PACKINGS if format.packed)]
}
SUPPORTED = tuple(_KINDS)
"""Every suffix that is read."""


def kind_of(name: str) -> Kind | None:
    """Return what a file's name says, or None.

    >>> kind_of("a.jsonl.gz").format.name, kind_of("a.pdf")
    ('jsonl', None)
    """
    lower = name.lower()
    suffixes = [suffix for suffix in SUPPORTED if lower.endswith(suffix)]
    return _KINDS[max(suffixes, key=len)] if suffixes else None


def format_of(data: bytes) -> Format | None:
    """Return the format that the first bytes show, of those that are not text."""
    return next((f for f in FORMATS.values() if f.magic and data.startswith(f.magic)), None)


def suffixes_in_words() -> str:
    """Return the suffixes for messages and help."""
    packed, plain = (", ".join(s for f in FORMATS.values() if f.packed is p for s in f.suffixes) for p in (True, False))
    return f"{packed} (each also with {' or '.join(p.suffix for p in PACKINGS)}), {plain}"


def read_file(
    path: Path, label: str, reading: Reading, *, id_prefix: str = "", format: str | None = None
) -> Iterator[Document]:
    """Yield the documents of one file, in its order; `label` is what messages and ids call it, `format` what it is if its
    name does not say so.

    Ids that stand in the file get `id_prefix` before them. Rows without an id are called `label:line`.

    Raises:
        DataError: of no kind that is read, unreadable, damaged or not UTF-8.
    """
    check_is_file(path, label)
    kind = kind_of(path.name)
    if kind is None and format is None:
        raise DataError(
            f"{label}: no file of this kind is read; names end in {suffixes_in_words()}. If it is one of these under another name, "
            f"say which with --format ({', '.join(FORMATS)}). Convert anything else to text first: PDF with `pdftotext`, .docx, "
            ".html and .epub with `pandoc -t plain`"
        )
    data = bytes_of(path, label)
    if format is not None:
        chosen, packing = FORMATS[format], packing_of(data)
    else:
        assert kind is not None
        chosen, packing = kind.format, kind.packing
        _check_name(data, label, kind)
    if packing is not None:
        data = unpack(data, packing, label)
    yield from chosen.documents(data, label, reading, id_prefix)


def bytes_of(path: Path, label: str) -> bytes:
    """Return what a file or a pipe holds.

    Raises:
        DataError: it cannot be read, or is a socket or a device, which may have no end.
    """
    check_is_file(path, label)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{label} cannot be read: {error.strerror}; {_way_out(error)}") from None


def check_is_file(path: Path, label: str) -> None:
    """Refuse what cannot be read to an end.

    Raises:
        DataError: nothing is there, a link leads nowhere, or it is a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path) and not isinstance(error, PermissionError):
            to = os.readlink(path)
            raise DataError(f"{label} is a link to {to!r}, which leads nowhere; mend or remove it") from None
        raise DataError(f"{label} cannot be read: {error.strerror}; {_way_out(error)}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise DataError(
            f"{label} is {special(mode)}, not a file; give a file, a folder or a pipe, or - for standard input"
        )


def special(mode: int) -> str:
    """Return what something is that is not a regular file."""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _way_out(error: OSError) -> str:
    return "check its permissions" if isinstance(error, PermissionError) else "check that it is there, and whole"


def _check_name(data: bytes, label: str, kind: Kind) -> None:
    """Refuse bytes that are packed, or of another kind, than their name says."""
    packing = packing_of(data)
    if kind.packing is not None and data and packing is not kind.packing:
        bare = label[: -len(kind.packing.suffix)]
        raise DataError(
            f"{label} is not packed with {kind.packing.name}, though its name says so; call it "
            f"{bare}{packing.suffix if packing else ''}, or fetch it again"
        )
    shown = format_of(data)
    if shown is not None and kind.format.packed:
        raise DataError(f"{label} holds {shown.name}, which its name does not say; call it {label}{shown.suffixes[0]}")
    if packing is not None and kind.packing is None:
        fitting = f"{label}{packing.suffix}" if kind.format.packed else "what it is when unpacked"
        raise DataError(f"{label} is packed with {packing.name}, which its name does not say; call it {fitting}")
