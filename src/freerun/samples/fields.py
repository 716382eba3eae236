"""The fields of one sample, from whatever a file holds to arrays: every check that a single row can fail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.samples.completion import Completion, Message, Reason

ROUNDING_NATS = 1e-6
"""A log-probability may lie so far above 0, by the rounding of its number format; it is then read as 0."""
IMPOSSIBLE_NATS = -9999.0
"""What vLLM writes for minus infinity, which JSON has no word for."""
_LARGEST_ID = 2**31 - 1
_SURROGATES = re.compile("[\ud800-\udfff]")
_SHOWN = 60


class Unusable(Exception):
    """A row that cannot be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Draft:
    """One sample as a format's reader hands it on, its fields as they stand in the file."""

    prompt_ids: Any = None
    completion_ids: Any = None
    prompt: Any = None
    """A string, or a list of messages."""
    completion: Any = None
    pieces: tuple[bytes, ...] | None = None
    drawn: Any = None
    log_probs: Any = None
    trainer_log_probs: Any = None
    weight_versions: Any = None
    group: Any = None
    finish_reason: Any = None
    seed: Any = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def completed(self, row: int) -> Completion:
        """Return the sample.

        Raises:
            Unusable: what is wrong with it.
        """
        completion_ids = ids(self.completion_ids, "completion ids")
        completion = text(self.completion, "the completion")
        n_tokens = _n_tokens(completion_ids, completion, self.pieces)
        drawn = mask(self.drawn, n_tokens)
        prompt, messages = prompt_of(self.prompt)
        return Completion(
            row=row,
            prompt_ids=ids(self.prompt_ids, "prompt ids"),
            completion_ids=completion_ids,
            prompt=prompt,
            completion=completion,
            messages=messages,
            pieces=self.pieces,
            drawn=drawn,
            log_probs_nats=log_probs(self.log_probs, n_tokens, drawn, "log-probabilities"),
            trainer_log_probs_nats=log_probs(
                self.trainer_log_probs, n_tokens, drawn, "the trainer's log-probabilities"
            ),
            weight_versions=versions(self.weight_versions, n_tokens),
            group=name(self.group, "group"),
            finish_reason=name(self.finish_reason, "finish_reason"),
            seed=seed(self.seed),
            sampling=dict(self.sampling),
        )


def _n_tokens(
    completion_ids: Int[np.ndarray, " n"] | None, completion: str | None, pieces: tuple[bytes, ...] | None
) -> int | None:
    """How many tokens the completion has, None where the file does not say."""
    if completion_ids is not None:
        if not len(completion_ids):
            raise Unusable(Reason.EMPTY, "no ids")
        return len(completion_ids)
    if completion is None:
        raise Unusable(Reason.NO_COMPLETION, "neither ids nor text")
    if not completion:
        raise Unusable(Reason.EMPTY, "an empty text")
    return None if pieces is None else len(pieces)


def ids(value: Any, what: str) -> Int[np.ndarray, " n"] | None:
    """Return token ids, int64.

    Raises:
        Unusable: not a flat list of whole numbers, negative, or beyond any vocabulary.
    """
    if value is None:
        return None
    array = _flat(value, what, Reason.BAD_IDS, (int, np.integer))
    if array.dtype.kind == "f" and (np.abs(array) <= _LARGEST_ID).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)  # a table that once had a null
    if len(array) and array.dtype.kind not in "iu":
        raise Unusable(Reason.BAD_IDS, f"{what}: {_shown(value)}")
    if len(array) and array.min() < 0:
        raise Unusable(Reason.NEGATIVE_ID, f"{what}: {array.min()} at position {int(array.argmin())}")
    if len(array) and array.max() > _LARGEST_ID:
        raise Unusable(
            Reason.BAD_IDS, f"{what}: {array.max()} at position {int(array.argmax())} is not a token of any model"
        )
    return array.astype(np.int64, copy=False)


def log_probs(
    value: Any, n_tokens: int | None, drawn: Bool[np.ndarray, " n"] | None, what: str
) -> Float[np.ndarray, " n"] | None:
    """Return log-probabilities in nats, float64; None where all are null. Null is NaN, as is all that was not drawn.

    Raises:
        Unusable: not numbers, above 0, or not one a token.
    """
    if value is None:
        return None
    array = _flat(value, what, Reason.BAD_LOG_PROBS, (int, float, np.number, type(None)))
    if array.dtype.kind not in "fiu" and len(array):
        raise Unusable(Reason.BAD_LOG_PROBS, f"{what}: {_shown(value)}")
    array = array.astype(np.float64)
    if n_tokens is None:
        if len(array):
            raise Unusable(Reason.LENGTHS, f"{len(array)} {what}, but the completion has no ids that they belong to")
        return None
    if len(array) != n_tokens:
        raise Unusable(Reason.LENGTHS, f"{n_tokens} tokens, {len(array)} {what}")
    if drawn is not None:
        array[~drawn] = np.nan
    if (array > ROUNDING_NATS).any():
        at = int(np.nanargmax(array))
        raise Unusable(Reason.POSITIVE_LOG_PROB, f"{what}: {array[at]:g} at position {at}")
    array = np.minimum(array, 0.0)
    array[array <= IMPOSSIBLE_NATS] = -np.inf
    return None if np.isnan(array).all() else array


def mask(value: Any, n_tokens: int | None) -> Bool[np.ndarray, " n"] | None:
    """Return which tokens were drawn; None where all were.

    Raises:
        Unusable: not 0 or 1 (false or true) for each token, or none was drawn.
    """
    if value is None:
        return None
    array = _flat(value, "mask of drawn tokens", Reason.BAD_MASK, (bool, np.bool_, int, float, np.number))
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise Unusable(Reason.BAD_MASK, f"mask of drawn tokens: {_shown(value)}")
    if n_tokens is None:
        raise Unusable(Reason.LENGTHS, "a mask of drawn tokens, but the completion has no ids that it belongs to")
    if len(array) != n_tokens:
        raise Unusable(Reason.LENGTHS, f"{n_tokens} tokens, {counted(len(array), 'value')} in the mask of drawn tokens")
    array = array.astype(bool)
    if not array.any():
        raise Unusable(Reason.NOTHING_DRAWN, f"the mask leaves out all {n_tokens} tokens")
    return None if array.all() else array


def text(value: Any, what: str) -> str | None:
    """Return a text, U+FFFD for each lone surrogate (JSON can hold them, tokenizers cannot).

    Raises:
        Unusable: not a string.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return _only_message(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unusable(Reason.BAD_TEXT, f"{what}: {_shown(value)}")
    return _SURROGATES.sub("�", value)


def prompt_of(value: Any) -> tuple[str | None, tuple[Message, ...] | None]:
    """Return a prompt as text, or as the messages of a chat.

    Raises:
        Unusable: neither.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return None, tuple(_message(turn) for turn in value)
    return text(value, "the prompt"), None


def _only_message(turns: Iterable[Any]) -> str:
    messages = [_message(turn) for turn in turns]
    if not messages:
        raise Unusable(Reason.EMPTY, "no message")
    if len(messages) > 1:
        roles = ", ".join(message.role for message in messages[:4])
        raise Unusable(
            Reason.SEVERAL_MESSAGES, f"{counted(len(messages), 'message')} ({roles} …): where one ends is lost"
        )
    return messages[0].content


def _message(turn: Any) -> Message:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
        raise Unusable(Reason.BAD_TEXT, f"a message is {_shown(turn)}, not an object with role and content")
    content = turn.get("content")
    if isinstance(content, list | tuple | np.ndarray):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise Unusable(Reason.BAD_TEXT, "a message with content other than text")
        content = "".join(map(str, parts))
    if not isinstance(content, str):
        raise Unusable(Reason.BAD_TEXT, f"the content of a message is {_shown(content)}")
    return Message(turn["role"], _SURROGATES.sub("�", content))


def versions(value: Any, n_tokens: int | None) -> tuple[str, ...] | None:
    """Return the versions of the weights: one, or one a token; several that no token is named for are joined.

    Raises:
        Unusable: not names.
    """
    if value is None:
        return None
    several = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    names = tuple(filter(None, (name(version, "weight_version") for version in several)))
    if not names:
        return None
    if len(set(names)) == 1:
        return names[:1]
    return names if len(names) == n_tokens else ("+".join(dict.fromkeys(names)),)


def name(value: Any, what: str) -> str | None:
    """Return a name, which a file may give as a number; None where there is none.

    Raises:
        Unusable: a list, an object or a truth value.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, str | int | float | np.number) and not isinstance(value, bool):
        return _SURROGATES.sub("�", str(value))
    raise Unusable(Reason.BAD_FIELD, f"{what}: {_shown(value)} is not a name")


def seed(value: Any) -> int | None:
    """Return a seed. Raises Unusable where it is not a whole number."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    raise Unusable(Reason.BAD_FIELD, f"seed: {_shown(value)} is not a whole number")


def _flat(value: Any, what: str, reason: Reason, types: tuple[type, ...]) -> np.ndarray:
    """An array of one axis, each of its values of one of some types; Python's truth values are not numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        if value.ndim != 1 or (value.dtype.kind == "b" and bool not in types):
            raise Unusable(reason, f"{what}: an array of shape {value.shape} and type {value.dtype}")
        return value
    if not isinstance(value, list | tuple | np.ndarray):
        raise Unusable(reason, f"{what}: {_shown(value)} is not a list")
    kinds = set(map(type, value))
    if not all(issubclass(kind, types) and (kind is not bool or bool in types) for kind in kinds - {float, np.float64}):
        raise Unusable(reason, f"{what}: {_shown(value)}")
    if type(None) in kinds:
        value = [np.nan if x is None else x for x in value]
    try:
        return np.asarray(value) if len(value) else np.empty(0, dtype=np.int64)
    except (OverflowError, ValueError, TypeError):
        raise Unusable(reason, f"{what}: {_shown(value)}") from None


def _shown(value: Any) -> str:
    """What stands there, cut short."""
    whole = "null" if value is None else repr(value[:8] if isinstance(value, list | tuple | str) else value)
    one_line = " ".join(_SURROGATES.sub("�", whole).split())
    return one_line if len(one_line) <= _SHOWN else one_line[:_SHOWN] + "…"
