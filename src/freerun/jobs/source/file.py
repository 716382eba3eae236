"""Sources files: which latents a text may have, their values with other names for them, priors, and header templates.

A file that cannot be used is refused with the key at fault, such as `latent.paper.value[1].prior`, and the reason.
"""

from __future__ import annotations

import hashlib
import math
import re
import string
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from freerun.counted import counted
from freerun.errors import DataError, UsageError, nearest

BUILTINS = ("news", "genre", "decade", "era", "code")
"""Files that come with freerun."""
MIN_TEMPLATES = 5
OTHER = "other"
"""What the value is called that stands for none of those in the file."""
DEFAULT_OTHER = 0.1
_TEMPLATE_FILE = "template"
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Value:
    """One value of a latent: its name stands in headers, its aliases are other ways to write it.

    `numbers` are the whole numbers (years, say) that belong to it, from the first to the last.
    """

    name: str
    aliases: tuple[str, ...] = ()
    prior: float = 0.0
    numbers: tuple[int, int] | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class SourceLatent:
    """One thing that a text does not say about itself. Priors of the values and `other` sum to 1."""

    name: str
    values: tuple[Value, ...]
    other: float
    templates: tuple[str, ...]
    cues: tuple[str, ...]
    """What is put after a text to make the model name the value."""
    beta: float | None = None
    """A fitted exponent of the likelihood, where the file has one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The values in order, `other` last."""
        return (*(v.name for v in self.values), OTHER)

    @property
    def priors(self) -> tuple[float, ...]:
        return (*(v.prior for v in self.values), self.other)

    def headers(self) -> tuple[tuple[str, ...], ...]:
        """Every template filled in with every value, `other` left out."""
        return tuple(tuple(t.format(**{self.name: v.name}) for t in self.templates) for v in self.values)

    def value_of(self, label: str) -> str | None:
        """The value that a label names: by name, alias or number, whatever its case; None if none does.

        >>> decade = Value("1850s", numbers=(1850, 1859))
        >>> SourceLatent("decade", (decade,), 0.1, (), ()).value_of("1853")
        '1850s'
        """
        spelling = label.strip().casefold()
        for value in self.values:
            if spelling in (s.casefold() for s in value.spellings):
                return value.name
            if value.numbers is not None and re.fullmatch(r"-?\d{1,9}", spelling):
                low, high = value.numbers
                if low <= int(spelling) <= high:
                    return value.name
        return OTHER if spelling == OTHER else None


@dataclass(frozen=True)
class Sources:
    """A sources file that can be used."""

    title: str
    latents: tuple[SourceLatent, ...]
    joint_templates: tuple[str, ...]
    origin: str
    fingerprint: str

    def latent(self, name: str) -> SourceLatent:
        """The latent of that name.

        Raises:
            UsageError: there is none.
        """
        known = [x.name for x in self.latents]
        if name not in known:
            raise UsageError(f"{self.origin} has no latent {name!r}{nearest(name, known)}; it has {', '.join(known)}")
        return self.latents[known.index(name)]


def read_sources(spec: str) -> Sources:
    """Read a built-in sources file by its name, or any other by its path.

    Raises:
        DataError: no such file, or one that cannot be used: with the key and the reason.
    """
    if spec in BUILTINS:
        return parse_sources(_shipped(spec), spec)
    path = Path(spec).expanduser()
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"--sources {spec}: cannot be read ({reason}){nearest(spec, BUILTINS)}; built in are {', '.join(BUILTINS)}, "
            "and `freerun source --init` writes a file to begin with"
        ) from None
    try:
        return parse_sources(data.decode("utf-8"), path.name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path.name}:{line}: not UTF-8 (byte {data[error.start]:#04x}); save it as UTF-8") from None


def sources_template() -> str:
    """The commented file that `--init` writes."""
    return _shipped(_TEMPLATE_FILE)


def _shipped(name: str) -> str:
    return files("freerun").joinpath("sources", f"{name}.toml").read_text(encoding="utf-8")


def parse_sources(text: str, origin: str) -> Sources:
    """Check a sources file and read it; `origin` is what messages call it.

    Raises:
        DataError: the first mistake, as `origin: key: reason`; what is not valid TOML, as `origin:line: reason`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"^(.*?) \(at line (\d+), column \d+\)$", str(error))
        line, reason = (place[2], place[1]) if place else (text.count("\n") + 1, str(error).split(" (at ")[0])
        raise DataError(f"{origin}:{line}: not TOML: {reason}") from None
    return _sources(_Node(origin, (), table), hashlib.sha256(text.encode()).hexdigest()[:16])


# ---- the parts of a file ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Node:
    """A value of the parsed file and the keys that lead to it."""

    origin: str
    path: tuple[str | int, ...]
    value: Any

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __getitem__(self, key: str | int) -> _Node:
        return _Node(self.origin, (*self.path, key), self.value[key])

    @property
    def items(self) -> list[_Node]:
        return [self[i] for i in range(len(self.value))]

    def refuse(self, reason: str) -> NoReturn:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        raise DataError(f"{self.origin}: {place[1:]}{': ' if place else ''}{reason}")

    def table(self, allowed: Sequence[str] = (), *, needed: Sequence[str] = ()) -> _Node:
        """Itself, once it is a table with the fields needed and no others."""
        if not isinstance(self.value, dict):
            self.refuse(f"must be a table, not {self.value!r}")
        for key in self.value if allowed else ():
            if key not in allowed:
                self[key].refuse(f"unknown field {key!r}{nearest(key, allowed)}; known: {', '.join(allowed)}")
        for key in needed:
            if key not in self:
                self.refuse(f"lacks the field {key!r}")
        return self

    def string(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            self.refuse(f"{self.value!r} is not text")
        return self.value

    def strings(self, *, may_be_empty: bool = False) -> tuple[str, ...]:
        if not isinstance(self.value, list) or not (self.value or may_be_empty):
            self.refuse(f"must be a list of strings{'' if may_be_empty else ', not an empty one'}")
        return tuple(item.string() for item in self.items)

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not math.isfinite(self.value):
            self.refuse(f"{self.value!r} is not a number")
        return float(self.value)

    def probability(self) -> float:
        if not 0 < self.number() < 1:
            self.refuse(f"{self.value:g}: a prior must lie strictly between 0 and 1")
        return self.number()


def _sources(file: _Node, fingerprint: str) -> Sources:
    file.table(("title", "latent", "joint"), needed=("latent",))
    tables = file["latent"].table()
    if not tables.value:
        tables.refuse("there is no latent; begin one with [latent.NAME]")
    latents = tuple(_latent(name, tables[name]) for name in tables.value)
    joint: tuple[str, ...] = ()
    if "joint" in file:
        section = file["joint"].table(("templates",), needed=("templates",))
        joint = _templates(section["templates"], [x.name for x in latents])
    title = file["title"].string() if "title" in file else file.origin
    return Sources(title, latents, joint, file.origin, fingerprint)


def _latent(name: str, table: _Node) -> SourceLatent:
    if not _WORD.fullmatch(name):
        table.refuse(f"the latent's name {name!r} must be one word of letters, digits and _, for placeholders")
    table.table(("value", "other", "templates", "cues", "beta"), needed=("value", "templates", "cues"))
    other = table["other"].probability() if "other" in table else DEFAULT_OTHER
    beta = table["beta"].number() if "beta" in table else None
    if beta is not None and not 0 < beta <= 10:
        table["beta"].refuse(f"{beta:g}: the exponent must be above 0 and at most 10")
    rows = table["value"]
    if not isinstance(rows.value, list) or not rows.value:
        rows.refuse(f"values are tables: begin each with [[latent.{name}.value]]")
    values = [_value(row) for row in rows.items]
    _check_spellings(values, rows)
    return SourceLatent(
        name,
        _with_priors(values, rows, other),
        other,
        _templates(table["templates"], [name]),
        _distinct(table["cues"]),
        beta,
    )


def _value(row: _Node) -> Value:
    row.table(("name", "aliases", "prior", "numbers"), needed=("name",))
    name = row["name"].string()
    if name.casefold() == OTHER:
        row["name"].refuse(f"a value cannot be called {name!r}: that is what none of these is called")
    aliases = row["aliases"].strings(may_be_empty=True) if "aliases" in row else ()
    prior = row["prior"].probability() if "prior" in row else 0.0
    if "numbers" not in row:
        return Value(name, aliases, prior)
    pair = row["numbers"].value
    whole = isinstance(pair, list) and len(pair) == 2 and all(type(x) is int for x in pair)
    if not whole or pair[0] > pair[1]:
        row["numbers"].refuse(f"{pair!r}: wanted [first, last], two whole numbers")
    return Value(name, aliases, prior, (pair[0], pair[1]))


def _check_spellings(values: Sequence[Value], rows: _Node) -> None:
    owners: dict[str, str] = {}
    for value, row in zip(values, rows.items, strict=True):
        for j, spelling in enumerate(value.spellings):
            before = owners.get(spelling.strip().casefold())
            if before is not None:
                place, kind = (row["aliases"][j - 1], "alias") if j else (row["name"], "name")
                whose = "twice" if before == value.name and j else f"already, for {before!r}"
                place.refuse(f"{kind} {spelling!r} of {value.name!r} is here {whose}")
            owners[spelling.strip().casefold()] = value.name


def _with_priors(values: Sequence[Value], rows: _Node, other: float) -> tuple[Value, ...]:
    without = [row for row in rows.items if "prior" not in row]
    if len(without) == len(values):
        return tuple(replace(v, prior=(1 - other) / len(values)) for v in values)
    if without:
        without[0].refuse(f"{without[0].value['name']!r} has no prior and others do: give all values one, or none")
    total = math.fsum([other, *(v.prior for v in values)])
    if abs(total - 1) > 1e-6:
        rows.refuse(f"the priors sum to {total:.6g} with other = {other:g}, not to 1")
    return tuple(replace(v, prior=v.prior / total) for v in values)


def _distinct(texts: _Node) -> tuple[str, ...]:
    strings = texts.strings()
    for i, x in enumerate(strings):
        if x in strings[:i]:
            texts[i].refuse(f"{x!r} stands here twice")
    return strings


def _templates(texts: _Node, latents: Sequence[str]) -> tuple[str, ...]:
    templates = _distinct(texts)
    if len(templates) < MIN_TEMPLATES:
        texts.refuse(
            f"{counted(len(templates), 'template')}, at least {MIN_TEMPLATES} are needed: one wording proves nothing"
        )
    for item in texts.items:
        used = _placeholders(item)
        for name in latents:
            if name not in used:
                item.refuse(f"template {item.value!r} has no placeholder {{{name}}}")
        for name in used:
            if name not in latents:
                allowed = ", ".join(f"{{{x}}}" for x in latents)
                item.refuse(f"template {item.value!r} has a placeholder {{{name}}}; known here: {allowed}")
    return templates


def _placeholders(template: _Node) -> list[str]:
    try:
        parts = list(string.Formatter().parse(template.value))
    except ValueError as error:
        template.refuse(f"template {template.value!r}: {error}; write a literal brace twice")
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion or not _WORD.fullmatch(name)):
            template.refuse(f"template {template.value!r}: a placeholder is a latent's name alone, like {{author}}")
    return [name for _, name, _, _ in parts if name is not None]
