"""What can go wrong with a request: which faults are tried again, how long to wait, and what is said in the end."""

from __future__ import annotations

import email.utils
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from freerun.counted import counted


class Fault(Exception):
    """A request that failed this time. `kind` is counted; `why` is for people."""

    def __init__(
        self, kind: str, why: str, *, again: bool = True, busy: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(why)
        self.kind, self.why = kind, why
        self.again = again
        """Whether the same request may go well another time."""
        self.busy = busy
        """The server has too much to do, or broke under it."""
        self.wait_seconds = wait_seconds
        """How long the server asks to be left alone."""


class BadAnswer(Fault):
    """An answer that cannot be that of the request: it is thrown away whole, and asked for again."""

    def __init__(self, why: str) -> None:
        super().__init__("unusable answer", why)


@dataclass(frozen=True)
class Patience:
    """How often and how long a request is tried."""

    attempts: int = 8
    answers: int = 5
    """How often a request is tried where its answers are unusable."""
    busy_seconds: float = 600.0
    """How long a server may go on refusing (429, 503) before a request counts as failed; refusals are not attempts."""
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    longest_asked_seconds: float = 300.0
    """The longest `Retry-After` that is waited for."""

    def wait(self, failures: int, chance: random.Random) -> float:
        """Seconds before the next attempt: doubling, half of it left to chance so that requests do not come back together."""
        longest = min(self.longest_wait_seconds, self.first_wait_seconds * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + 0.5 * chance.random())


@dataclass(frozen=True)
class Failure:
    """A request that failed in the end."""

    path: str
    kind: str
    why: str
    attempts: int


@dataclass(eq=False)
class Tally:
    """What became of all requests to one server."""

    answered: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    """Attempts that were tried again, by kind."""
    failed: list[Failure] = field(default_factory=list)

    def describe(self) -> str:
        """For people; empty where nothing went wrong."""
        kinds = ", ".join(f"{n} × {kind}" for kind, n in self.retried.most_common())
        n_attempts = counted(sum(self.retried.values()), "attempt was", "attempts were")
        return f"{n_attempts} tried again ({kinds})" if kinds else ""


def retry_after_seconds(header: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms; None where it says nothing that can be read.

    >>> retry_after_seconds("7"), retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", now=50.0), retry_after_seconds("soon")
    (7.0, 10.0, None)
    """
    if not header:
        return None
    word = header.strip()
    if word.isascii() and word.isdigit():
        return float(word[:12])
    try:
        at = email.utils.parsedate_to_datetime(word).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, at - (time.time() if now is None else now))
