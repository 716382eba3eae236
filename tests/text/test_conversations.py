"""Rows with prompts and conversations: what becomes of each, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freerun.errors import DataError, UsageError
from freerun.text.conversations import Message, Turns, plain, read_turns
from freerun.text.corpora import read_corpus
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.rows import Fault


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def talk(question: str, answer: str) -> list[dict[str, Any]]:
    return [said("user", question), said("assistant", answer)]


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: str, **more: Any) -> Corpus:
    return read_corpus(path, prompts_ok=True, **more)


MANY = [f"What is the {n}th thing that people ask?" for n in range(4)]


def test_a_prompt_field_and_a_text_field(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"q": q, "a": f"Answer {n}"} for n, q in enumerate(MANY)])
    corpus = read(path, prompt_field="q", text_field="a")
    assert [d.text for d in corpus.documents] == [f"Answer {n}" for n in range(4)]
    assert corpus.documents[0].before == (Message("user", MANY[0]),)
    assert corpus.n_prompted == 4
    assert corpus.documents[0].meta == {}


def test_the_last_turn_of_a_conversation_is_the_response(tmp_path: Path) -> None:
    long = [said("system", "Be brief."), *talk("Hi", "Hello"), *talk("Bye?", "Bye")]
    path = written(tmp_path / "a.jsonl", [{"messages": long}, {"messages": talk("Why?", "Because.")}])
    first, second = read(path).documents
    assert [turn.role for turn in first.before] == ["system", "user", "assistant", "user"]
    assert (first.text, second.text) == ("Bye", "Because.")
    assert plain(first.before) == "Be brief.\n\nHi\n\nHello\n\nBye?"


def test_messages_may_stand_in_another_field_and_in_parquet(tmp_path: Path) -> None:
    rows = [{"chat": talk(q, f"Answer {n}"), "n": n} for n, q in enumerate(MANY)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    corpus = read(str(tmp_path / "a.parquet"), text_field="chat")
    assert [d.text for d in corpus.documents] == [f"Answer {n}" for n in range(4)]
    renamed = [{"messages": row["chat"], "n": row["n"]} for row in rows]
    pq.write_table(pa.Table.from_pylist(renamed), tmp_path / "b.parquet")
    assert read(str(tmp_path / "b.parquet")).documents[1].before == (Message("user", MANY[1]),)
    prompts = [{"p": [said("user", q)], "r": f"Answer {n}"} for n, q in enumerate(MANY)]
    pq.write_table(pa.Table.from_pylist(prompts), tmp_path / "c.parquet")
    assert read(str(tmp_path / "c.parquet"), prompt_field="p", text_field="r").n_prompted == 4


def test_conversations_without_an_answer_are_counted(tmp_path: Path) -> None:
    rows = [{"messages": talk(q, "Yes, it is")} for q in MANY] + [{"messages": [said("user", "Hello?")]}]
    corpus = read(written(tmp_path / "a.jsonl", rows))
    assert corpus.n_unanswered == 1
    assert "1 of 5 conversations left out: their last turn is not the assistant's" in corpus.notes
    with pytest.raises(DataError, match="none of its 1 conversations ends with the assistant's turn"):
        read(written(tmp_path / "b.jsonl", rows[-1:]))


@pytest.mark.parametrize(
    ("row", "options", "words"),
    [
        ({"q": "x", "a": "y"}, {"prompt_field": "question", "text_field": "a"}, "lacks the field 'question'"),
        ({"q": " ", "a": "y"}, {"prompt_field": "q", "text_field": "a"}, "has an empty prompt"),
        ({"q": 3, "a": "y"}, {"prompt_field": "q", "text_field": "a"}, "has a number as the prompt"),
        ({"q": "x", "a": None}, {"prompt_field": "q", "text_field": "a"}, "has null in the field 'a'"),
        ({"messages": [{"content": "x"}, said("assistant", "y")]}, {}, "has a message without a role"),
        ({"messages": talk("", "y")}, {}, "has an empty prompt"),
        ({"messages": [said("assistant", "y")]}, {}, "has an empty prompt"),
        ({"messages": [said("user", None), said("assistant", "y")]}, {}, "content is null, not text"),
    ],
)
def test_what_cannot_be_used_is_one_line_or_a_count(
    tmp_path: Path, row: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    prompted = "prompt_field" in options
    good = [{"question": q, "q": q, "a": q} if prompted else {"messages": talk(q, "Yes")} for q in MANY]
    path = written(tmp_path / "a.jsonl", [*good, row])
    with pytest.raises(DataError) as refused:
        read(path, **options)
    assert words in str(refused.value)
    assert "--skip-bad-rows" in str(refused.value)
    assert "\n" not in str(refused.value)
    corpus = read(path, skip_bad_rows=True, **options)
    assert (len(corpus.documents), corpus.n_bad_rows) == (4, 1)


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = {"messages": [said("user", parts), said("assistant", "c")]}
    assert read_turns(row, text_field="text", prompt_field=None) == Turns((Message("user", "ab"),), "c")
    picture = {"messages": [said("user", [{"type": "image"}]), said("assistant", "c")]}
    assert read_turns(picture, text_field="text", prompt_field=None) == Fault("no turn text", "list of objects")


def test_equal_answers_to_other_prompts_stay_and_answers_to_one_prompt_share_a_unit() -> None:
    def document(name: str, prompt: str, text: str) -> Document:
        return Document(name, text, name, before=(Message("user", prompt),))

    documents = [
        document("a", "Is it?", "Yes."),
        document("b", "Was it?", "Yes."),
        document("c", "Is it?", "No."),
        document("d", "Is it?", "Yes."),
    ]
    corpus = assemble(documents, name="n", spec="s")
    assert [(d.id, d.unit) for d in corpus.documents] == [("a", "a"), ("b", "b"), ("c", "a")]
    assert corpus.n_duplicates == 1
    plain_text = assemble([Document(d.id, d.text, d.unit) for d in documents[:1]], name="n", spec="s")
    with_prompt = assemble(documents[:1], name="n", spec="s")
    assert plain_text.fingerprint != with_prompt.fingerprint


def test_the_fingerprint_of_plain_text_is_what_it_was() -> None:
    corpus = assemble([Document("a", "text", "u")], name="n", spec="s")
    assert corpus.fingerprint == "85fc629ef8723d48052d58fbd8df2da4ddc280f948a1a3505d710f4dc5d4d192"


def test_prompts_are_refused_where_nobody_reads_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"messages": talk(q, "Yes")} for q in MANY])
    for spec in (path, "builtin/instructions"):
        with pytest.raises(DataError, match="holds conversations, and plain texts are wanted here"):
            read_corpus(spec)
    with pytest.raises(UsageError, match="--prompt-field q names a field of rows"):
        read("builtin/instructions", prompt_field="q")


def test_the_shipped_instructions() -> None:
    corpus = read("builtin/instructions")
    assert len(corpus.documents) == corpus.n_units == corpus.n_prompted == 86
    words = [len(d.text.split()) for d in corpus.documents]
    assert min(words) >= 5
    assert max(words) < 160
