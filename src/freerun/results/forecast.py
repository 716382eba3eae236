"""What a job would take: seconds, tokens, memory and disk, each from … to, and what a server would be asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FORECAST_VERSION = 1


@dataclass(frozen=True)
class Span:
    """From … to."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def time(self) -> str:
        """Seconds from … to, in the unit that suits the larger.

        >>> Span(40.0, 75.4).time(), Span(40.0, 600.0).time(), Span(4000.0, 9000.0).time()
        ('40 to 75 s', '0.7 to 10 min', '1.1 to 2.5 h')
        """
        units = (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, float("inf")))
        unit, size = next((name, size) for name, size, most in units if self.high <= most)
        return f"{_short(self.low / size)} to {_short(self.high / size)} {unit}"

    def memory(self) -> str:
        """Bytes from … to, in MiB or GiB."""
        unit, size = ("GiB", 1 << 30) if self.high >= 1 << 30 else ("MiB", 1 << 20)
        return f"{_short(self.low / size)} to {_short(self.high / size)} {unit}"


@dataclass(frozen=True)
class ServerLoad:
    """What a server would be asked, by so many requests if none fails."""

    server: str
    sent: str
    """The sampling settings that go with a draw, as JSON; {}: none, it samples as it does by itself."""
    requests: int
    requests_to_know_it: int
    """Of these: who it is, its tokenizer, whether its answers can be believed, and the texts that it takes apart into tokens."""
    texts_to_write: int
    texts_to_score: int
    requests_a_token: bool
    """It needs a request for every token that is scored, and some more where tokens end within a character."""
    at_once: int
    """Texts that it may be asked for at the same time."""
    not_measured: tuple[str, ...]
    """What needs whole laws, which a server does not tell."""


@dataclass(frozen=True)
class Forecast:
    """What an audit would take. Seconds are from a loaded model to the page; `parts_seconds` add up to `seconds`."""

    model: str
    corpus: str
    folder: str
    plan_hash: str
    documents: int
    prefix: int
    tokens: int
    batch: int
    tokens_to_score: int
    tokens_to_score_without_prefix: int
    tokens_to_sample: int
    tokens_to_score_again: int
    """By fresh passes, after they were sampled; where arithmetic is rounded those read for the floor, too."""
    tokens_to_score_after_headers: int
    tokens_found: int
    """Of those to score and to sample (headers apart), recorded in the folder already."""
    seconds: Span
    parts_seconds: dict[str, Span]
    device: str
    memory_bytes: Span
    disk_bytes: Span
    how: tuple[str, ...]
    server: ServerLoad | None = None
    """None: no server has a part in it."""

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {"schema_version": FORECAST_VERSION, "kind": "forecast", **asdict(self), "how": list(self.how)}


@dataclass(frozen=True)
class DistanceForecast:
    """What a distance would take. Seconds are from loaded models to the page; `parts_seconds` add up to `seconds`."""

    a: str
    b: str
    corpus: str
    folder: str
    plan_hash: str
    documents: int
    prefix: int
    tokens: int
    tokens_to_score: int
    """By both models, the floor apart."""
    tokens_to_sample: int
    seconds: Span
    parts_seconds: dict[str, Span]
    memory_bytes: Span
    disk_bytes: Span
    spool_bytes: Span | None
    """Of laws on their way from one model to the other (`--one-at-a-time`), removed at the end; None where both are loaded."""
    how: tuple[str, ...]
    server: ServerLoad | None = None
    """None: neither is behind a server."""

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {"schema_version": FORECAST_VERSION, "kind": "distance_forecast", **asdict(self), "how": list(self.how)}


@dataclass(frozen=True)
class VerifyForecast:
    """What it would take to let a server draw samples and to verify them; `parts_seconds` add up to `seconds`."""

    writer: str
    model: str
    corpus: str
    folder: str
    declared: str
    documents: int
    prefix: int
    tokens: int
    tokens_to_sample: int
    """By the server, what is there already apart."""
    tokens_to_score: int
    """By the model that is here."""
    seconds: Span
    parts_seconds: dict[str, Span]
    memory_bytes: Span
    disk_bytes: Span
    how: tuple[str, ...]
    server: ServerLoad

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {"schema_version": FORECAST_VERSION, "kind": "verify_forecast", **asdict(self), "how": list(self.how)}


def _short(x: float) -> str:
    return f"{x:.0f}" if x >= 9.5 else f"{x:.1f}".removesuffix(".0")
