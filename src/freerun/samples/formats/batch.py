"""The output of a batch: a response beside the name of its request, or an error in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.formats.choices import read_choices
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row answers a request of a batch."""
    return isinstance(row, Mapping) and "custom_id" in row and ("response" in row or "error" in row)


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the samples of a row, with the prompt that its request had."""
    fields = row if isinstance(row, Mapping) else {}
    response = fields.get("response")
    name = fields.get("custom_id")
    if not isinstance(response, Mapping) or fields.get("error") or response.get("status_code", 200) != 200:
        status = response.get("status_code") if isinstance(response, Mapping) else None
        yield Unusable(Reason.FAILED_REQUEST, f"{name}: {_error(fields.get('error')) or f'status {status}'}")
        return
    request = None
    if requests is not None:
        request = requests.get(name) if isinstance(name, str) else None
        if request is None:
            yield Unusable(Reason.UNKNOWN_REQUEST, f"{name}")
            return
    yield from read_choices(response.get("body"), request)


def _error(error: Any) -> str:
    message = error.get("message") or error.get("code") if isinstance(error, Mapping) else error
    return " ".join(str(message).split())[:80] if message else ""
