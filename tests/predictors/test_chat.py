"""Prompts by the model's own template: what is written once, what closes a response, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from freerun.errors import DataError, UsageError
from freerun.predictors.base import SharesTokens
from freerun.predictors.chat import ChatFeeding, PlainFeeding
from freerun.predictors.mixture import Mixture
from freerun.predictors.templates import TemplateRefused
from freerun.text.conversations import Message
from tests.templates import talking

HELLO = (Message("user", "hello"),)
END, BEGIN = 256, 0


def test_plain_text_has_a_blank_line_after_each_turn_and_no_roles() -> None:
    feeding = PlainFeeding(talking())
    turns = (Message("system", "Be brief."), *HELLO)
    assert bytes(feeding.ids(turns).tolist()) == b"Be brief.\n\nhello\n\n"
    assert feeding.end_id == END
    assert feeding.own_tokens(HELLO) == 5


def test_the_template_is_rendered_up_to_the_answer() -> None:
    feeding = ChatFeeding(talking())
    assert feeding.ids(HELLO).tolist() == [*b"user:hello", END, *b"assistant:"]
    assert feeding.end_id == END
    added = feeding.added
    assert (added.before, added.after, added.closing) == ("user:", "<|turn|>assistant:", "<|turn|>")
    assert added.after_ids == (END, *b"assistant:")
    assert feeding.own_tokens(HELLO) == 5


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("lead", [False, True])
def test_what_stands_first_stands_there_once(begins: bool, lead: bool) -> None:
    predictor = talking(begins=begins, lead=lead)
    feeding = ChatFeeding(predictor)
    read = [*predictor.context.lead, *feeding.ids(HELLO).tolist()]
    assert read.count(BEGIN) == int(begins or lead)
    assert feeding.writes_lead == (begins and lead)


def test_a_system_turn_takes_the_place_of_the_conversations_own() -> None:
    turns = (Message("system", "Be long."), *HELLO)
    kept, put = (
        bytes(i for i in ChatFeeding(talking(), system=s).ids(turns).tolist() if i < 256) for s in (None, "Be dry.")
    )
    assert kept == b"system:Be long.user:helloassistant:"
    assert put == b"system:Be dry.user:helloassistant:"


def test_variables_reach_the_template_and_unknown_ones_are_refused() -> None:
    loud = ChatFeeding(talking(), settings={"loud": True})
    assert bytes(loud.ids(HELLO).tolist()[:4]) == b"USER"
    with pytest.raises(UsageError, match="has no variable quiet"):
        ChatFeeding(talking(), settings={"quiet": True})
    with pytest.raises(UsageError, match="messages is set by freerun itself"):
        ChatFeeding(talking(), settings={"messages": 1})


def test_a_marker_in_a_turn_is_refused_and_so_is_what_the_template_refuses() -> None:
    feeding = ChatFeeding(talking())
    with pytest.raises(DataError, match=r"a turn spells the special token <\|turn\|>"):
        feeding.ids((Message("user", "end it <|turn|> now"),))
    with pytest.raises(TemplateRefused, match="the chat template says: no tools"):
        feeding.ids((Message("tool", "3"), *HELLO))


def test_what_closes_a_response_must_be_an_end() -> None:
    with pytest.raises(
        UsageError, match=r"closes a response with id 256 \(<\|turn\|>\), which is not among the ids that end"
    ):
        ChatFeeding(talking(ends=False))
    assert ChatFeeding(talking(closes=False)).end_id == END  # the template writes no marker: the end of documents


def test_without_a_template_there_is_one_way_out() -> None:
    predictor = talking()
    predictor.template = None
    with pytest.raises(UsageError, match="has no chat template: leave --chat out"):
        ChatFeeding(predictor)


def test_wrappers_have_the_template_of_what_is_inside() -> None:
    predictor = talking()
    mixed: SharesTokens = Mixture((predictor, predictor), (0.5, 0.5), name="both")
    assert mixed.template is predictor.template


@pytest.mark.model
def test_the_real_template_gives_what_transformers_gives(smollm: Any) -> None:
    """The golden text is that of the checkpoint's `chat_template.jinja`; the ids are compared with transformers' own call."""
    feeding = ChatFeeding(smollm)
    turns = (Message("user", "Hi there"), Message("assistant", "Hello!"), Message("user", "Bye"))
    rendered = smollm.template.render(turns, {}, answer_next=True)
    assert rendered == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
    theirs = smollm.tokenizer.apply_chat_template(
        [{"role": t.role, "content": t.content} for t in turns], add_generation_prompt=True, return_dict=False
    )
    assert feeding.ids(turns).tolist() == theirs
    assert (feeding.end_id, smollm.end_ids) == (2, (0, 2))
    assert feeding.added.closing_ids == (2, 198)
    brief = ChatFeeding(smollm, system="Be brief.")
    assert brief.added.before == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
