"""One reader for each format of text: bytes in, rows out, and a clear line for every way a file can be wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from freerun.errors import DataError
from freerun.text.reading import PlacedRow, Reading
from freerun.text.rows import Fault, NoRow, has_field, type_name

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class NoRows(DataError):
    """A JSON file that is whole, but holds no rows."""


def json_lines(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield a row for each line of JSON; only \\n ends a line, for JSON strings may hold the other separators of Unicode."""
    lines = reading.cleaning.decode(data, label)
    if lines.lstrip()[:1] == "[":
        reading.bad.array_in_lines = label
    for number, line in enumerate(lines.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError) as error:
            row = NoRow(Fault("not JSON"), f": {_reason_in_line(error)}")
        yield f"{label}:{number}", row


def json_array(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield the rows of a JSON file: an array of objects or strings, or an object that holds just one such array.

    An object with the text field is one row. A file of JSON lines that is called .json is read as what it is.

    Raises:
        DataError: it is not JSON. NoRows: it holds no rows.
    """
    whole = reading.cleaning.decode(data, label)
    if not whole.strip():
        return
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        if looks_like_json_lines(whole):
            reading.named.append(f"{label} is read as JSON lines, which it holds")
            yield from json_lines(data, label, reading)
            return
        raise DataError(
            f"{label} is not JSON ({_reason(error)}); give it whole, or name the format with --format"
        ) from None
    yield from numbered(_rows_in(value, label, reading), label)


def numbered(rows: Iterable[Any], label: str) -> Iterator[PlacedRow]:
    """Yield rows with their places, `label:1`, `label:2`, …"""
    return ((f"{label}:{number}", row) for number, row in enumerate(rows, start=1))


def looks_like_json_lines(text: str) -> bool:
    """Return whether the first line that is not blank is a JSON object."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _rows_in(value: Any, label: str, reading: Reading) -> list[Any]:
    field = reading.text_field
    if isinstance(value, list):
        return value
    if isinstance(value, str) or has_field(value, field):
        return [value]
    if not isinstance(value, dict):
        raise NoRows(f"{label} is a JSON {type_name(value)}; give an array of objects with the field {field!r}")
    lists = {name: inner for name, inner in value.items() if isinstance(inner, list) and inner}
    kinds = (
        [name for name, inner in lists.items() if any(has_field(row, field) for row in inner)],
        [name for name, inner in lists.items() if all(isinstance(row, dict) for row in inner)],
        [name for name, inner in lists.items() if all(isinstance(row, str) for row in inner)],
    )
    names = next(filter(None, kinds), [])
    if len(names) != 1:
        there = ", ".join(list(value)[:8]) or "none"
        what = (
            f"several arrays that may be meant ({', '.join(names)})"
            if names
            else f"no array of rows (its fields: {there})"
        )
        raise NoRows(
            f"{label} is a JSON object with {what} and no field {field!r} of its own; give the array alone, for example "
            f"jq .{names[0] if names else 'NAME'} FILE, or choose with --text-field"
        )
    reading.named.append(f"the rows of {label} are its array {names[0]!r}")
    return list(lists[names[0]])


def csv_rows(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield the rows below the header line, cells between commas, semicolons, tabs or vertical bars."""
    return _separated(data, label, reading, tuple(SEPARATORS))


def tsv_rows(data: bytes, label: str, reading: Reading) -> Iterator[PlacedRow]:
    """Yield the rows below the header line, cells between tabs."""
    return _separated(data, label, reading, ("\t",))


def _separated(data: bytes, label: str, reading: Reading, separators: tuple[str, ...]) -> Iterator[PlacedRow]:
    table = reading.cleaning.decode(data, label)
    if not table.strip():
        return
    headers = {separator: header_of(table, separator) for separator in separators}
    separator = next((s for s, names in headers.items() if reading.text_field in names), separators[0])
    check_columns([name for name in headers[separator] if name], label)
    if separator != separators[0]:
        reading.named.append(f"the cells of {label} stand between {SEPARATORS[separator]}")
    yield from _cells(table, label, headers[separator], separator)


def check_columns(names: list[str], label: str) -> None:
    """Refuse a table in which a name stands for two columns.

    Raises:
        DataError: it does.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{label} has two columns {twice!r}; rename one of them")


def header_of(table: str, separator: str) -> list[str]:
    """Return the names in the first line of a table, or none where it is not a line of cells."""
    try:
        with _any_length(table):
            return [name.strip() for name in next(_reader(table, separator), [])]
    except csv.Error:
        return []


def _cells(table: str, label: str, header: list[str], separator: str) -> Iterator[PlacedRow]:
    rows = _reader(table, separator)
    number = 1
    try:
        with _any_length(table):
            next(rows)
            number = rows.line_num + 1
            for cells in rows:
                if len(cells) == len(header):
                    yield f"{label}:{number}", dict(zip(header, cells, strict=True))
                elif cells:
                    detail = f" has {len(cells)}, the header {len(header)}"
                    yield f"{label}:{number}", NoRow(Fault("other width"), detail)
                number = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{label} is not a whole table: the row that begins in line {number} cannot be read ({error}); a quotation mark "
            'inside a quoted cell is written twice ("")'
        ) from None


def _reader(table: str, separator: str) -> Any:
    return csv.reader(io.StringIO(table, newline=""), delimiter=separator, strict=True)


@contextmanager
def _any_length(table: str) -> Iterator[None]:
    """Let a cell be as long as the table; the limit of the module csv is one for the whole process."""
    before = csv.field_size_limit(max(1, len(table)))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).split(" (char")[0].split(": value has")[0]


def _reason_in_line(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')}, column {error.colno}"
    return _reason(error)
