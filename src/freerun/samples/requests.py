"""The file of requests that a batch was made from: prompts and sampling, by custom_id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freerun.errors import DataError
from freerun.samples.rows import json_rows

SAMPLING_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "ignore_eos",
)
"""What of a request says how to sample."""


@dataclass(frozen=True)
class Request:
    """What was asked for: a prompt as text, ids or messages, and how to sample."""

    prompt: Any
    sampling: Mapping[str, Any]
    seed: Any


Requests = Mapping[str, Request]


def read_requests(path: str | Path) -> Requests:
    """Return the requests of a batch by their custom_id.

    Raises:
        DataError: a row that is not a request, or two of one name.
    """
    path = Path(path)
    requests: dict[str, Request] = {}
    for row in json_rows(path):
        body = row.value.get("body") if isinstance(row.value, dict) else None
        name = row.value.get("custom_id") if isinstance(row.value, dict) else None
        if not isinstance(body, dict) or not isinstance(name, str):
            raise DataError(
                f"{path}, {row.place}, is not a request: give rows with custom_id and body, as the batch was sent"
            )
        if name in requests:
            raise DataError(f"{path}, {row.place}: custom_id {name!r} is there twice, so its prompt is not known")
        sampling = {key: body[key] for key in SAMPLING_NAMES if body.get(key) is not None}
        prompt = body.get("messages") if body.get("messages") is not None else body.get("prompt")
        requests[name] = Request(prompt, sampling, body.get("seed"))
    return requests
