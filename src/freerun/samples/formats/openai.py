"""Responses of OpenAI's protocol without ids: text, and log-probabilities of its pieces where they were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from freerun.samples.fields import Draft, Unusable
from freerun.samples.formats.choices import choices_of, read_choices
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is a response with text."""
    return any("message" in choice or "text" in choice for choice in choices_of(row))


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the samples of a response."""
    return read_choices(row)
