"""Responses of servers that speak OpenAI's protocol: one sample a choice, with ids or without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.samples.completion import Reason
from freerun.samples.fields import Draft, Unusable
from freerun.samples.requests import Request

_ID_AS_TEXT = "token_id:"
"""What vLLM writes in the place of a token's text with `return_tokens_as_token_ids`."""


def choices_of(body: Any) -> list[Mapping[str, Any]]:
    """Return the choices of a response, none where it is not a response."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    return [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []


def ids_of(choice: Mapping[str, Any]) -> Any:
    """Return the ids of a choice: vLLM's, those that llama.cpp's server gives each token, or those spelled out as text."""
    if choice.get("token_ids") is not None:
        return choice["token_ids"]
    if choice.get("response_token_ids") is not None:
        return choice["response_token_ids"]
    content = _content(choice)
    if content and all(isinstance(token.get("id"), int) for token in content):
        return [token["id"] for token in content]
    words = [token.get("token") for token in content] or _tokens(choice)
    numbers = [_id_in(word) for word in words]
    return numbers if numbers and None not in numbers else None


def _id_in(word: Any) -> int | None:
    digits = word.removeprefix(_ID_AS_TEXT) if isinstance(word, str) and word.startswith(_ID_AS_TEXT) else ""
    return int(digits) if digits.isdecimal() and len(digits) < 20 else None


def read_choices(body: Any, request: Request | None = None) -> Iterator[Draft | Unusable]:
    """Yield the samples of a response; `request` is what it answers, where that is known."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        yield Unusable(Reason.NO_COMPLETION, f"no choices; {_fields(body)}")
        return
    for choice in choices:
        if isinstance(choice, Mapping):
            yield _sample(choice, body, request, alone=len(choices) == 1)
        else:
            yield Unusable(Reason.NO_COMPLETION, "a choice is not an object")


def _sample(
    choice: Mapping[str, Any], body: Mapping[str, Any], request: Request | None, *, alone: bool
) -> Draft | Unusable:
    ids = ids_of(choice)
    content = _content(choice)
    prompt_ids = choice.get("prompt_token_ids", body.get("prompt_token_ids"))
    prompt = None if request is None else request.prompt
    if isinstance(prompt, list) and not any(isinstance(turn, Mapping) for turn in prompt):
        prompt_ids, prompt = (prompt if prompt_ids is None else prompt_ids), None
    metadata = body.get("metadata")
    return Draft(
        prompt_ids=prompt_ids,
        completion_ids=ids,
        prompt=prompt,
        completion=_text(choice),
        pieces=None if ids is not None else _pieces(choice, content),
        log_probs=[token.get("logprob") for token in content] or _token_log_probs(choice),
        weight_versions=metadata.get("weight_version") if isinstance(metadata, Mapping) else None,
        group=None if alone else body.get("id"),
        finish_reason=choice.get("finish_reason"),
        seed=None if request is None else request.seed,
        sampling={} if request is None else request.sampling,
    )


def _text(choice: Mapping[str, Any]) -> Any:
    message = choice.get("message")
    return message.get("content") if isinstance(message, Mapping) else choice.get("text")


def _log_probs_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    reported = choice.get("logprobs")
    return reported if isinstance(reported, Mapping) else {}


def _content(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = _log_probs_of(choice).get("content")
    return [token for token in content if isinstance(token, Mapping)] if isinstance(content, list) else []


def _tokens(choice: Mapping[str, Any]) -> list[Any]:
    tokens = _log_probs_of(choice).get("tokens")
    return tokens if isinstance(tokens, list) else []


def _token_log_probs(choice: Mapping[str, Any]) -> Any:
    """One log-probability a token; an empty list, which some servers write for none, is none."""
    return _log_probs_of(choice).get("token_logprobs") or None


def _pieces(choice: Mapping[str, Any], content: list[Mapping[str, Any]]) -> tuple[bytes, ...] | None:
    """The tokens as bytes: as reported, or encoded from the text where no bytes are."""
    words = [(token.get("bytes"), token.get("token")) for token in content] or [
        (None, word) for word in _tokens(choice)
    ]
    pieces = [_bytes_of(*word) for word in words]
    return None if not pieces or None in pieces else tuple(piece for piece in pieces if piece is not None)


def _bytes_of(data: Any, word: Any) -> bytes | None:
    if isinstance(data, list):
        try:
            return bytes(data)
        except (TypeError, ValueError):
            return None
    return word.encode("utf-8", "replace") if isinstance(word, str) else None


def _fields(body: Any) -> str:
    """What a body has instead."""
    if not isinstance(body, Mapping):
        return "it is not an object"
    return f"its fields are {', '.join(map(str, list(body)[:6])) or 'none'}"
