"""trl vllm-serve: a row is one response with columns, an entry in each for every sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Requests


def recognises(row: Any) -> bool:
    """Whether a row holds the ids of several completions."""
    several = row.get("completion_ids") if isinstance(row, Mapping) else None
    return isinstance(several, list) and bool(several) and all(isinstance(ids, list) for ids in several)


def read(row: Any, requests: Requests | None = None) -> Iterator[Draft | Unusable]:
    """Yield the samples of a response; prompts with several completions each stand once."""
    several = row.get("completion_ids") if isinstance(row, Mapping) else None
    if not isinstance(several, list) or not several:
        yield Unusable(Reason.NO_COMPLETION, "no list of completion_ids")
        return
    n = len(several)
    prompts, log_probs, alternatives = (row.get(key) for key in ("prompt_ids", "logprobs", "logprob_token_ids"))
    n_prompts = len(prompts) if isinstance(prompts, list) else 0
    if n_prompts and n % n_prompts:
        yield Unusable(Reason.LENGTHS, f"{n} completions, {n_prompts} prompts")
        return
    for what, column in (("logprobs", log_probs), ("logprob_token_ids", alternatives)):
        if column is not None and (not isinstance(column, list) or len(column) != n):
            yield Unusable(Reason.LENGTHS, f"{n} completions, {what} of another number of them")
            return
    each = n // n_prompts if n_prompts else 0
    for i, ids in enumerate(several):
        try:
            reported = _of_sampled(ids, log_probs and log_probs[i], alternatives and alternatives[i])
        except Unusable as fault:
            yield fault
            continue
        yield Draft(prompt_ids=prompts[i // each] if each else None, completion_ids=ids, log_probs=reported)


def _of_sampled(ids: Any, log_probs: Any, alternatives: Any) -> Any:
    """The log-probabilities of the drawn tokens, among those of the likeliest where several are reported."""
    if not isinstance(log_probs, list) or not any(isinstance(entry, list) for entry in log_probs):
        return log_probs
    if not isinstance(alternatives, list) or not isinstance(ids, list):
        if all(isinstance(entry, list) and len(entry) == 1 for entry in log_probs):
            return [entry[0] for entry in log_probs]
        raise Unusable(Reason.BAD_LOG_PROBS, "several log-probabilities a token, without logprob_token_ids")
    if not len(ids) == len(log_probs) == len(alternatives):
        raise Unusable(
            Reason.LENGTHS,
            f"ids: {len(ids)}, logprobs: {len(log_probs)}, logprob_token_ids: {len(alternatives)}",
        )
    try:
        return [entry[others.index(token)] for token, entry, others in zip(ids, log_probs, alternatives, strict=True)]
    except (ValueError, LookupError, AttributeError, TypeError):
        raise Unusable(Reason.BAD_LOG_PROBS, "a drawn token is not among its logprob_token_ids") from None
