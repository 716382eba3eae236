"""Rows as files hold them: fields by name, names in a canonical form, and an account of every row that holds no text."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freerun.errors import DataError, nearest

STRING_FIELD = "text"
"""What the only field of a row is called that is a mere string."""
PLACES_NAMED = 3
MISSING: Any = object()
"""What `look_up` returns where there is no such field."""

Why = Literal[
    "no field",
    "no text",
    "not JSON",
    "no row",
    "other width",
    "no prompt field",
    "no prompt text",
    "empty prompt",
    "no roles",
    "no turn text",
]


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be used; `type`: what stands where a text or a row should (of a prompt field, its name)."""

    why: Why
    type: str = ""


@dataclass(frozen=True)
class NoRow:
    """What a reader hands on in the place of a row that it cannot read."""

    fault: Fault
    detail: str


class BadRows:
    """The rows of one corpus, and those of them that cannot be used, by the reason; the first places of each are kept."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.counts: Counter[Fault] = Counter()
        self.places: defaultdict[Fault, list[str]] = defaultdict(list)
        self.fields: list[str] | None = None
        """Those of the first row that lacks the text field."""
        self.array_in_lines: str | None = None
        """A file of lines that is one JSON array."""

    @property
    def n_bad(self) -> int:
        """Rows that cannot be used."""
        return self.counts.total()

    def add(self, fault: Fault, place: str, n: int = 1) -> None:
        """Count `n` rows, the first of them at `place`."""
        self.counts[fault] += n
        if len(self.places[fault]) < PLACES_NAMED:
            self.places[fault].append(place)

    def spelled(self, text_field: str) -> str:
        """Return how many rows have which fault, and where the first of them stand."""
        parts = []
        for fault, n in self.counts.items():
            places = self.places[fault]
            more = [f"{n - len(places)} more"] if n > len(places) else []
            parts.append(f"{_spelled(fault, n, repr(text_field))} ({'; '.join(places + more)})")
        return ", ".join(parts)


def _spelled(fault: Fault, n: int, name: str) -> str:
    have, are, lack = ("has", "is", "lacks") if n == 1 else ("have", "are", "lack")
    words = {
        "no field": f"{n} {lack} the field {name}",
        "no text": f"{n} {have} {_article(fault.type)} in the field {name}, not a string",
        "not JSON": f"{n} {are} not JSON",
        "no row": f"{n} {are} a JSON {fault.type}, not an object or a string",
        "other width": f"{n} {have} not as many cells as the header",
        "no prompt field": f"{n} {lack} the field {fault.type!r} (--prompt-field)",
        "no prompt text": f"{n} {have} {_article(fault.type)} as the prompt, not a string or a list of messages",
        "empty prompt": f"{n} {have} an empty prompt",
        "no roles": f"{n} {have} a message without a role",
        "no turn text": f"{n} {have} a message whose content is {_article(fault.type)}, not text",
    }
    return words[fault.why]


def _article(word: str) -> str:
    if word == "null":
        return word
    return f"an {word}" if word.startswith(tuple("aeiou")) else f"a {word}"


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
            value = look_up(inside, name[at + 1 :])
            if value is not MISSING:
                return value
        at = name.find(".", at + 1)
    return MISSING


def has_field(row: object, name: str) -> bool:
    """Return whether a row is an object with such a field."""
    return isinstance(row, Mapping) and look_up(row, name) is not MISSING


def field_names(row: Mapping[str, Any]) -> list[str]:
    """Return the names that may be looked up in a row, those inside objects with dots.

    >>> field_names({"id": 1, "doc": {"text": "x", "meta": {}}})
    ['id', 'doc.text', 'doc.meta']
    """
    names: list[str] = []
    for name, value in row.items():
        inside = field_names(value) if isinstance(value, Mapping) and name.count(".") < 8 else []
        names += [f"{name}.{inner}" for inner in inside] or [str(name)]
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
    return as_text(value)


def as_text(value: object) -> str:
    """Return a scalar as JSON spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def type_name(value: Any) -> str:
    """Return what JSON calls the type of a value, and of which types a list is."""
    if isinstance(value, list):
        inner = {type_name(item) for item in value}
        name = next(iter(inner), "list")
        return f"list of {name}s" if len(inner) == 1 and not name.startswith("list") else "list"
    return _JSON_TYPES.get(type(value), type(value).__name__)


_JSON_TYPES = {
    dict: "object",
    bool: "boolean",
    str: "string",
    bytes: "byte string",
    type(None): "null",
    **dict.fromkeys((int, float), "number"),
}


def refusal(bad: BadRows, *, spec: str, text_field: str, hint: str) -> str:
    """Return what is wrong with the rows of a corpus, and what to do."""
    n, total = bad.n_bad, bad.n_rows
    ways = []
    if bad.fields is not None:
        ways.append("choose the field with --text-field")
    elif any(fault.why == "no text" for fault in bad.counts):
        ways.append("choose another field with --text-field")
    if any(fault.why == "no prompt field" for fault in bad.counts):
        ways.append("choose the prompt's field with --prompt-field")
    if any(fault.why == "no roles" for fault in bad.counts):
        ways.append('give every message a role, for example {"role": "user", "content": "…"}')
    if any(fault.type == "list of strings" for fault in bad.counts):
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
