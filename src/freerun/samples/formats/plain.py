"""Texts, without prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is a text, or has one."""
    return isinstance(row, str) or (isinstance(row, Mapping) and "text" in row)


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the text of a row."""
    yield Draft(completion=row.get("text") if isinstance(row, Mapping) else row)
