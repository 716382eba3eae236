"""How prompts are put to a model: as plain text, or rendered by its own chat template.

A `Feeding` turns the turns before a response into ids, and says which id closes a real response. Nothing here knows a corpus.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from freerun.errors import DataError, UsageError, nearest
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.templates import Setting
from freerun.text.conversations import ASSISTANT, USER, Message, plain

SYSTEM = "system"
GAP = "\n\n"
"""What stands between turns, and before the response, where prompts are fed as plain text."""
_PROMPT, _RESPONSE = "Prompt-5f1c", "Response-5f1c"
"""Words that no template writes: what it adds stands around them."""
_OWN_VARIABLES = (
    "messages",
    "conversation",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "tokenizer_kwargs",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
)
"""What a template is given, or how a tokenizer is called: no setting of a user's."""


@dataclass(frozen=True)
class Added:
    """What a template writes around a prompt and after a response, with the ids of both sides."""

    before: str
    after: str
    closing: str
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    closing_ids: tuple[int, ...]


class Feeding(ABC):
    """From the turns before a response to the ids that the model reads."""

    predictor: Predictor
    end_id: int | None
    """What closes a real response; None where nothing ends a text."""

    @abstractmethod
    def ids(self, before: Sequence[Message]) -> Ids:
        """The prompt, int64, without the lead that the context rule puts first.

        Raises:
            DataError: it cannot be put to this model; the message says why.
        """

    @abstractmethod
    def own_tokens(self, before: Sequence[Message]) -> int:
        """How many tokens the words of the turns have, what a template adds apart."""


class PlainFeeding(Feeding):
    """The turns one below another, without roles, a blank line after each; `end_id` closes the response, or the end of documents.

    `end_share` is the share of that id in the mass that the model's law puts on all its ends where responses end; None: not asked.
    """

    def __init__(self, predictor: Predictor, *, end_id: int | None = None, end_share: float | None = None) -> None:
        self.predictor, self.end_share = predictor, end_share
        self.end_id = next(iter(predictor.end_ids), None) if end_id is None else end_id

    def ids(self, before: Sequence[Message]) -> Ids:
        return np.asarray(self.predictor.encode(plain(tuple(before)) + GAP), np.int64)

    def own_tokens(self, before: Sequence[Message]) -> int:
        return len(self.predictor.encode(plain(tuple(before))))


class ChatFeeding(Feeding):
    """The turns rendered by the model's own template, up to where the assistant's answer begins.

    `system` takes the place of a conversation's own system turn. Ids of the lead, which the context rule puts first, are not
    written twice.
    """

    def __init__(
        self, predictor: Predictor, *, system: str | None = None, settings: Mapping[str, Setting] | None = None
    ) -> None:
        """Read the template.

        Raises:
            UsageError: the model has none, it has no such variable, or what closes a turn is none of the model's ends.
        """
        template = predictor.template
        if template is None:
            raise UsageError(
                f"{predictor.identity.name} has no chat template: leave --chat out, and prompts are fed as plain text, or give a "
                "model that is tuned for chat"
            )
        self.predictor, self.template, self.system, self.settings = predictor, template, system, dict(settings or {})
        self._check_settings()
        self.end_id = self._end_id()

    def ids(self, before: Sequence[Message]) -> Ids:
        turns = self._with_system(before)
        self._check_markers(before)
        return self._without_lead(self.template.encode(self._rendered(turns)))

    def own_tokens(self, before: Sequence[Message]) -> int:
        return sum(len(self.predictor.encode(turn.content)) for turn in before)

    @cached_property
    def added(self) -> Added:
        """What stands around one prompt and after one response."""
        prompt = self._with_system((Message(USER, _PROMPT),))
        before, _, after = self._rendered(prompt).partition(_PROMPT)
        whole = self.template.render([*prompt, Message(ASSISTANT, _RESPONSE)], self.settings, answer_next=False)
        closing = whole.partition(_RESPONSE)[2]
        parts = [tuple(self.template.encode(text)) for text in (before, after, closing)]
        return Added(before, after, closing, *parts)

    @property
    def writes_lead(self) -> bool:
        """Whether the template itself begins with the ids that are put before every text."""
        lead = self.predictor.context.lead
        return bool(lead) and self.added.before_ids[: len(lead)] == lead

    def _rendered(self, turns: Sequence[Message]) -> str:
        return self.template.render(turns, self.settings, answer_next=True)

    def _with_system(self, before: Sequence[Message]) -> list[Message]:
        if self.system is None:
            return list(before)
        return [Message(SYSTEM, self.system), *(turn for turn in before if turn.role != SYSTEM)]

    def _without_lead(self, ids: Sequence[int]) -> Ids:
        lead = self.predictor.context.lead
        if lead and tuple(ids[: len(lead)]) == lead:
            ids = ids[len(lead) :]
        return np.asarray(ids, np.int64)

    def _check_markers(self, before: Sequence[Message]) -> None:
        """A marker spelled out in a turn would become one, and begin a turn of its own."""
        for turn in before:
            spelled = next((token for token in self.predictor.markers.control.values() if token in turn.content), None)
            if spelled is not None:
                raise DataError(f"a turn spells the special token {spelled}")

    def _check_settings(self) -> None:
        for name in self.settings:
            if name in _OWN_VARIABLES:
                raise UsageError(f"--template-option {name}=…: {name} is set by freerun itself; leave it out")
            if not re.search(rf"\b{re.escape(name)}\b", self.template.source):
                words = sorted(set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", self.template.source)) - {*_OWN_VARIABLES})
                raise UsageError(
                    f"--template-option {name}=…: the chat template of {self.predictor.identity.name} has no variable {name}"
                    f"{nearest(name, words)}; leave it out"
                )

    def _end_id(self) -> int | None:
        """The first marker that follows a response; where the template writes none, the end of documents."""
        control = self.predictor.markers.control
        closing = next((i for i in self.added.closing_ids if i in control), None)
        if closing is None:
            return next(iter(self.predictor.end_ids), None)
        if closing not in self.predictor.end_ids:
            raise UsageError(
                f"the template of {self.predictor.identity.name} closes a response with id {closing} ({control[closing]}), which "
                f"is not among the ids that end its texts ({', '.join(map(str, self.predictor.end_ids)) or 'none'}): name it with "
                "--end-ids, or load the model with LoadOptions(chat=True)"
            )
        return closing
