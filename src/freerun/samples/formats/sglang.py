"""SGLang's /generate: a row is one response; a list of them comes one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row is a response with ids or log-probabilities."""
    meta = row.get("meta_info") if isinstance(row, Mapping) else None
    return isinstance(meta, Mapping) and (
        meta.get("output_token_logprobs") is not None or row.get("output_ids") is not None or "text" in row
    )


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the sample of a response."""
    meta = row.get("meta_info") if isinstance(row, Mapping) else None
    if not isinstance(meta, Mapping):
        yield Unusable(Reason.NO_COMPLETION, "no meta_info")
        return
    tokens, ids = meta.get("output_token_logprobs"), row.get("output_ids")
    if not _are_triples(tokens):
        yield Unusable(Reason.BAD_LOG_PROBS, "output_token_logprobs is not a list of [log-prob, id, text]")
        return
    drawn = [token[1] for token in tokens or ()]
    if drawn and isinstance(ids, list | np.ndarray) and list(ids) != drawn:
        yield Unusable(Reason.LENGTHS, "output_ids are not the ids of output_token_logprobs")
        return
    if drawn or (ids is None and tokens is not None):
        ids = drawn
    finish = meta.get("finish_reason")
    yield Draft(
        prompt_ids=_prompt_ids(row, meta),
        completion_ids=ids,
        completion=row.get("text"),
        log_probs=[token[0] for token in tokens] if tokens else None,
        weight_versions=_versions(meta, len(drawn)),
        finish_reason=finish.get("type") if isinstance(finish, Mapping) else finish,
    )


def _are_triples(tokens: Any) -> bool:
    """Whether these are log-probabilities with ids, or none."""
    if tokens is None:
        return True
    return isinstance(tokens, list) and all(isinstance(token, list | tuple) and len(token) >= 2 for token in tokens)


def _prompt_ids(row: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
    """The ids of the prompt; those of its log-probabilities where they cover the whole of it."""
    for ids in (row.get("prompt_token_ids"), row.get("input_ids")):
        if ids is not None:
            return ids
    tokens = meta.get("input_token_logprobs")
    if not isinstance(tokens, list) or len(tokens) != meta.get("prompt_tokens"):
        return None
    return [token[1] if isinstance(token, list | tuple) and len(token) > 1 else None for token in tokens]


def _versions(meta: Mapping[str, Any], n_tokens: int) -> Any:
    """The version of the weights, spread over the tokens where they changed on the way."""
    spans = meta.get("weight_versions")
    if not isinstance(spans, list) or not all(_is_span(span, n_tokens) for span in spans):
        return meta.get("weight_version")
    return [span["version"] for span in spans for _ in range(span["start"], span["end"])] or meta.get("weight_version")


def _is_span(span: Any, n_tokens: int) -> bool:
    ends = (span.get("start"), span.get("end")) if isinstance(span, Mapping) else (None, None)
    return all(isinstance(at, int) and 0 <= at <= n_tokens for at in ends) and "version" in span
