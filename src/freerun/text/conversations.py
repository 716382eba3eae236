"""Rows with a prompt and a response: a prompt field beside the text field, or a conversation whose last turn is the assistant's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freerun.text.rows import MISSING, STRING_FIELD, Fault, look_up, type_name

MESSAGES_FIELD = "messages"
"""Where a conversation stands in a row that has no text field of its own."""
ASSISTANT = "assistant"
USER = "user"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True)
class Turns:
    """What a row says: the turns before the response, none in plain text, and the response.

    `response` is None where a conversation does not end with the assistant's turn.
    """

    before: tuple[Message, ...]
    response: str | None


def read_turns(row: Mapping[str, Any], *, text_field: str, prompt_field: str | None) -> Turns | Fault:
    """Return what a row says, or why it cannot be used.

    >>> read_turns({"q": "1 + 1?", "a": "2"}, text_field="a", prompt_field="q")
    Turns(before=(Message(role='user', content='1 + 1?'),), response='2')
    >>> turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    >>> read_turns({"messages": turns}, text_field="text", prompt_field=None).response
    'Hello'
    """
    text = look_up(row, text_field)
    if prompt_field is not None:
        return _prompted(look_up(row, prompt_field), text, prompt_field)
    if text is MISSING and text_field == STRING_FIELD:
        messages = look_up(row, MESSAGES_FIELD)
        text = messages if isinstance(messages, list) else MISSING
    if text is MISSING:
        return Fault("no field")
    if isinstance(text, str):
        return Turns((), text)
    if not _is_conversation(text):
        return Fault("no text", type_name(text))
    turns = _messages(text)
    if isinstance(turns, Fault):
        return turns
    if turns[-1].role != ASSISTANT:
        return Turns(turns, None)
    return _checked(turns[:-1], turns[-1].content)


def _prompted(prompt: Any, response: Any, prompt_field: str) -> Turns | Fault:
    """A prompt in one field, as a text or as messages, and a response in another, as a text or as one message."""
    if prompt is MISSING:
        return Fault("no prompt field", prompt_field)
    if response is MISSING:
        return Fault("no field")
    before = _messages(prompt) if _is_conversation(prompt) else prompt
    if isinstance(before, Fault):
        return before
    if isinstance(before, str):
        before = (Message(USER, before),)
    if not isinstance(before, tuple):
        return Fault("no prompt text", type_name(prompt))
    if _is_conversation(response):
        turns = _messages(response)
        if isinstance(turns, Fault):
            return turns
        if len(turns) != 1 or turns[0].role != ASSISTANT:
            return Turns(before, None)
        response = turns[0].content
    return _checked(before, response) if isinstance(response, str) else Fault("no text", type_name(response))


def _checked(before: tuple[Message, ...], response: str) -> Turns | Fault:
    said = any(turn.content.strip() for turn in before)
    return Turns(before, response) if said else Fault("empty prompt")


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def _messages(turns: list[Mapping[str, Any]]) -> tuple[Message, ...] | Fault:
    read = []
    for turn in turns:
        role, content = turn.get("role"), _content(turn.get("content"))
        if not isinstance(role, str) or not role.strip():
            return Fault("no roles")
        if content is None:
            return Fault("no turn text", type_name(turn.get("content")))
        read.append(Message(role, content))
    return tuple(read)


def _content(value: Any) -> str | None:
    """The text of a turn; parts of text are joined, and None stands for anything else (an image, a call of a tool)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(p, Mapping) and p.get("type") == "text" for p in value):
        parts = [p.get("text") for p in value]
        return "".join(parts) if all(isinstance(p, str) for p in parts) else None
    return None


def plain(before: tuple[Message, ...]) -> str:
    """Return the turns of a prompt one below another, without their roles."""
    return "\n\n".join(turn.content for turn in before)
