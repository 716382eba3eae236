"""How help is laid out: paragraphs as wide as the terminal, a short usage, examples with their comment beside or under them."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from freerun.commands.terminal import columns_between

_COMMENTED = re.compile(r"(?P<command> {2}\S.*?) {3,}(?P<comment>\S.*)")
"""An indented line with a comment after it: three blanks or more stand between the two."""
_BELOW = " " * 6
"""The indent of a comment under its line."""
_GAP, _NAMES = 3, 20
"""Blanks before a comment, and the widest column of names, whose comments always stand beside them."""


class HelpPage(argparse.HelpFormatter):
    """Descriptions and examples as their modules have them, fitted to the terminal.

    A line without indent belongs to a paragraph, which is filled. Indented lines stay lines, for they are typed or a table;
    comments that do not fit beside them go under them.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=columns_between(40, 100))

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """The command with what must be given; that there are options, in a word."""
        every = list(actions)
        needed = [a for a in every if a.required or not a.option_strings]
        if usage is None and len(needed) < len(every) and not any(a.nargs == argparse.PARSER for a in every):
            words = " ".join((self._prog, *map(self._needed, needed)))
            usage = f"{words} [options]"
        super().add_usage(usage, needed, (), prefix)

    def _needed(self, action: argparse.Action) -> str:
        value = self._format_args(action, self._get_default_metavar_for_positional(action))
        return f"{action.option_strings[0]} {value}" if action.option_strings else value

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in _laid_out(text.strip("\n").splitlines(), width - len(indent)))


def _laid_out(lines: Sequence[str], width: int) -> Iterator[str]:
    for kind, block in groupby(lines, key=_kind):
        if kind == "indented":
            yield from _table(list(block), width)
        elif kind == "paragraph":
            yield from textwrap.wrap(" ".join(block), width, break_long_words=False, break_on_hyphens=False)
        else:
            yield from block


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    return "indented" if line.startswith(" ") else "heading" if line.endswith(":") else "paragraph"


def _table(lines: Sequence[str], width: int) -> Iterator[str]:
    """Lines with their comments in one column, if all fit; under them otherwise.

    >>> list(_table(["  freerun audit   the main job", "  freerun"], 40))
    ['  freerun audit   the main job', '  freerun']
    >>> list(_table(["  freerun audit world/markov   the main job", "  freerun"], 40))
    ['  freerun audit world/markov', '      the main job', '  freerun']
    """
    commented = [match for line in lines if (match := _COMMENTED.fullmatch(line))]
    column = max((len(m["command"]) for m in commented), default=0) + _GAP
    if names := column <= _NAMES:
        column = max((m.start("comment") for m in commented), default=0)
    beside = names or all(column + len(m["comment"]) <= width for m in commented)
    for line in lines:
        match = _COMMENTED.fullmatch(line)
        if line.startswith(_BELOW):
            yield from textwrap.wrap(line.strip(), width, initial_indent=_BELOW, subsequent_indent=_BELOW)
        elif match is None:
            yield line
        elif beside:
            yield from textwrap.wrap(
                match["comment"],
                width,
                initial_indent=match["command"].ljust(column),
                subsequent_indent=" " * column,
            )
        else:
            yield match["command"]
            yield from textwrap.wrap(match["comment"], width, initial_indent=_BELOW, subsequent_indent=_BELOW)
