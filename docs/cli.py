"""The reference of the command line, made from its parsers: `python docs/cli.py` writes docs/cli.md, a test holds it."""

from __future__ import annotations

import argparse
from pathlib import Path

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
        parts.append(f"\n## freerun {verb}\n\n{meaning[0].upper()}{meaning[1:]}.\n")
        rows = [_row(action) for action in parser._actions if action.help != argparse.SUPPRESS]
        parts += ["\n| argument | what it is |\n|---|---|\n", *rows]
    return "".join(parts)


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    values = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    values = " ".join(values) if isinstance(values, tuple) else values
    takes = values if action.nargs != 0 else ""
    shown = " ".join(filter(None, (name, takes))) or action.dest.upper()
    words = " ".join(((action.help or "") % {"default": action.default, "prog": "freerun"}).split())
    return f"| `{shown}` | {words} |\n".replace("|N", "\\|N")


if __name__ == "__main__":
    PAGE.write_text(reference())
