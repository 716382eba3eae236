"""A model's own chat template, as the rest of the house sees it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from freerun.errors import DataError
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
