"""What is said of a vocabulary's ends, and of what its tokenizer does to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.jobs.audit.fidelity import Fidelity
from freerun.predictors.markers import OWN_DEFINITION


def ends_in_words(special: Mapping[str, Any]) -> list[str]:
    """Which ids end a text and what says so; nothing where a predictor's own definition says it."""

    def spelled(end: Mapping[str, Any]) -> str:
        return f"{end['id']}{' ' + end['token'] if end['token'] else ''} ({', '.join(end['declared_by'])})"

    notes = []
    if any(end["declared_by"] != [OWN_DEFINITION] for end in special["ends"]):
        notes.append(f"What ends a text, and what says so: {'; '.join(map(spelled, special['ends']))}")
    if special["ends_without_row"]:
        beyond = "; ".join(map(spelled, special["ends_without_row"]))
        notes.append(f"Left out of the ends, since the output layer has no such row and can never write it: {beyond}")
    if not special["ends"] and (special["control"] or special["ends_without_row"]):
        notes.append("Nothing is declared as an end of text: its texts go on to the last token")
    return notes


def changes_in_words(faithful: Fidelity) -> list[str]:
    """What the tokenizer does to the documents; nothing where it does nothing."""
    notes, n = [], faithful.documents
    if faithful.changed:
        notes.append(
            f"The tokenizer changes the text of {faithful.changed} of {n} documents before it is scored: real text is measured as "
            f"its tokens spell it. The continuations of all {n} have {faithful.original_bytes:,} bytes, their tokens spell "
            f"{faithful.token_bytes:,}; bits a byte are over the bytes of the text"
            + (
                ""
                if faithful.by_offsets
                else " (in proportion to the document's: this tokenizer does not say which are whose)"
            )
        )
    if faithful.space_first:
        notes.append(f"The tokenizer puts a space before the text of {faithful.space_first} of {n} documents")
    if faithful.control_tokens:
        held = ", ".join(f"{token} in {k}" for token, k in faithful.control_tokens.items())
        notes.append(
            f"Special tokens that encoding the {n} documents gives, for what the tokenizer does not know: {held}"
        )
    return notes
