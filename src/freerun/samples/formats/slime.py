"""slime's debug rollouts: a row is one sample, its prompt and its response in one list of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from freerun.counted import counted
from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests

_FINISH = {"completed": "stop", "truncated": "length", "aborted": "abort"}
"""The words of SGLang's `finish_reason` that slime made its `status` from."""


def recognises(row: Any) -> bool:
    """Whether a row is a sample of slime."""
    return isinstance(row, Mapping) and "tokens" in row and "response_length" in row


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the sample of a row. `loss_mask`, which is 0 for what a tool wrote, says what was drawn."""
    if not recognises(row):
        yield Unusable(Reason.NO_COMPLETION, "no tokens with response_length")
        return
    tokens, length = row["tokens"], row["response_length"]
    if not isinstance(tokens, list | tuple | np.ndarray) or not isinstance(length, int) or isinstance(length, bool):
        yield Unusable(Reason.BAD_IDS, "tokens is not a list, or response_length no number")
        return
    if not 0 <= length <= len(tokens):
        yield Unusable(Reason.LENGTHS, f"{counted(len(tokens), 'token')}, response_length {length}")
        return
    status = row.get("status")
    at = len(tokens) - length
    yield Draft(
        prompt_ids=tokens[:at],
        completion_ids=tokens[at:],
        prompt=row.get("prompt"),
        completion=row.get("response"),
        drawn=row.get("loss_mask"),
        log_probs=row.get("rollout_log_probs"),
        weight_versions=row.get("weight_versions"),
        group=row.get("group_index"),
        finish_reason=_FINISH.get(status, status) if isinstance(status, str) else status,
    )
