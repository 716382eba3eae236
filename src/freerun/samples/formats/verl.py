"""verl's rollout dumps: text without special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is one of verl's dumps."""
    return isinstance(row, Mapping) and all(key in row for key in ("input", "output", "step"))


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the sample of a row."""
    if not isinstance(row, Mapping):
        yield Unusable(Reason.NO_COMPLETION, "the row is not an object")
        return
    yield Draft(prompt=row.get("input"), completion=row.get("output"), weight_versions=row.get("step"))
