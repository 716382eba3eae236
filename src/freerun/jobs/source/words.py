"""A text as tokens and words, and how far each word moved a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.base import Predictor
from freerun.report.pages.prediction import spelled
from freerun.stats.sources.posterior import information_bits, shifts, strongest

_MOST_TOKENS = 12
"""A word of more tokens is cut: there are scripts without blanks."""
N_MOVERS = 5


def token_entries(predictor: Predictor, ids: Int[np.ndarray, " tokens"]) -> list[dict[str, Any]]:
    """Each token with its text; its bytes where it is no UTF-8 by itself, and what it marks where it stands for no bytes."""
    out = []
    for i in ids:
        data = predictor.token_bytes(int(i))
        entry: dict[str, Any] = {"id": int(i), "text": data.decode("utf-8", errors="replace")}
        if "\ufffd" in entry["text"]:
            entry["bytes_hex"] = data.hex()
        if not data:
            entry["marker"] = "end_of_text" if int(i) in predictor.end_ids else "special"
            entry["token"] = predictor.markers.spelling(int(i))
        out.append(entry)
    return out


def words_of(tokens: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokens grouped into words: each from `first` to `last`, with its text. A text without blanks has a word a token.

    >>> [w["text"] for w in words_of([{"text": "New"}, {"text": " Yo"}, {"text": "rk"}, {"text": "\\n"}, {"text": "A"}])]
    ['New', ' York', '\\nA']
    """
    pieces = list(spelled(tokens))
    no_blanks = not any(c.isspace() for piece in pieces for c in piece)
    words: list[dict[str, Any]] = []
    for t, piece in enumerate(pieces):
        last = words[-1]["text"] if words else ""
        begins = not words or no_blanks or (bool(last.strip()) and (piece[:1].isspace() or last[-1].isspace()))
        if begins or t - words[-1]["first"] >= _MOST_TOKENS:
            words.append({"first": t, "last": t, "text": piece})
        else:
            words[-1]["last"] = t
            words[-1]["text"] += piece
    return words


def word_shifts(
    words: Sequence[Mapping[str, Any]], posterior: Float[np.ndarray, "tokens_1 sources"], names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each word the share of belief that it moved, what that told in bits, and what gained and lost most."""
    at = [0, *(w["last"] + 1 for w in words)]
    path = posterior[at]
    moved, told, change = shifts(path), information_bits(path), np.diff(path, axis=0)
    return [
        {
            "shift": float(moved[i]),
            "information_bits": float(told[i]),
            "toward": names[int(change[i].argmax())],
            "gain": float(change[i].max()),
            "away": names[int(change[i].argmin())],
        }
        for i in range(len(words))
    ]


def movers(words: Sequence[Mapping[str, Any]], moved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The words that moved most, each with its number in the text."""
    order = strongest(np.array([m["shift"] for m in moved]), N_MOVERS)
    return [{"word": int(i), "text": words[i]["text"], **moved[i]} for i in order]
