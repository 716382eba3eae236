"""What an audit would take: seconds, tokens, memory and disk, each from … to."""

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

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {"schema_version": FORECAST_VERSION, "kind": "forecast", **asdict(self), "how": list(self.how)}


def _short(x: float) -> str:
    return f"{x:.0f}" if x >= 9.5 else f"{x:.1f}".removesuffix(".0")
