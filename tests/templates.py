"""A model with a chat template at hand: bytes, two markers, and a template that writes them."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from freerun.predictors.markers import Markers
from freerun.predictors.ngram import byte_ngram
from freerun.predictors.rules import ContextRule
from freerun.predictors.templates import ChatTemplate, Setting, TemplateRefused
from freerun.text.conversations import Message

TURN, BEGIN = "<|turn|>", "<|begin|>"


class Marking(ChatTemplate):
    """Each turn: its role and a colon, its content, and the marker that closes it; `loud` is its only variable."""

    source = "{{ messages }} {{ loud }}"

    def __init__(self, ids: Mapping[str, int], *, begins: bool = False, closes: bool = True) -> None:
        self.ids, self.begins, self.closes = dict(ids), begins, closes

    def render(self, messages: Sequence[Message], settings: Mapping[str, Setting], *, answer_next: bool) -> str:
        if any(turn.role == "tool" for turn in messages):
            raise TemplateRefused("the chat template says: no tools")
        close = TURN if self.closes else "\n"
        turns = "".join(f"{turn.role}:{turn.content}{close}" for turn in messages)
        text = turns + ("assistant:" if answer_next else "")
        return (BEGIN if self.begins else "") + (text.upper() if settings.get("loud") else text)

    def encode(self, rendered: str) -> list[int]:
        pieces = re.split(f"({'|'.join(map(re.escape, self.ids))})", rendered)
        return [i for piece in pieces for i in ([self.ids[piece]] if piece in self.ids else piece.encode())]


def talking(*, begins: bool = False, closes: bool = True, lead: bool = False, ends: bool = True) -> Any:
    """A byte n-gram that can write the two markers, and has a template of them.

    `begins`, `closes`: what the template writes. `lead`: `<|begin|>` is put before every text. `ends`: the closing marker ends a
    text.
    """
    predictor = copy.copy(byte_ngram(["user:hello assistant:hi there, how are you"] * 4, order=2, name="talker"))
    document_end = predictor.end_ids[0]
    turn, begin = document_end, 0  # the marker that closes a turn is the n-gram's own end; byte 0 stands in no text
    ids = {TURN: turn, BEGIN: begin}
    predictor.markers = Markers(control={turn: TURN, begin: BEGIN})
    predictor.end_ids = (turn,) if ends else (1,)
    predictor.template = Marking(ids, begins=begins, closes=closes)
    if lead:
        predictor.context = ContextRule(lead=(begin,))
    return predictor
