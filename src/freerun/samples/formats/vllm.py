"""vLLM's responses with ids (`return_token_ids`), and other servers' that give ids with each token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from freerun.samples.fields import Draft, Unusable
from freerun.samples.formats.choices import choices_of, ids_of, read_choices
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is a response with ids."""
    return any(ids_of(choice) is not None for choice in choices_of(row))


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the samples of a response."""
    return read_choices(row)
