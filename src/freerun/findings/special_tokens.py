"""How the special tokens of a run are spelled, and texts in which they can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from freerun.findings.evidence import Evidence
from freerun.findings.plain_text import PlainText


class Spellings:
    """The special tokens of a run by id."""

    def __init__(self, special: Mapping[str, Any], end_ids: list[int]) -> None:
        self._control = {int(i): str(token) for i, token in special["control"].items()}
        self._runs = [(int(first), int(last)) for first, last in special["without_token"]]
        self._ends = np.array(end_ids, np.int64)

    def of(self, token_id: int) -> str | None:
        """How a special token is spelled; None for one that stands for text."""
        if (token := self._control.get(token_id)) is not None:
            return token
        return f"id {token_id}, no token" if any(a <= token_id <= b for a, b in self._runs) else None

    def among(self, ids: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Which ids stand for no text and end nothing."""
        hit = np.isin(ids, list(self._control))
        for first, last in self._runs:
            hit |= (ids >= first) & (ids <= last)
        return hit & ~np.isin(ids, self._ends)


def spellings(evidence: Evidence) -> Spellings | None:
    """The special tokens of a run; None where its manifest does not say (a run made before it did), or its records hold no ids."""
    special = evidence.records.manifest.get("special_tokens")
    if special is None or not evidence.has_text:
        return None
    return Spellings(special, list(evidence.plan.end_ids))


def shown_text(evidence: Evidence, sequence: int, *, start: int = 0, stop: int | None = None) -> str:
    """The text of some tokens of a sequence, with every special token (an end of text too) in ⟨ ⟩ where it stands.

    Raises:
        TextRedacted: the run was made with `--redact-text`.
    """
    known, words = spellings(evidence), evidence.once(PlainText)
    ids = evidence.records.tokens["token_id"][evidence.records.rows(sequence)]
    stop = len(ids) if stop is None else min(stop, len(ids))
    marks = [] if known is None else [(at, token) for at in range(start, stop) if (token := known.of(int(ids[at])))]
    whole = words.first(sequence, stop)
    pieces, done = [], len(words.first(sequence, start))
    for at, token in marks:
        here = len(words.first(sequence, at))
        pieces += [whole[done:here].decode("utf-8", "replace"), f"⟨{token}⟩"]
        done = here
    return "".join([*pieces, whole[done:].decode("utf-8", "replace")])
