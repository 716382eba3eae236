"""Tokens as the page shows them: nothing unseen, and nothing too long to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.report.pages.prediction import spelled, visible_token
from freerun.report.visible import visible
from freerun.results.predict import SpelledToken

MOST_CHARACTERS = 80
"""Of one token; the rest is counted."""


def cut(text: str) -> str:
    """A text that can be shown, with the number of characters that are left out.

    >>> cut("a" * 82)[-12:]
    'a… (+2 more)'
    """
    return (
        text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… (+{len(text) - MOST_CHARACTERS:,} more)"
    )


def shown_token(token: SpelledToken) -> str:
    """A token by itself."""
    return cut(visible_token(token))


def pieces(tokens: Sequence[SpelledToken]) -> list[str]:
    """What each token adds to the running text: line ends stay, whatever else is unseen becomes a sign."""
    out = []
    for token, piece in zip(tokens, spelled(tokens), strict=True):
        if token.marker:
            out.append(visible_token(token))
        elif not piece:
            out.append("·" if token.bytes_hex is not None else visible_token(token))
        else:
            out.append(cut(visible(piece)))
    return out
