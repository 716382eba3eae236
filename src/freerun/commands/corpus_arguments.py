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


def add_prompt_arguments(
    parser: argparse.ArgumentParser,
    *,
    heading: str = "how prompts are put to the model",
    template: str = "the model's own",
) -> None:
    """Add the flags that say how prompts are rendered; `template`: whose renders them."""
    chat = parser.add_argument_group(f"{heading} (rows with a prompt, or conversations)")
    chat.add_argument(
        "--chat",
        action="store_true",
        help=f"render them by {template} chat template (default: plain text, a blank line after each turn)",
    )
    chat.add_argument(
        "--system", metavar="TEXT", help="system turn, in the place of a conversation's own (with --chat)"
    )
    chat.add_argument(
        "--template-option",
        dest="template_options",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a variable of the template, for example enable_thinking=false; may be repeated (with --chat)",
    )


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was said about reading, as `read_corpus` takes it."""
    return {name: getattr(arguments, name) for name in ("text_field", "format", "skip_bad_rows")}
