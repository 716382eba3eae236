"""The reference of the command line, made from its parsers: `python docs/cli.py` writes docs/cli.md, a test holds it."""

from __future__ import annotations

import argparse
from pathlib import Path

from freerun.commands.lab import EXPERIMENTS
from freerun.commands.main import VERBS, verb_parser

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Command line

Made from the parsers by `python docs/cli.py`. `freerun VERB --help` prints the same with examples.

| exit code | when |
|---|---|
| 0 | done |
| 1 | a gate failed |
| 2 | usage: what was typed does not exist or does not go together |
| 3 | too few documents, or a gate that is not decided |
| 4 | data or backend |
| 130 | interrupted |
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for verb, meaning in VERBS.items():
        parser = verb_parser(verb)
        parts += _part(f"freerun {verb}", meaning, parser)
        for name, own in _kinds(parser):
            parts += _part(f"freerun {verb} {name}", EXPERIMENTS[name], own)
    return "".join(parts)


def _kinds(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """The parsers of a verb that has several kinds."""
    return [kind for a in parser._actions if isinstance(a, argparse._SubParsersAction) for kind in a.choices.items()]


def _part(title: str, meaning: str, parser: argparse.ArgumentParser) -> list[str]:
    rows = [_row(action) for action in parser._actions if action.help != argparse.SUPPRESS]
    words = f"{meaning[0].upper()}{meaning[1:]}"
    return [f"\n## {title}\n\n{words}.\n", "\n| argument | what it is |\n|---|---|\n", *rows]


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    if isinstance(action, argparse._SubParsersAction):
        return f"| `{action.metavar}` | {', '.join(action.choices)}; each is described below |\n"
    values = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    values = " ".join(values) if isinstance(values, tuple) else values
    takes = values if action.nargs != 0 else ""
    shown = " ".join(filter(None, (name, takes))) or action.dest.upper()
    words = " ".join(((action.help or "") % {"default": action.default, "prog": "freerun"}).split())
    return f"| `{shown}` | {words} |\n".replace("|N", "\\|N")


if __name__ == "__main__":
    PAGE.write_text(reference())
