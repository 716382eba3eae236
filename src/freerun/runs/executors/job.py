"""What executors are given: a job, its units, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from freerun.errors import BackendError, FreerunError

U = TypeVar("U")
R = TypeVar("R")
MOST_ATTEMPTS = 3
"""A unit that has failed so often is left, and the rest goes on."""


class Job(Generic[U, R]):
    """What is done with units. It goes to every worker, so it can be pickled, and so can units and results.

    What a unit gives depends on nothing else, so units may be done in any order, by anybody, and again.
    """

    def start(self) -> Callable[[U], R]:
        """What does a unit: called once a worker, so that what it loads is loaded once."""
        raise NotImplementedError

    def name(self, unit: U) -> str:
        """A unit in messages."""
        return str(unit)

    def needs(self, unit: U) -> str:
        """What has to be loaded for a unit; a worker is given units that need what it has, as long as there are some."""
        return ""


@dataclass(frozen=True)
class Calls(Job[U, R]):
    """A job that is one function."""

    work: Callable[[U], R]

    def start(self) -> Callable[[U], R]:
        return self.work


@dataclass(frozen=True)
class Done(Generic[U, R]):
    """A unit with what was made of it."""

    unit: U
    value: R


@dataclass(frozen=True)
class Reason:
    """Why a unit failed once: in words, and as the error that a run without workers would have raised."""

    words: str
    error: type[FreerunError] = BackendError

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Poisoned(Generic[U]):
    """A unit that failed every time, and why, attempt by attempt."""

    unit: U
    name: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        last = self.reasons[-1]
        alike = "each time" if len(set(self.reasons)) == 1 else "the last time"
        return f"{self.name} failed {len(self.reasons)} times, {alike}: {last}"


Then = Callable[[U, R], Sequence[U]]
"""Units that can be done now that one is; they come next. It is called where `map` is, never by a worker."""


def nothing_more(unit: object, value: object) -> tuple[()]:
    """No unit brings about another."""
    return ()


class Executor(Protocol):
    """Whoever does units."""

    def map(
        self, job: Job[U, R], units: Iterable[U], then: Then[U, R] = nothing_more
    ) -> Iterator[Done[U, R] | Poisoned[U]]:
        """What becomes of every unit, as they are finished, those that others bring about (`then`) included.

        Raises:
            FreerunError: no worker can be had.
        """
        ...


def refuse_poisoned(poisoned: Sequence[Poisoned[U]]) -> None:
    """Raise for the units that were left, after all others are done; nothing where there are none."""
    if not poisoned:
        return
    error = poisoned[0].reasons[-1].error
    more = f" (and {len(poisoned) - 1} more)" if len(poisoned) > 1 else ""
    raise error(f"{poisoned[0]}{more}; all other units are done and kept, the same command tries these again")


def reason_of(error: BaseException) -> Reason:
    """Why a unit failed, in one line."""
    said = " ".join(line.strip() for line in str(error).splitlines())[:600].strip()
    if isinstance(error, FreerunError):
        return Reason(said or type(error).__name__, type(error))
    return Reason(f"{type(error).__name__}: {said}".removesuffix(": "))
