"""What is known of a server: the requests to it, and whether it samples the law of a checkpoint that is here."""

from __future__ import annotations

from dataclasses import dataclass, field

from freerun.results.finding import Finding
from freerun.results.verify import Cause, Match


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


@dataclass(frozen=True)
class EngineGap:
    """How far apart a server's and a checkpoint's log-probabilities of the same tokens are: the server's own text, scored by both."""

    n_tokens: int
    mean_absolute_nats: float
    root_mean_square_nats: float
    largest_nats: float | None
    """None: infinite."""
    most_nats: float
    """Two computations of one law differ by no more than this, root mean square; what lies beyond counts as another law."""

    @property
    def floor_nats(self) -> float:
        """What is granted to the engines' arithmetic, root mean square."""
        return min(self.root_mean_square_nats, self.most_nats)

    @property
    def beyond(self) -> bool:
        """Whether the two are farther apart than arithmetic explains."""
        return self.root_mean_square_nats > self.most_nats


@dataclass(frozen=True)
class LawServed:
    """Whether what a server drew are draws from a checkpoint's law, and if not, from which law they are."""

    writer: str
    sends_rule: bool
    """Every sampling setting was sent; False: nothing was, and the server sampled as it does by itself."""
    sent: str
    """The sampling settings that were sent, as JSON."""
    declared: str
    """The rule that the draws are held against, in words."""
    n_texts: int
    n_tokens: int
    match: Match
    p_value: float
    cause: Cause
    floor_nats: float
    gap: EngineGap | None
    """None: the server scores no text, so the engines' arithmetic is not known."""
    sentence: str
    cause_sentence: str
    findings: tuple[Finding, ...] = ()
    """Of the verification."""
