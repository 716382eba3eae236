"""The template that a tokenizer carries: rendered by transformers, its end of turn an end of text where that is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from freerun.predictors.chat import ChatFeeding
from freerun.predictors.huggingface import load_pretrained
from freerun.predictors.huggingface.templates import CHAT_TEMPLATE, closing_ids, template_of
from freerun.predictors.rules import Identity
from freerun.predictors.templates import TemplateRefused
from freerun.text.conversations import Message

SOURCE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('No tools here') }}{% endif %}"
    "<|turn|> {{ m.role }} {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|turn|> assistant {% if not enable_thinking %}none {% endif %}{% endif %}"
)
HELLO = [Message("user", "a b")]


def tokenizer(source: Any = SOURCE) -> PreTrainedTokenizerFast:
    words = ["a", "b", "user", "assistant", "none", "<unk>"]
    level = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=level, unk_token="<unk>")
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in ("<|turn|>", "<|end|>")])
    made.chat_template = source
    return made


def test_rendered_with_its_variables() -> None:
    template = template_of(tokenizer())
    assert template is not None
    assert template.render(HELLO, {}, answer_next=True).endswith("<|turn|> assistant none ")
    thinking = template.render(HELLO, {"enable_thinking": True}, answer_next=True)
    assert thinking == "<|turn|> user a b <|end|> <|turn|> assistant "
    assert template.encode(thinking) == [6, 2, 0, 1, 7, 6, 3]
    assert len(template.sha256) == 64


def test_what_the_template_refuses_is_said_in_its_words() -> None:
    template = template_of(tokenizer())
    assert template is not None
    with pytest.raises(TemplateRefused, match=r"^the chat template says: No tools here$"):
        template.render([Message("tool", "a")], {}, answer_next=True)
    broken = template_of(tokenizer("{{ messages[3].content }}{{ messages[9]['x'] + 1 }}"))
    assert broken is not None
    with pytest.raises(TemplateRefused, match="the chat template says: "):
        broken.render(HELLO, {}, answer_next=True)


def test_one_of_several_is_the_default_and_none_is_none() -> None:
    assert template_of(tokenizer(None)) is None
    several = template_of(tokenizer({"default": SOURCE, "tool_use": "x"}))
    assert several is not None
    assert several.source == SOURCE
    assert template_of(tokenizer({"tool_use": "x"})) is None


def test_the_end_of_a_turn() -> None:
    assert closing_ids(tokenizer()) == (7,)
    assert closing_ids(tokenizer(None)) == ()
    assert closing_ids(tokenizer("{% for m in messages %}{{ m.content }} {% endfor %}")) == ()
    assert closing_ids(tokenizer("{{ raise_exception('no') }}")) == ()


def test_only_where_it_is_asked_does_the_end_of_a_turn_end_a_text(llama_folder: Path, tmp_path: Path) -> None:
    """A checkpoint that declares the end of documents alone, while its template closes turns with another token."""
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    words = AutoTokenizer.from_pretrained(str(folder))
    spelled = words.convert_ids_to_tokens(9)
    words.add_tokens([AddedToken(spelled, special=True, normalized=False)])
    words.chat_template = "{% for m in messages %}{{ m.content }} " + spelled + " {% endfor %}"
    words.save_pretrained(str(folder))
    some = Identity("some/model", "x")
    assert load_pretrained(str(folder), identity=some).end_ids == (2,)
    asked = load_pretrained(str(folder), identity=some, chat=True)
    assert asked.end_ids == (2, 9)
    assert {e.token_id: e.declared_by for e in asked.markers.ends}[9] == (CHAT_TEMPLATE,)
    assert ChatFeeding(asked).end_id == 9
    chosen = load_pretrained(str(folder), identity=some, chat=True, end_ids=(2,))
    assert chosen.end_ids == (2,)
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 2
