"""From rows to documents: the text in its field, names in a canonical form, and an account of every row that holds no text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.errors import DataError, nearest
from freerun.text.cleaning import Cleaning
from freerun.text.documents import Document

STRING_FIELD = "text"
"""What the only field of a row is called that is a mere string."""
PLACES_NAMED = 3
_MISSING = object()

Why = Literal["no field", "no text", "not JSON", "no row", "other width"]


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be used; `found`: the type that stands where a text or a row should."""

    why: Why
    found: str = ""


@dataclass(frozen=True)
class NoRow:
    """What a reader hands on in the place of a row that it cannot read."""

    fault: Fault
    detail: str


@dataclass
class _Cases:
    n: int = 0
    places: list[str] = field(default_factory=list)


class BadRows:
    """The rows of one corpus, and those of them that cannot be used, by the reason; the first places of each are kept."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.cases: dict[Fault, _Cases] = {}
        self.fields: list[str] | None = None
        """Those of the first row that lacks the text field."""
        self.array_in_lines: str | None = None
        """A file of lines that is one JSON array."""

    @property
    def n_bad(self) -> int:
        """Rows that cannot be used."""
        return sum(cases.n for cases in self.cases.values())

    def add(self, fault: Fault, place: str, n: int = 1) -> None:
        """Count `n` rows, the first of them at `place`."""
        cases = self.cases.setdefault(fault, _Cases())
        cases.n += n
        if len(cases.places) < PLACES_NAMED:
            cases.places.append(place)

    def spelled(self, text_field: str) -> str:
        """Return how many rows have which fault, and where the first of them stand."""
        parts = []
        for fault, cases in self.cases.items():
            more = cases.n - len(cases.places)
            where = "; ".join([*cases.places, *([f"{more} more"] if more > 0 else [])])
            parts.append(f"{_spelled(fault, cases.n, repr(text_field))} ({where})")
        return ", ".join(parts)


def _spelled(fault: Fault, n: int, name: str) -> str:
    have, are = ("has", "is") if n == 1 else ("have", "are")
    said = {
        "no field": f"{n} {'lacks' if n == 1 else 'lack'} the field {name}",
        "no text": f"{n} {have} {_article(fault.found)} in the field {name}, not a string",
        "not JSON": f"{n} {are} not JSON",
        "no row": f"{n} {are} a JSON {fault.found}, not an object or a string",
        "other width": f"{n} {have} not as many cells as the header",
    }
    return said[fault.why]


def _article(word: str) -> str:
    if word == "null":
        return word
    return f"an {word}" if word.startswith(tuple("aeiou")) else f"a {word}"


class UnitNames:
    """Which rows name their unit, and by values of which types."""

    def __init__(self) -> None:
        self.n_named = self.n_unnamed = 0
        self.types: set[str] = set()

    def notes(self) -> list[str]:
        """Return what a reader of the intervals has to know."""
        said = []
        if self.n_named and self.n_unnamed:
            total = self.n_named + self.n_unnamed
            said.append(
                f"{self.n_unnamed} of {total} rows without a unit; each of them counts as a unit of its own (or of its id)"
            )
        if len(self.types) > 1:
            said.append(
                f"units are given as {' and '.join(sorted(self.types))}: values that are spelled alike are one unit"
            )
        return said


class RowReader:
    """Turns the rows of one corpus into documents, and keeps account of them."""

    def __init__(self, *, text_field: str, cleaning: Cleaning) -> None:
        self.text_field, self.cleaning = text_field, cleaning
        self.bad, self.units = BadRows(), UnitNames()

    def documents(self, rows: Iterable[tuple[str, Any]], id_prefix: str = "") -> Iterator[Document]:
        """Yield a document for each (place, row) that holds text: `id` and `unit` where the row has them, else its place.

        A row that is a string has that text in the field `text`. Rows that hold no text are counted in `bad`.

        Raises:
            DataError: a row whose `id` or `unit` is no name.
        """
        for place, row in rows:
            self.bad.n_rows += 1
            if isinstance(row, NoRow):
                self.bad.add(row.fault, f"{place}{row.detail}")
                continue
            if isinstance(row, str):
                row = {STRING_FIELD: row}
            if not isinstance(row, Mapping):
                self.bad.add(Fault("no row", type_name(row)), place)
                continue
            text = look_up(row, self.text_field)
            if text is _MISSING:
                self.missing(place, field_names(row))
            elif not isinstance(text, str):
                self.bad.add(Fault("no text", type_name(text)), place)
            else:
                yield self._document(place, row, text, id_prefix)

    def missing(self, place: str, fields: list[str], n: int = 1) -> None:
        """Count `n` rows that lack the text field."""
        if self.bad.fields is None:
            self.bad.fields = fields
            place = f"{place}, which has {', '.join(fields) or 'no field at all'}"
        self.bad.add(Fault("no field"), place, n)

    def all_missing(self, place: str, fields: list[str], n_rows: int) -> None:
        """Count the rows of a file that has no text field at all."""
        if n_rows:
            self.bad.n_rows += n_rows
            self.missing(place, fields, n_rows)

    def _document(self, place: str, row: Mapping[str, Any], text: str, id_prefix: str) -> Document:
        cleaning = self.cleaning
        own = cleaning.clean(name_of(row.get("id"), f"{place}: id"))
        unit = cleaning.clean(name_of(row.get("unit"), f"{place}: unit"))
        if unit:
            self.units.n_named += 1
            self.units.types.add(_plural(row["unit"]))
        else:
            self.units.n_unnamed += 1
        meta = {
            name: cleaning.clean(_as_text(value))
            for name, value in row.items()
            if name not in (self.text_field, "id", "unit") and not isinstance(value, dict | list | bytes | None)
        }
        name = f"{id_prefix}{own}" if own else cleaning.clean(place)
        return Document(id=name, text=cleaning.clean(text), unit=unit or name, meta=meta)


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field, or of a field inside a field (`doc.text`); a name with a dot of its own goes first.

    >>> look_up({"doc": {"text": "x"}}, "doc.text"), look_up({"doc.text": "y", "doc": {"text": "x"}}, "doc.text")
    ('x', 'y')
    """
    if name in row:
        return row[name]
    at = name.find(".")
    while at >= 0:
        inside = row.get(name[:at])
        if isinstance(inside, Mapping):
            found = look_up(inside, name[at + 1 :])
            if found is not _MISSING:
                return found
        at = name.find(".", at + 1)
    return _MISSING


def has_field(row: object, name: str) -> bool:
    """Return whether a row is an object with such a field."""
    return isinstance(row, Mapping) and look_up(row, name) is not _MISSING


def field_names(row: Mapping[str, Any]) -> list[str]:
    """Return the names that may be looked up in a row, those inside objects with dots.

    >>> field_names({"id": 1, "doc": {"text": "x", "meta": {}}})
    ['id', 'doc.text', 'doc.meta']
    """
    names: list[str] = []
    for name, value in row.items():
        inner = field_names(value) if isinstance(value, Mapping) and name.count(".") < 8 else []
        names += [f"{name}.{one}" for one in inner] or [str(name)]
    return names


def name_of(value: object, what: str) -> str:
    """Return an id or a unit in its canonical form; empty where there is none.

    Raises:
        DataError: a list, an object or bytes.

    >>> name_of(7, "id"), name_of(7.0, "id"), name_of(True, "id"), name_of(None, "id"), name_of(float("nan"), "id")
    ('7', '7', 'true', '', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, Mapping | list | tuple | bytes):
        raise DataError(
            f"{what} is {_article(type_name(value))}, not a name: give each row one string or number there "
            "(rows whose units are alike are not independent of one another), or rename the field"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _as_text(value)


def _plural(value: object) -> str:
    return (
        "strings"
        if isinstance(value, str)
        else "numbers"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else f"{type_name(value)}s"
    )


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def type_name(value: Any) -> str:
    """Return what JSON calls the type of a value, and of which types a list is."""
    if isinstance(value, list):
        inner = Counter(type_name(one) for one in value)
        return f"list of {next(iter(inner))}s" if len(inner) == 1 and "list" not in next(iter(inner)) else "list"
    names = {
        dict: "object",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        bytes: "byte string",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def refusal(bad: BadRows, *, spec: str, text_field: str, hint: str = "") -> str:
    """Return what is wrong with the rows of a corpus, and what to do."""
    n, total = bad.n_bad, bad.n_rows
    ways = []
    if bad.fields is not None:
        ways.append("choose the field with --text-field")
    elif any(fault.why == "no text" for fault in bad.cases):
        ways.append("choose another field with --text-field")
    if any(fault.found == "list of strings" for fault in bad.cases):
        ways.append(f"join the strings of a list yourself, for example with jq '.{text_field} |= join(\"\\n\")'")
    if bad.array_in_lines is not None:
        ways.append(f"{bad.array_in_lines} looks like one JSON array, which --format json or the name .json reads")
    if hint:
        ways.append(hint)
    if n < total:
        ways.append("go on without them with --skip-bad-rows")
    elif not ways:
        ways.append("give rows with text")
    which = (
        "its only row cannot"
        if total == 1
        else f"none of its {n} rows can"
        if n == total
        else f"{n} of {total} rows cannot"
    )
    guess = nearest(text_field, bad.fields or ())
    return f"corpus {spec!r}: {which} be used: {bad.spelled(text_field)}; {', or '.join(ways)}{guess}"
