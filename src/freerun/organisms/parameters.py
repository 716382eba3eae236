"""Typed parameters of organisms: how a value is read, what is allowed, what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from freerun.errors import UsageError, nearest


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
        """The value that was typed.

        Raises:
            UsageError: not of this kind, or not allowed.
        """
        where = f"+{of}: {self.name}={typed}"
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
            end = "lie above {0:g} and at most {1:g}" if self.closed_high else "lie strictly between {0:g} and {1:g}"
            return end.format(self.low, self.high)
        if self.kind == "whole":
            if math.isinf(self.high):
                return f"be at least {self.low:g}"
            return f"lie between {self.low:g} and {self.high:g}"
        if self.kind == "word":
            return f"be {' or '.join(self.choices)}"
        return {"spec": "name a model", "corpus": "name a corpus"}.get(self.kind, "be a text")


def fraction(name: str, default: float, meaning: str) -> Parameter:
    """A number strictly between 0 and 1."""
    return Parameter(name, "real", meaning, default=default, low=0.0, high=1.0)


def whole(name: str, default: int | None, meaning: str, *, low: int, high: float = math.inf) -> Parameter:
    """A whole number."""
    return Parameter(name, "whole", meaning, default=default, low=low, high=high)


def word(name: str, default: str, choices: tuple[str, ...], meaning: str) -> Parameter:
    """One of several words."""
    return Parameter(name, "word", meaning, default=default, choices=choices)


def text(name: str, meaning: str, *, default: str | None = None) -> Parameter:
    """Any text; with commas or plus signs in parentheses."""
    return Parameter(name, "text", meaning, default=default)


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
