"""What can be named: the entry of a thing with its meaning and typed parameters, and the folder whose files hold such entries."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, TypeVar

from freerun.errors import UsageError, nearest

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One parameter. A `real` lies strictly between `low` and `high` (`closed_high`: up to it), a `whole` in [low, high]."""

    name: str
    kind: str
    """real, whole, word, text, spec (a model) or corpus."""
    meaning: str
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    closed_high: bool = False
    choices: tuple[str, ...] = ()
    required: bool = False

    def read(self, typed: str, *, of: str) -> Any:
        """The value that was typed after `of`.

        Raises:
            UsageError: not of this kind, or not allowed.
        """
        where = f"{of}: {self.name}={typed}"
        if self.kind in ("real", "whole"):
            return self._number(typed, where)
        if self.kind == "word":
            if typed not in self.choices:
                raise UsageError(f"{where} is not one of {', '.join(self.choices)}{nearest(typed, self.choices)}")
            return typed
        value = unwrapped(typed)
        if not value and self.kind != "text":
            raise UsageError(f"{where} names nothing")
        return value

    def _number(self, typed: str, where: str) -> Any:
        try:
            value = float(typed) if self.kind == "real" else int(typed)
        except ValueError:
            raise UsageError(f"{where} is not a {'' if self.kind == 'real' else 'whole '}number") from None
        if self.kind == "whole":
            inside = self.low <= value <= self.high
        else:
            inside = self.low < value < self.high or (self.closed_high and value == self.high)
        if not inside:
            raise UsageError(f"{where}: it must {self.allowed()}")
        return value

    def allowed(self) -> str:
        """What values there may be, in words.

        >>> fraction("epsilon", 0.1, "mass").allowed(), whole("k", 50, "tokens", low=1).allowed()
        ('lie strictly between 0 and 1', 'be at least 1')
        """
        if self.kind == "real":
            if math.isinf(self.low):
                return "be a finite number"
            end = "lie above {0:g} and at most {1:g}" if self.closed_high else "lie strictly between {0:g} and {1:g}"
            return end.format(self.low, self.high)
        if self.kind == "whole":
            if math.isinf(self.low):
                return "be a whole number"
            return (
                f"be at least {self.low:g}" if math.isinf(self.high) else f"lie between {self.low:g} and {self.high:g}"
            )
        if self.kind == "word":
            return f"be {' or '.join(self.choices)}"
        return {"spec": "name a model", "corpus": "name a corpus"}.get(self.kind, "be a text")


def real(name: str, default: float, meaning: str) -> Parameter:
    """Any finite number."""
    return Parameter(name, "real", meaning, default)


def fraction(name: str, default: float, meaning: str) -> Parameter:
    """A number strictly between 0 and 1."""
    return Parameter(name, "real", meaning, default, low=0.0, high=1.0)


def check_fraction(**values: float) -> None:
    """Raises UsageError where a number does not lie strictly between 0 and 1."""
    for name, value in values.items():
        if not 0 < value < 1:
            raise UsageError(f"{name} must lie strictly between 0 and 1, not {value}")


def whole(name: str, default: int | None, meaning: str, *, low: float = -math.inf, high: float = math.inf) -> Parameter:
    """A whole number."""
    return Parameter(name, "whole", meaning, default, low=low, high=high)


def word(name: str, default: str, choices: tuple[str, ...], meaning: str) -> Parameter:
    """One of several words."""
    return Parameter(name, "word", meaning, default, choices=choices)


def text(name: str, meaning: str, *, default: str | None = None) -> Parameter:
    """Any text; with commas or plus signs in parentheses."""
    return Parameter(name, "text", meaning, default)


@dataclass(frozen=True)
class Entry:
    """One thing that can be named, `PREFIX` and name, with `,param=value` after it."""

    name: str
    meaning: str
    build: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    alternatives: tuple[str, ...] = ()
    """Parameters of which at most one may be given."""
    check: Callable[[Values], None] = field(default=lambda _: None)
    """Refuses values that do not go together."""
    prefix: ClassVar[str] = ""

    def read(self, settings: Sequence[str]) -> Values:
        """The value of every parameter, from `param=value` settings and defaults.

        Raises:
            UsageError: no such parameter, a value that is not allowed, a parameter twice or missing.
        """
        of = f"{self.prefix}{self.name}"
        known = {p.name: p for p in self.parameters}
        given: dict[str, Any] = {}
        for setting in settings:
            key, equals, value = setting.partition("=")
            if key not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise UsageError(f"{of} has no parameter {key!r}{nearest(key, known)}; {has}")
            if not equals:
                raise UsageError(f"{of}: {key} needs a value, {key}=…")
            if key in given:
                raise UsageError(f"{of}: {key} is given twice")
            given[key] = known[key].read(value, of=of)
        for p in self.parameters:
            if p.required and p.name not in given:
                raise UsageError(f"{of} needs {p.name}=… ({p.meaning})")
        rivals = [k for k in self.alternatives if k in given]
        if len(rivals) > 1:
            raise UsageError(f"{of} takes one of {', '.join(self.alternatives)}, not both {rivals[0]} and {rivals[1]}")
        self.check(given)
        return {p.name: given.get(p.name, p.default) for p in self.parameters}

    def example(self) -> str:
        """The thing with its defaults, as it is typed; required values stand as …"""
        shown = [p for p in self.parameters if p.default is not None or p.required]
        return ",".join([f"{self.prefix}{self.name}", *(f"{p.name}={'…' if p.required else p.default}" for p in shown)])


NamedT = TypeVar("NamedT")


def collected(package: str, kind: type[NamedT]) -> dict[str, NamedT]:
    """Everything of a kind that stands at the top level of a package's modules, by its name, in their order."""
    found: dict[str, NamedT] = {}
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        found |= {x.name: x for x in vars(import_module(module.name)).values() if isinstance(x, kind)}  # type: ignore[attr-defined]
    return found


def entry_of(entries: Mapping[str, NamedT], name: str, what: str) -> NamedT:
    """The entry of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in entries:
        raise UsageError(f"unknown {what} {name!r}{nearest(name, entries)}; known: {', '.join(entries)}")
    return entries[name]


def split_outside(typed: str, separator: str) -> list[str]:
    """Split at a separator that stands outside all parentheses.

    Raises:
        UsageError: parentheses that do not match.

    >>> split_outside("a+payload,model=(b+null,x=1),epsilon=.1", "+")
    ['a', 'payload,model=(b+null,x=1),epsilon=.1']
    """
    parts, depth = [""], 0
    for c in typed:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            break
        if c == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    if depth:
        raise UsageError(f"{typed!r}: the parentheses do not match")
    return parts


def unwrapped(typed: str) -> str:
    """A value without the one pair of parentheses around it.

    >>> unwrapped("(a,b)"), unwrapped("(a)(b)"), unwrapped("a")
    ('a,b', '(a)(b)', 'a')
    """
    if not (typed.startswith("(") and typed.endswith(")")):
        return typed
    depth = 0
    for i, c in enumerate(typed):
        depth += (c == "(") - (c == ")")
        if depth == 0 and i < len(typed) - 1:
            return typed
    return typed[1:-1]
