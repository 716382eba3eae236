"""The flags that say how a corpus is read, shared by every verb that reads one."""

from __future__ import annotations

import argparse
from typing import Any

from freerun.text.formats import FORMATS, suffixes_in_words

CORPUS_HELP = (
    f"a file or pipe ({suffixes_in_words()}), a folder of them, a folder that Hugging Face's datasets saved "
    "(FOLDER[split]), hf/ORG/NAME[split], builtin/NAME or - for stdin; docs/text.md says what counts as a document"
)


def add_reading_arguments(group: argparse._ArgumentGroup, *, prompts: bool = False) -> None:
    """Add the flags of `reading_options` to a group of a parser; `prompts`: rows may hold a prompt with a response."""
    group.add_argument(
        "--text-field",
        default="text",
        metavar="NAME",
        help="where documents are rows, the field that holds the text; doc.text for a nested one (default text)",
    )
    if prompts:
        group.add_argument(
            "--prompt-field",
            metavar="NAME",
            help="the field that holds the prompt to which the text is the response; conversations (a list of messages) need none",
        )
    group.add_argument(
        "--format",
        choices=tuple(FORMATS),
        metavar="FORMAT",
        help=f"the format of the input, where its name does not show it (stdin, pipes): {', '.join(FORMATS)}",
    )
    group.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out rows that hold no text (null, a number, no such field, broken JSON) and say how many; "
        "without this, such a row stops the run",
    )


def add_prompt_arguments(
    parser: argparse.ArgumentParser,
    *,
    heading: str = "how prompts are put to the model",
    template: str = "the model's own",
) -> None:
    """Add the flags that say how prompts are rendered; `template`: whose renders them."""
    chat = parser.add_argument_group(heading)
    chat.add_argument(
        "--chat",
        action="store_true",
        help=f"render prompts and conversations with {template} chat template (default: plain text, a blank line after "
        "each turn)",
    )
    chat.add_argument(
        "--system", metavar="TEXT", help="the system turn, in place of a conversation's own (with --chat)"
    )
    chat.add_argument(
        "--template-option",
        dest="template_options",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a variable of the chat template, for example enable_thinking=false; may be repeated (with --chat)",
    )


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was said about reading, as `read_corpus` takes it."""
    return {name: getattr(arguments, name) for name in ("text_field", "format", "skip_bad_rows")}
