"""The errors a user can meet, each with its exit code.

Every message is one line that names the argument, the value, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FreerunError(Exception):
    """Base of all errors that freerun raises on purpose."""

    exit_code: int = 4


class UsageError(FreerunError):
    """What was typed is not a model, corpus, verb or value that exists."""

    exit_code = 2


class DataError(FreerunError):
    """A corpus, record or file that cannot be used as it is."""

    exit_code = 4


class BackendError(FreerunError):
    """A model, its weights, its tokenizer or its device does not work."""

    exit_code = 4


class BrokenLaw(BackendError):
    """A model gives NaN: its checkpoint or its number format is broken."""


class TooFewDocuments(FreerunError):
    """Fewer independent units than any inference needs."""

    exit_code = 3


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `'; did you mean X?'` for the nearest of `choices`, or an empty string.

    >>> nearest("reprot", ["audit", "report"])
    "; did you mean 'report'?"
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def first_line(error: BaseException) -> str:
    """What another library's error says first; its class where it says nothing.

    >>> first_line(ValueError("no rows\\nat all")), first_line(KeyError())
    ('no rows', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
