"""A run's answer on the terminal: the verdict, the numbers behind it, and where the report is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from freerun.commands.terminal import columns_between, say, shown
from freerun.results.verdict import horizon_beside

LABEL = 19
"""Columns of the points' headings."""

if TYPE_CHECKING:
    from freerun.runs.run import Run


def tell(run: Run, out: TextIO) -> None:
    """Print what a person wants to know first: the outcome, three points under it, the numbers, and what to type next."""
    width = columns_between(1, 100)
    result = run.result
    verdict = result["verdict"]

    def paragraph(text: str, indent: str = "") -> None:
        say(textwrap.wrap(shown(text), width, initial_indent=indent, subsequent_indent=" " * len(indent)), out)

    print(file=out)
    paragraph(verdict["sentence"])
    if beside := horizon_beside(verdict):
        paragraph(beside)
    if verdict.get("strength") == "slight":
        paragraph("This rests on few texts: take it for a hint.")
    print(file=out)
    say_points(verdict, out)
    print(file=out)
    for card in result["headline"]:
        value = f"{card['value']} {card['unit']}".strip()
        interval = f"  (95%: {card['interval']})" if card["interval"] else ""
        note = f"  {card['note']}" if card["note"] else ""
        say([f"  {card['label']:<24}{value}{interval}{note}"], out)
    print(file=out)
    if result.get("first_look") is None:  # how that goes on stands below it, with its whole command
        say_next(verdict, out)
    say([f"report   {run.report}", f"numbers  {run.path / 'result.json'}"], out)


def point_lines(label: str, text: str, width: int) -> list[str]:
    """A point as lines of at most `width` columns: its heading beside it, or above it where there is little room."""
    if width < 60:
        return [f"{shown(label)}:", *textwrap.wrap(shown(text), width, initial_indent="  ", subsequent_indent="  ")]
    first, indent = f"  {shown(label):<{LABEL}}", " " * (LABEL + 2)
    return textwrap.wrap(shown(text), width, initial_indent=first, subsequent_indent=indent)


def say_points(verdict: Mapping[str, Any], out: TextIO) -> None:
    """The points under the verdict of any verb, as JSON has them; where there are none, its detail."""
    width = columns_between(32, 100)
    for point in verdict.get("points") or ():
        say(point_lines(point["label"], point["text"], width), out)
    if not verdict.get("points") and (detail := verdict.get("detail")):
        say(textwrap.wrap(shown(detail), width), out)


def say_next(verdict: Mapping[str, Any], out: TextIO) -> None:
    """What to type next, where something is open."""
    if step := verdict.get("next_step"):
        say(next_lines(step["words"], step["type"], columns_between(40, 100)), out)


def next_lines(words: str, typed: str, width: int) -> list[str]:
    """What to do next, and under it what to type for it, which is never wrapped."""
    told = textwrap.wrap(shown(words), width, initial_indent="next     ", subsequent_indent=" " * 9)
    command = shown(typed)
    return [*told, f"{' ' * (9 if len(command) + 9 <= width else 2)}{command}"]
