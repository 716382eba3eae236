"""TRL's table of logged completions: text without special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is one of TRL's table."""
    return (
        isinstance(row, Mapping) and all(key in row for key in ("step", "prompt", "completion")) and not _has_ids(row)
    )


def _has_ids(row: Mapping[str, Any]) -> bool:
    return row.get("completion_ids") is not None


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the sample of a row."""
    if not isinstance(row, Mapping):
        yield Unusable(Reason.NO_COMPLETION, "the row is not an object")
        return
    yield Draft(prompt=row.get("prompt"), completion=row.get("completion"), weight_versions=row.get("step"))
