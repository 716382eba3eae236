"""The flags that say how a corpus is read, shared by every verb that reads one."""

from __future__ import annotations

import argparse
from typing import Any

from freerun.text.formats import FORMATS, suffixes_in_words

CORPUS_HELP = (
    f"a file or pipe ({suffixes_in_words()}), a folder of them, a data set saved by the package datasets (FOLDER[split]), "
    "hf/ORG/NAME[split], builtin/NAME or - (stdin); docs/text.md says what a document is in each"
)


def add_reading_arguments(group: argparse._ArgumentGroup, *, prompts: bool = False) -> None:
    """Add the flags of `reading_options` to a group of a parser; `prompts`: rows may hold a prompt with a response."""
    group.add_argument(
        "--text-field",
        default="text",
        metavar="NAME",
        help="field of the text where documents are rows, doc.text for one inside another (default text)",
    )
    if prompts:
        group.add_argument(
            "--prompt-field",
            metavar="NAME",
            help="field of a prompt, which the text responds to; conversations (a list of messages) need no such field",
        )
    group.add_argument(
        "--format",
        choices=tuple(FORMATS),
        metavar="FORMAT",
        help=f"format of the input where its name does not show it (stdin, pipes): {', '.join(FORMATS)}",
    )
    group.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out rows that hold no text (null, a number, no such field, broken JSON) and say how many; refused otherwise",
    )


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was said about reading, as `read_corpus` takes it."""
    return {name: getattr(arguments, name) for name in ("text_field", "format", "skip_bad_rows")}
