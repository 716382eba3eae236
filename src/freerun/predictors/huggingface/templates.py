"""The chat template that a transformers tokenizer carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.errors import first_line
from freerun.predictors.templates import ChatTemplate, Setting, TemplateRefused
from freerun.predictors.vocabulary import control_tokens
from freerun.text.conversations import ASSISTANT, USER, Message

CHAT_TEMPLATE = "chat template"
"""Who declares an end of turn that only the template names."""
_RESPONSE = "Response-5f1c"


class TokenizerTemplate(ChatTemplate):
    """`apply_chat_template` of a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.source = str(_source(tokenizer))

    def render(self, messages: Sequence[Message], settings: Mapping[str, Setting], *, answer_next: bool) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=answer_next, chat_template=self.source, **settings
                )
            )
        except Exception as error:  # a template is a program of its own: Jinja's errors, and whatever else it runs into
            raise TemplateRefused(f"the chat template says: {first_line(error)}") from error

    def encode(self, rendered: str) -> list[int]:
        return list(self.tokenizer.encode(rendered, add_special_tokens=False, verbose=False))


def template_of(tokenizer: Any) -> TokenizerTemplate | None:
    """The template of a tokenizer; None where it has none."""
    return None if _source(tokenizer) is None else TokenizerTemplate(tokenizer)


def _source(tokenizer: Any) -> str | None:
    """The template named default, where there are several."""
    own = getattr(tokenizer, "chat_template", None)
    if isinstance(own, Mapping):
        return own.get("default")
    return own or None


def closing_ids(tokenizer: Any) -> tuple[int, ...]:
    """The marker that a tokenizer's template writes after a response; nothing where there is no template, or it writes none."""
    template = template_of(tokenizer)
    if template is None:
        return ()
    try:
        whole = template.render([Message(USER, "Prompt"), Message(ASSISTANT, _RESPONSE)], {}, answer_next=False)
    except TemplateRefused:
        return ()
    after, control = template.encode(whole.partition(_RESPONSE)[2]), control_tokens(tokenizer, len(tokenizer))
    return tuple([i for i in after if i in control][:1])
