"""The single-file page of `freerun grid`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from freerun.report.numbers import format_number
from freerun.report.pages.compare import chance, signed, strip
from freerun.report.pages.template import Page, badge

SIGNS = {
    "told_apart": ("bad", "≠", "Told apart"),
    "not_reached": ("good", "✓", "Not told apart"),
    "open": ("unknown", "?", "Open"),
    "not_judged": ("unknown", "?", "Not judged"),
}
"""Tone, sign and words of each outcome of a cell."""


@dataclass(frozen=True)
class MatrixRow:
    """A model at one setting, and its cell on every corpus; None where the grid has none."""

    model: str
    settings: str
    cells: tuple[Mapping[str, Any] | None, ...]


def render_grid(result: Mapping[str, Any]) -> str:
    """Return the page of a grid as one HTML document that needs no network and no other file but links to its cells' pages."""
    return _PAGE.render(result=result)


def matrix(result: Mapping[str, Any]) -> Iterator[MatrixRow]:
    """The cells by model and settings, corpora from left to right."""
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for cell in result["cells"]:
        rows.setdefault((cell["model"], in_words(cell["settings"])), {})[cell["corpus"]] = cell
    for (model, settings), cells in rows.items():
        yield MatrixRow(model, settings, tuple(cells.get(c) for c in result["corpora"]))


def in_words(settings: list[Mapping[str, Any]]) -> str:
    """Settings on one line.

    >>> in_words([{"key": "prefix", "value": "8"}, {"key": "dtype", "value": "bf16"}])
    'prefix 8, dtype bf16'
    """
    return ", ".join(f"{s['key'].replace('_', ' ')} {s['value']}" for s in settings)


def outcome(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """Tone, sign and words of a cell."""
    own = cell["own_text"]
    if cell["state"] != "done":
        return ("unknown", "–", str(cell["state"]).capitalize())
    if own and own["fault"]:
        return ("bad", "!", "Sampler audit failed" if own["fault"] == "sampler_audit" else "Own text refused")
    return SIGNS[cell["outcome"]]


def horizon_words(cell: Mapping[str, Any]) -> str:
    """H75 with its interval, as the matrix has it."""
    h = cell["h75_tokens"]
    return "–" if h is None else str(h["words"])


def ends(b: Mapping[str, Any]) -> str:
    """The limits of an interval."""
    return f"{format_number(b['low'])} to {format_number(b['high'])}"


_PAGE = Page(
    "grid.html.j2",
    {
        "badge": partial(badge, bad=("≠", "Told apart"), neutral=("·", "No difference found")),
        "chance": chance,
        "ends": ends,
        "horizon": horizon_words,
        "in_words": in_words,
        "matrix": lambda result: list(matrix(result)),
        "outcome": outcome,
        "signed": signed,
        "strip": strip,
    },
    css=("compare.css", "grid.css"),
)
