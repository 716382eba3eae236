"""The small parts that pictures are made of: SVG elements, and how each role looks without its colour."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from freerun.report.visible import visible

Point = tuple[float, float]
FONT = 13.0
"""Size of all text in pictures, in CSS pixels."""
ROLES = ("real", "free", "tempered", "control", "reference", "other")
_DASHES = ("", "8 4", "2 4", "10 4 2 4", "5 3", "14 5")
_FIRST_DASH = {"free": 0, "real": 1, "tempered": 2, "control": 3, "other": 4, "reference": 5}


def element(name: str, *children: str, **attributes: Any) -> Markup:
    """Return one SVG element; strings are escaped, floats are shortened, None leaves an attribute out.

    >>> element("text", "a < b", x=1.0, class_="tick")
    Markup('<text x="1" class="tick">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(c if isinstance(c, Markup) else escape(visible(c)) for c in children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def drawing(
    parts: Iterable[Markup],
    width: float,
    height: float,
    key: str,
    title: str,
    words: str,
    *,
    kind: str = "chart",
    sized: bool = False,
) -> Markup:
    """Return the parts as one SVG that says in words what it shows; ids begin with `key`. `sized`: it does not scale."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", words, id=f"{key}-desc"),
        *parts,
        class_=kind,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        width=coordinate(width) if sized else None,
        height=coordinate(height) if sized else None,
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def coordinate(value: float) -> str:
    """Print a coordinate with at most one decimal: a seventh of a pixel on a screen."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(points: Iterable[Point]) -> str:
    """What a path draws through the points."""
    return "M" + " ".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)


def role_of(role: object) -> str:
    """Return `role` if it is a known one, otherwise `other`."""
    return role if isinstance(role, str) and role in ROLES else "other"


def dash(role: str, variant: int) -> str | None:
    """Return the dash pattern of the `variant`-th curve of a role (None: a solid line)."""
    return _DASHES[(_FIRST_DASH[role] + 2 * variant) % len(_DASHES)] or None


def markers(role: str, variant: int, points: Iterable[Point], r: float = 3.6) -> Markup:
    """Return points in the shape of their role; odd variants are hollow."""
    shapes = [_shape(role, x, y, r) for x, y in points]
    return element("g", *shapes, class_="points hollow" if variant % 2 else "points") if shapes else Markup("")


_CORNERS = {
    "tempered": ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "control": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    "reference": ((-1.1, -0.8), (1.1, -0.8), (0.0, 1.2)),
}


def _shape(role: str, x: float, y: float, r: float) -> Markup:
    if role == "free":
        return element("rect", x=x - r * 0.9, y=y - r * 0.9, width=r * 1.8, height=r * 1.8)
    if role in _CORNERS:
        corners = (f"{coordinate(x + r * a)},{coordinate(y + r * b)}" for a, b in _CORNERS[role])
        return element("polygon", points=" ".join(corners))
    return element("circle", cx=x, cy=y, r=r)


def text_width(text: str, size: float) -> float:
    """Return a generous estimate of the width of `text` in a sans-serif face of `size`."""
    return size * sum(_character_width(c) for c in text)


def shortened(text: str, size: float, width: float) -> str:
    """Return `text`, cut with an ellipsis where it is wider than `width`."""
    text = visible(text).replace("\n", " ")
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[: -max(1, len(text) // 20)]
    return text.rstrip() + "…"


def _attribute(value: Any) -> str:
    return coordinate(value) if isinstance(value, float) else escape(visible(str(value)))


def _character_width(c: str) -> float:
    if c.isascii():
        return 0.34 if c in " .,:;|!'il" else 0.78 if c.isupper() or c in "mw%@" else 0.62
    return 1.05 if unicodedata.east_asian_width(c) in "WF" else 0.7
