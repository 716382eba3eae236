"""A model's own chat template, as the rest of the house sees it."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from freerun.errors import DataError, UsageError
from freerun.text.conversations import Message

Setting = bool | int | float | str | None
"""What a variable of a template may be set to."""


class TemplateRefused(DataError):
    """The template does not take this conversation; the message is the template's own."""


class ChatTemplate(ABC):
    """A model's own template, with its tokenizer's markers."""

    source: str
    """As the model's files have it (Jinja)."""

    @abstractmethod
    def render(self, messages: Sequence[Message], settings: Mapping[str, Setting], *, answer_next: bool) -> str:
        """The conversation as one text; `answer_next`: with the head of the assistant's turn that follows.

        Raises:
            TemplateRefused: the template does not take it.
        """

    @abstractmethod
    def encode(self, rendered: str) -> list[int]:
        """Ids of a rendered text, markers as markers, nothing added."""

    @property
    def sha256(self) -> str:
        """Of its source, hex."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def read_settings(typed: Sequence[str]) -> dict[str, Setting]:
    """The variables of a chat template that were set, each value read as JSON, or taken as a word.

    Raises:
        UsageError: no name, a name twice, or a value that is a list or an object.

    >>> read_settings(("enable_thinking=false", "tone=dry", "n=2"))
    {'enable_thinking': False, 'tone': 'dry', 'n': 2}
    """
    settings: dict[str, Setting] = {}
    for words in typed:
        name, equals, written = words.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--template-option {words!r}: give NAME=VALUE, for example enable_thinking=false")
        if name in settings:
            raise UsageError(f"--template-option {name}=… is given twice")
        try:
            value = json.loads(written)
        except ValueError:
            value = written
        if isinstance(value, list | dict) or value in (float("inf"), float("-inf")) or value != value:
            raise UsageError(f"--template-option {words!r}: give true, false, null, a number or a word")
        settings[name] = value
    return settings
