"""What became of the requests to a server."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FailedRequest:
    """A request that failed in the end."""

    path: str
    kind: str
    why: str
    attempts: int


@dataclass(frozen=True)
class Requests:
    """What became of the requests to a server."""

    answered: int
    retried: dict[str, int]
    """Attempts that were tried again, by what went wrong."""
    failed: int
    failures: tuple[FailedRequest, ...] = field(default=())
    """Those that failed in the end, with their reasons. A run stops at the first, and the same command goes on from there."""
    sessions: int = 1
    """Processes that sent them; a run that was interrupted has several."""

    def plus(self, other: Requests) -> Requests:
        """Both together."""
        kinds = {*self.retried, *other.retried}
        return Requests(
            self.answered + other.answered,
            {k: self.retried.get(k, 0) + other.retried.get(k, 0) for k in sorted(kinds)},
            self.failed + other.failed,
            (*self.failures, *other.failures),
            self.sessions + other.sessions,
        )

    def since(self, earlier: Requests) -> Requests:
        """What became of those that this process sent after an earlier count of the same."""
        retried = {k: n - earlier.retried.get(k, 0) for k, n in self.retried.items()}
        return Requests(
            self.answered - earlier.answered,
            {k: n for k, n in retried.items() if n},
            self.failed - earlier.failed,
            self.failures[len(earlier.failures) :],
        )


NO_REQUESTS = Requests(0, {}, 0)
