"""Sources files: which latents a text may have, their values with other names for them, priors, and header templates.

A file that cannot be used is refused with its line and the reason.
"""

from __future__ import annotations

import hashlib
import math
import re
import string
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from freerun.errors import DataError, UsageError, nearest
from freerun.jobs.source.toml_lines import line_of, toml_lines

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
        wanted = label.strip().casefold()
        for value in self.values:
            if wanted in (s.casefold() for s in value.spellings):
                return value.name
            if value.numbers is not None and re.fullmatch(r"-?\d{1,9}", wanted):
                low, high = value.numbers
                if low <= int(wanted) <= high:
                    return value.name
        return OTHER if wanted == OTHER else None


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
        DataError: no such file, or one that cannot be used: with line and reason.
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
        DataError: what is wrong first, as `origin:line: reason`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"^(.*?) \(at line (\d+), column \d+\)$", str(error))
        line, reason = (place[2], place[1]) if place else (text.count("\n") + 1, str(error).split(" (at ")[0])
        raise DataError(f"{origin}:{line}: not TOML: {reason}") from None
    return _Check(toml_lines(text), origin).sources(table, hashlib.sha256(text.encode()).hexdigest()[:16])


class _Check:
    """Reads the parsed table; whatever is wrong is refused with the line it stands on."""

    def __init__(self, lines: dict[Any, int], origin: str) -> None:
        self.lines, self.origin = lines, origin

    def sources(self, table: Mapping[str, Any], fingerprint: str) -> Sources:
        self._fields(table, (), ("title", "latent", "joint"), needed=("latent",))
        latents = self._table(table["latent"], ("latent",))
        if not latents:
            self._refuse(("latent",), "there is no latent; begin one with [latent.NAME]")
        found = tuple(self._latent(name, value) for name, value in latents.items())
        joint: tuple[str, ...] = ()
        if "joint" in table:
            section = self._table(table["joint"], ("joint",))
            self._fields(section, ("joint",), ("templates",), needed=("templates",))
            joint = self._templates(section["templates"], ("joint", "templates"), [x.name for x in found])
        title = self._string(table.get("title", self.origin), ("title",))
        return Sources(title, found, joint, self.origin, fingerprint)

    def _latent(self, name: str, given: Any) -> SourceLatent:
        path = ("latent", name)
        if not _WORD.fullmatch(name):
            self._refuse(
                path, f"the latent's name {name!r} must be one word of letters, digits and _, for placeholders"
            )
        table = self._table(given, path)
        self._fields(
            table, path, ("value", "other", "templates", "cues", "beta"), needed=("value", "templates", "cues")
        )
        other = self._number(table.get("other", DEFAULT_OTHER), (*path, "other"))
        if not 0 < other < 1:
            self._refuse(
                (*path, "other"), f"other = {other:g}: the prior of none of these must lie strictly between 0 and 1"
            )
        beta = None
        if "beta" in table:
            beta = self._number(table["beta"], (*path, "beta"))
            if not 0 < beta <= 10:
                self._refuse((*path, "beta"), f"beta = {beta:g}: the exponent must be above 0 and at most 10")
        rows = table["value"]
        if not isinstance(rows, list) or not rows:
            self._refuse((*path, "value"), f"values are tables: begin each with [[latent.{name}.value]]")
        values = [self._value(row, (*path, "value", i)) for i, row in enumerate(rows)]
        self._check_spellings(values, path)
        return SourceLatent(
            name,
            self._with_priors(values, rows, other, path),
            other,
            self._templates(table["templates"], (*path, "templates"), [name]),
            self._strings(table["cues"], (*path, "cues")),
            beta,
        )

    def _value(self, given: Any, path: tuple[Any, ...]) -> Value:
        row = self._table(given, path)
        self._fields(row, path, ("name", "aliases", "prior", "numbers"), needed=("name",))
        name = self._string(row["name"], (*path, "name"))
        if name.casefold() == OTHER:
            self._refuse((*path, "name"), f"a value cannot be called {name!r}: that is what none of these is called")
        aliases = self._strings(row["aliases"], (*path, "aliases"), few_ok=True) if "aliases" in row else ()
        prior = self._number(row["prior"], (*path, "prior")) if "prior" in row else 0.0
        if "prior" in row and not 0 < prior < 1:
            self._refuse((*path, "prior"), f"prior = {prior:g}: a prior must lie strictly between 0 and 1")
        numbers = None
        if "numbers" in row:
            pair = row["numbers"]
            whole = isinstance(pair, list) and len(pair) == 2 and all(type(x) is int for x in pair)
            if not whole or pair[0] > pair[1]:
                self._refuse((*path, "numbers"), f"numbers = {pair!r}: wanted [first, last], two whole numbers")
            numbers = (pair[0], pair[1])
        return Value(name, aliases, prior, numbers)

    def _check_spellings(self, values: Sequence[Value], path: tuple[Any, ...]) -> None:
        seen: dict[str, str] = {}
        for i, value in enumerate(values):
            for j, spelling in enumerate(value.spellings):
                place = (*path, "value", i, "aliases", j - 1) if j else (*path, "value", i, "name")
                before = seen.get(spelling.strip().casefold())
                if before is not None:
                    whose = "twice" if before == value.name and j else f"already, for {before!r}"
                    self._refuse(place, f"{'alias' if j else 'name'} {spelling!r} of {value.name!r} is here {whose}")
                seen[spelling.strip().casefold()] = value.name

    def _with_priors(
        self, values: Sequence[Value], rows: Sequence[Mapping[str, Any]], other: float, path: tuple[Any, ...]
    ) -> tuple[Value, ...]:
        given = ["prior" in row for row in rows]
        if not any(given):
            return tuple(replace(v, prior=(1 - other) / len(values)) for v in values)
        if not all(given):
            i = given.index(False)
            self._refuse(
                (*path, "value", i), f"{values[i].name!r} has no prior and others do: give all values one, or none"
            )
        total = math.fsum([other, *(v.prior for v in values)])
        if abs(total - 1) > 1e-6:
            last = (*path, "value", len(values) - 1, "prior")
            self._refuse(
                last,
                f"the priors of {path[1]} sum to {total:.6g} with other = {other:g}, not to 1 (the last one is here)",
            )
        return tuple(replace(v, prior=v.prior / total) for v in values)

    # ---- templates ---------------------------------------------------------------------------------------------------

    def _templates(self, given: Any, path: tuple[Any, ...], latents: Sequence[str]) -> tuple[str, ...]:
        templates = self._strings(given, path)
        if len(templates) < MIN_TEMPLATES:
            self._refuse(
                path, f"{len(templates)} templates, at least {MIN_TEMPLATES} are needed: one wording proves nothing"
            )
        for i, template in enumerate(templates):
            used = self._placeholders(template, (*path, i))
            for name in latents:
                if name not in used:
                    self._refuse((*path, i), f"template {template!r} has no placeholder {{{name}}}")
            for name in used:
                if name not in latents:
                    allowed = ", ".join(f"{{{x}}}" for x in latents)
                    self._refuse(
                        (*path, i), f"template {template!r} has a placeholder {{{name}}}; known here: {allowed}"
                    )
        return templates

    def _placeholders(self, template: str, path: tuple[Any, ...]) -> list[str]:
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            self._refuse(path, f"template {template!r}: {error}; write a literal brace twice")
        for _, name, form, conversion in parts:
            if name is not None and (form or conversion or not _WORD.fullmatch(name)):
                self._refuse(path, f"template {template!r}: a placeholder is a latent's name alone, like {{author}}")
        return [name for _, name, _, _ in parts if name is not None]

    # ---- plain values ------------------------------------------------------------------------------------------------

    def _fields(
        self, table: Mapping[str, Any], path: tuple[Any, ...], allowed: Sequence[str], *, needed: Iterable[str]
    ) -> None:
        for key in table:
            if key not in allowed:
                self._refuse((*path, key), f"unknown field {key!r}{nearest(key, allowed)}; known: {', '.join(allowed)}")
        for key in needed:
            if key not in table:
                self._refuse(path, f"{'.'.join(str(p) for p in path) or 'the file'} lacks the field {key!r}")

    def _table(self, given: Any, path: tuple[Any, ...]) -> Mapping[str, Any]:
        if not isinstance(given, dict):
            self._refuse(path, f"{path[-1]} must be a table, not {given!r}")
        return given

    def _strings(self, given: Any, path: tuple[Any, ...], *, few_ok: bool = False) -> tuple[str, ...]:
        if not isinstance(given, list) or (not given and not few_ok):
            self._refuse(path, f"{path[-1]} must be a list of strings{'' if few_ok else ', not an empty one'}")
        found = [self._string(x, (*path, i)) for i, x in enumerate(given)]
        for i, x in enumerate(found):
            if x in found[:i] and path[-1] != "aliases":
                self._refuse((*path, i), f"{x!r} stands in {path[-1]} twice")
        return tuple(found)

    def _string(self, given: Any, path: tuple[Any, ...]) -> str:
        if not isinstance(given, str) or not given.strip():
            self._refuse(path, f"{path[-1] if isinstance(path[-1], str) else path[-2]}: {given!r} is no text")
        return given

    def _number(self, given: Any, path: tuple[Any, ...]) -> float:
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
            self._refuse(path, f"{path[-1]} = {given!r} is not a number")
        return float(given)

    def _refuse(self, path: tuple[Any, ...], reason: str) -> NoReturn:
        raise DataError(f"{self.origin}:{line_of(self.lines, path)}: {reason}")
