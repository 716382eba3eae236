"""Pairs of prompts and responses of their own length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.text.conversations import Message
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.pairs import LeftOut, hash_of
from freerun.text.prompts import Prompting, prompt_pairs

END = 999


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def prompt_ids(before: Sequence[Message]) -> npt.NDArray[np.int64]:
    if "!" in before[-1].content:
        raise DataError("no shouting")
    return np.array(encode(before[-1].content), np.int64)


def corpus(n: int = 24, text: str = "abcdefgh") -> Corpus:
    documents = [
        Document(f"d{i}", text[: 1 + i % len(text)], f"u{i}", before=(Message("user", f"ask {i:03d}"),))
        for i in range(n)
    ]
    return assemble(documents, name="n", spec="s")


def prompting(**more: int | None) -> Prompting:
    return Prompting(prompt_ids, lambda before: len(before[-1].content), **{"end_id": END, **more})  # type: ignore[arg-type]


def test_a_response_ends_with_its_end_where_that_fits() -> None:
    pairs = prompt_pairs(corpus(), encode, prompting(), n_documents=24, continuation_tokens=5, seed=0)
    assert len(pairs.pairs) == 24
    for pair in pairs.pairs:
        whole = 1 + int(pair.document_id[1:]) % 8
        assert pair.prefix.tolist() == encode(f"ask {int(pair.document_id[1:]):03d}")
        wanted = [*encode("abcdefgh"[:whole]), END] if whole < 5 else encode("abcde")
        assert pair.continuation.tolist() == wanted
        assert pair.ended == (whole < 5)
    assert (pairs.n_ended_in_window, pairs.n_at_risk, pairs.cut_tokens, pairs.prefix_tokens) == (12, 24, 0, 7)
    assert pairs.free_length


def test_without_an_end_nothing_is_closed() -> None:
    pairs = prompt_pairs(corpus(), encode, prompting(end_id=None), n_documents=24, continuation_tokens=5, seed=0)
    assert not any(pair.ended for pair in pairs.pairs)
    assert max(pairs.pairs, key=lambda p: len(p.continuation)).continuation.tolist() == encode("abcde")


def test_units_are_split_by_their_hash_and_second_documents_come_last() -> None:
    documents = [Document(f"d{i}", f"text {i}", f"u{i % 20}", before=(Message("user", f"ask {i}"),)) for i in range(40)]
    pairs = prompt_pairs(
        assemble(documents, name="n", spec="s"), encode, prompting(), n_documents=25, continuation_tokens=9, seed=3
    )
    assert (len(pairs.pairs), pairs.n_units) == (25, 20)
    order = sorted({p.unit for p in pairs.pairs}, key=lambda unit: hash_of(3, unit))
    assert {p.unit for p in pairs.pairs if p.split == "train"} == set(order[:10])
    assert set(pairs.train_documents) == {d.id for d in documents if d.unit in order[:10]}


def test_what_does_not_fit_is_left_out_by_count_and_the_next_takes_its_place() -> None:
    documents = list(corpus(30).documents)
    documents[3] = Document("loud", "x", "loud", before=(Message("user", "ask me!"),))
    documents[4] = Document("long", "x", "long", before=(Message("user", "y" * 90),))
    documents[5] = Document("tiny", "x", "tiny", before=(Message("user", "a"),))
    mixed = assemble(documents, name="n", spec="s")
    chosen = prompting(window=40, least_own_tokens=3)
    pairs = prompt_pairs(mixed, encode, chosen, n_documents=30, continuation_tokens=8, seed=0)
    assert len(pairs.pairs) == 27
    assert pairs.left_out == (
        LeftOut("no shouting", 1),
        LeftOut("prompt and 8 tokens after it do not fit the 40 that the model sees", 1),
        LeftOut("the prompt has fewer than 3 tokens of its own, so it can be guessed", 1),
    )


def test_refusals() -> None:
    def made(some: Corpus, **more: int) -> None:
        options = {"n_documents": 24, "continuation_tokens": 5, "seed": 0, **more}
        prompt_pairs(some, encode, prompting(window=10), **options)

    with pytest.raises(
        DataError, match=r"no conversation can be used .24 left out: prompt and 5 tokens after it do not fit the 10"
    ):
        made(corpus())
    with pytest.raises(UsageError, match="--documents 3 is too small"):
        made(corpus(), n_documents=3)
    with pytest.raises(UsageError, match="--tokens 0 is too small"):
        made(corpus(), continuation_tokens=0)
    with pytest.raises(TooFewDocuments, match="at least 16 independent conversations are needed, and corpus 's' has 8"):
        made(corpus(8), continuation_tokens=2)
    bare = assemble([*corpus(20).documents, Document("bare", "words", "bare")], name="n", spec="s")
    with pytest.raises(DataError, match="1 of 21 documents have no prompt; name its field with --prompt-field"):
        made(bare)
