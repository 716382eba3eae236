"""A text as tokens and words, and how far each word moved a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.base import Predictor
from freerun.report.pages.prediction import spelled
from freerun.results.source import Mover, Word, WordShift
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


def words_of(tokens: Sequence[Mapping[str, Any]]) -> tuple[Word, ...]:
    """Tokens grouped into words. A text without blanks has a word a token.

    >>> [w.text for w in words_of([{"text": "New"}, {"text": " Yo"}, {"text": "rk"}, {"text": "\\n"}, {"text": "A"}])]
    ['New', ' York', '\\nA']
    """
    pieces = list(spelled(tokens))
    no_blanks = not any(c.isspace() for piece in pieces for c in piece)
    words: list[Word] = []
    for t, piece in enumerate(pieces):
        last = words[-1].text if words else ""
        begins = not words or no_blanks or (bool(last.strip()) and (piece[:1].isspace() or last[-1].isspace()))
        if begins or t - words[-1].first >= _MOST_TOKENS:
            words.append(Word(t, t, piece))
        else:
            words[-1] = Word(words[-1].first, t, last + piece)
    return tuple(words)


def word_shifts(
    words: Sequence[Word], posterior: Float[np.ndarray, "tokens_1 sources"], names: Sequence[str]
) -> tuple[WordShift, ...]:
    """What each word did to belief."""
    path = posterior[[0, *(w.last + 1 for w in words)]]
    return tuple(
        WordShift(float(moved), float(bits), names[int(d.argmax())], float(d.max()), names[int(d.argmin())])
        for moved, bits, d in zip(shifts(path), information_bits(path), np.diff(path, axis=0), strict=True)
    )


def movers(words: Sequence[Word], moved: Sequence[WordShift]) -> tuple[Mover, ...]:
    """The words that moved most, each with its number in the text."""
    order = strongest(np.array([m.shift for m in moved]), N_MOVERS)
    return tuple(Mover(**asdict(moved[i]), word=int(i), text=words[i].text) for i in order)
