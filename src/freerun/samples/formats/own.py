"""Our own format: a row is one sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row has a completion, or a chat that ends with one."""
    if not isinstance(row, Mapping):
        return False
    return any(row.get(key) is not None for key in ("completion_ids", "completion")) or _answers(row.get("messages"))


def _answers(messages: Any) -> bool:
    """Whether the last turn of a chat is the assistant's."""
    last = messages[-1] if isinstance(messages, list | np.ndarray) and len(messages) else None
    return isinstance(last, Mapping) and last.get("role") == "assistant"


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the sample of a row."""
    if not isinstance(row, Mapping):
        yield Unusable(Reason.NO_COMPLETION, "the row is not an object")
        return
    try:
        messages = _decoded(row.get("messages"), "messages", list)
        sampling = _decoded(row.get("sampling"), "sampling", dict) or {}
        pieces = _pieces(row.get("pieces"))
        prompt, completion = _with_answer(row, messages)
    except Unusable as fault:
        yield fault
        return
    yield Draft(
        prompt_ids=row.get("prompt_ids"),
        completion_ids=row.get("completion_ids"),
        prompt=prompt,
        completion=completion,
        pieces=pieces,
        drawn=row.get("drawn"),
        log_probs=row.get("logprobs"),
        trainer_log_probs=row.get("trainer_logprobs"),
        weight_versions=row.get("weight_version"),
        group=row.get("group"),
        finish_reason=row.get("finish_reason"),
        seed=row.get("seed"),
        sampling={key: value for key, value in sampling.items() if value is not None},
    )


def _with_answer(row: Mapping[str, Any], messages: Any) -> tuple[Any, Any]:
    """Prompt and completion; where a chat has no completion beside it, its last turn is the completion."""
    completion = row.get("completion")
    if messages is None:
        return row.get("prompt"), completion
    if completion is not None or row.get("completion_ids") is not None:
        return messages, completion
    if not _answers(messages):
        raise Unusable(
            Reason.NO_COMPLETION, "the last turn of the chat is not the assistant's, and there is no completion"
        )
    return messages[:-1], messages[-1:]


def _decoded(value: Any, what: str, kind: type) -> Any:
    """A field that a table may hold as a string of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(Reason.BAD_FIELD, f"{what} is a string, but not of JSON") from None
    if value is not None and not isinstance(value, kind):
        raise Unusable(Reason.BAD_FIELD, f"{what} is no {'object' if kind is dict else 'list'}")
    return value


def _pieces(value: Any) -> tuple[bytes, ...] | None:
    if value is None:
        return None
    try:
        return tuple(bytes(piece) for piece in value)
    except (TypeError, ValueError):
        raise Unusable(Reason.BAD_FIELD, "pieces is not a list of lists of bytes") from None
