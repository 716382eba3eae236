"""Which documents are cut where, and on which side of the split they fall."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.pairs import PairSet, cut_pairs


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def world(*lengths: int, per_unit: int = 1) -> Corpus:
    """Documents of so many tokens, each with its own ids."""
    documents = [
        Document(f"d{i}", "", f"u{i // per_unit}", ids=tuple(range(i, i + length))) for i, length in enumerate(lengths)
    ]
    return assemble(documents, name="n", spec="s")


def cut(
    corpus: Corpus, n: int = 4, prefix: int = 3, tokens: int | None = 2, minimum: int = 2, **more: float
) -> PairSet:
    return cut_pairs(
        corpus,
        encode,
        n_documents=n,
        prefix_tokens=prefix,
        continuation_tokens=tokens,
        seed=int(more.get("seed", 0)),
        train_share=more.get("train_share", 0.5),
        minimum_units=minimum,
    )


def by_hash(units: set[str], seed: int = 0) -> list[str]:
    return sorted(units, key=lambda unit: hashlib.sha256(f"{seed}/{unit}".encode()).hexdigest())


def test_where_a_document_is_cut_and_who_is_long_enough() -> None:
    # Prefix 3, continuation 2: usable from 6 tokens. At risk (more than 3): 4, 5, 6, 7, 9; ended by the fifth: 4, 5.
    found = cut(world(2, 3, 4, 5, 6, 7, 9), n=9)
    assert (found.n_documents, found.n_units, found.n_too_short) == (3, 3, 4)
    assert (found.n_at_risk, found.n_ended_in_window) == (5, 2)
    assert (found.document_tokens_median, found.document_tokens_max) == (5.0, 9)
    assert (found.prefix_tokens, found.continuation_tokens) == (3, 2)
    for pair in found.pairs:
        start = int(pair.document_id[1:])
        assert pair.prefix.tolist() == [start, start + 1, start + 2]
        assert pair.continuation.tolist() == [start + 3, start + 4]
        assert pair.prefix.dtype == pair.continuation.dtype == np.int32
        assert not pair.prefix.flags.writeable


def test_selection_and_split_go_by_the_hash_of_seed_and_unit() -> None:
    found = cut(world(*[9] * 10), n=6, train_share=1 / 3, seed=7)
    order = by_hash({f"u{i}" for i in range(10)}, seed=7)
    assert [pair.unit for pair in found.pairs] == order[:6]
    assert [pair.split for pair in found.pairs] == ["train"] * 2 + ["test"] * 4
    assert set(found.train_documents) == {f"d{unit[1:]}" for unit in order[:2] + order[6:]}


def test_too_short_documents_may_train_a_reference_unless_their_unit_is_tested() -> None:
    found = cut(world(9, 1, 9, 1, 9, 1, 1, 1, per_unit=2))
    tested = {pair.unit for pair in found.pairs if pair.split == "test"}
    assert len(tested) == 1 or len(tested) == 2
    expected = [f"d{i}" for i in range(8) if f"u{i // 2}" not in tested]
    assert list(found.train_documents) == expected
    assert {"d6", "d7"} <= set(expected)


def test_no_prefix() -> None:
    found = cut(world(3, 3, 2), prefix=0)
    assert [pair.prefix.shape for pair in found.pairs] == [(0,), (0,)]
    assert all(pair.continuation.shape == (2,) for pair in found.pairs)
    assert found.n_at_risk == 3


def test_a_second_document_of_a_unit_is_used_only_when_units_run_out() -> None:
    corpus = world(*[9] * 12, per_unit=3)
    assert cut(corpus, n=4).n_units == 4
    found = cut(corpus, n=6)
    counts = sorted(sum(pair.unit == f"u{i}" for pair in found.pairs) for i in range(4))
    assert counts == [1, 1, 2, 2]
    everything = cut(corpus, n=99)
    assert everything.n_documents == 12
    assert len({pair.document_id for pair in everything.pairs}) == 12


def test_second_documents_do_not_pile_up_on_one_side() -> None:
    # 40 units of two documents, 60 wanted: with the split's own order all 20 second ones would be train.
    found = cut(world(*[9] * 80, per_unit=2), n=60)
    n_train = sum(pair.split == "train" for pair in found.pairs)
    assert 23 <= n_train <= 37


def test_the_length_that_fits() -> None:
    # 16 documents reach beyond 3+128 tokens, four only beyond 3+48, one none.
    corpus = world(*[132] * 16, *[52] * 4, 5)
    assert cut(corpus, n=16, tokens=None).continuation_tokens == 128
    assert cut(corpus, n=20, tokens=None).continuation_tokens == 128  # 16 of 20 are three quarters
    assert cut(world(*[132] * 14, *[52] * 6), n=20, tokens=None).continuation_tokens == 48
    assert cut(world(*[131] * 16), n=16, tokens=None).continuation_tokens == 96  # the text must go on after the window
    assert cut(world(*[20] * 16), n=16, tokens=None).continuation_tokens == 16


def test_text_is_encoded() -> None:
    corpus = assemble([Document(f"d{i}", f"{i}abcdef", f"d{i}") for i in range(4)], name="n", spec="s")
    for pair in cut(corpus).pairs:
        assert pair.prefix.tolist() == encode(f"{pair.document_id[1:]}ab")
        assert pair.continuation.tolist() == encode("cd")


corpora = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=4, max_size=25).map(
    lambda shape: [
        Document(f"d{i}", "", f"u{unit}", ids=tuple(range(100 * i, 100 * i + n))) for i, (unit, n) in enumerate(shape)
    ]
)


def usable_units(documents: list[Document]) -> set[str]:
    return {document.unit for document in documents if document.ids is not None and len(document.ids) > 5}


@settings(max_examples=60)
@given(corpora, st.integers(2, 20), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(documents: list[Document], n: int, seed: int, random: object) -> None:
    if len(usable_units(documents)) < 2:
        return
    shuffled = list(documents)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (cut(assemble(them, name="n", spec="s"), n=n, seed=seed) for them in (documents, shuffled))
    assert [(p.document_id, p.split, p.prefix.tolist()) for p in one.pairs] == [
        (p.document_id, p.split, p.prefix.tolist()) for p in other.pairs
    ]
    assert set(one.train_documents) == set(other.train_documents)


@settings(max_examples=60)
@given(corpora, st.integers(2, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_the_split_is_balanced_and_by_unit(documents: list[Document], n: int, train_share: float) -> None:
    if len(usable_units(documents)) < 2:
        return
    found = cut(assemble(documents, name="n", spec="s"), n=n, train_share=train_share)
    train = {pair.unit for pair in found.pairs if pair.split == "train"}
    test = {pair.unit for pair in found.pairs if pair.split == "test"}
    assert not train & test
    assert len(train) == round(train_share * found.n_units)
    assert found.n_units == min(n, len(usable_units(documents)))
    assert len({pair.document_id for pair in found.pairs}) == found.n_documents <= n
    unit = {document.id: document.unit for document in documents}
    assert not {unit[name] for name in found.train_documents} & test


@settings(max_examples=60)
@given(st.integers(4, 20), st.integers(0, 5))
def test_another_document_leaves_the_others_where_they_are(n_units: int, seed: int) -> None:
    before = cut(world(*[9] * n_units), n=99, seed=seed)
    after = cut(world(*[9] * (n_units + 1)), n=99, seed=seed)
    split = {pair.document_id: pair.split for pair in after.pairs}
    moved = [pair.document_id for pair in before.pairs if split[pair.document_id] != pair.split]
    assert len(moved) <= 1  # the one at the border
    old = [pair.document_id for pair in before.pairs]
    assert [name for name in split if name in set(old)] == old


def test_all_too_short() -> None:
    with pytest.raises(DataError) as caught:
        cut(world(*[10] * 16, 4, 4), n=16, prefix=8, tokens=32, minimum=16)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "every document of corpus 's' is too short: --prefix 8 --tokens 32 needs 41 tokens, "
        "the longest has 10, the median 10; "
        "--prefix 0 --tokens 16 would fit 0, and 16 are needed; give longer documents"
    )
    with pytest.raises(DataError, match=r"--tokens 24 would fit 20 of them"):
        cut(world(*[33] * 20), n=16, prefix=8, tokens=32, minimum=16)
    with pytest.raises(DataError, match=r"--prefix 4 --tokens 16 would fit 20 of them"):
        cut(world(*[21] * 20), n=16, prefix=8, tokens=None, minimum=16)


def test_too_few_documents() -> None:
    with pytest.raises(TooFewDocuments) as caught:
        cut(world(*[99] * 9, *[30] * 8), n=20, prefix=8, tokens=32, minimum=16)
    assert caught.value.exit_code == 3
    said = str(caught.value)
    assert said.startswith(
        "at least 16 independent documents of 41 tokens are needed (--prefix 8 --tokens 32), and corpus 's' has 9"
    )
    assert "--tokens 16 would fit 17 of them, or give more documents" in said
    assert "--chunk" not in said


def test_few_long_documents_may_be_cut() -> None:
    with pytest.raises(TooFewDocuments, match=r"has 5 \(of 5;.*; give more documents, or cut .*--split-on or --chunk"):
        cut(world(*[999] * 5), n=20, minimum=16)


def test_documents_of_one_unit_count_once() -> None:
    with pytest.raises(TooFewDocuments, match=r"has 4 \(of 4"):
        cut(world(*[9] * 20, per_unit=5), n=20, minimum=16)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"prefix": -1}, "--prefix -1 is negative"),
        ({"tokens": 0}, "--tokens 0 is too small"),
        ({"n": 1}, "--documents 1 is too small; give at least 2"),
        ({"train_share": 1.5}, "train_share 1.5 is not a share"),
    ],
)
def test_senseless_values(flags: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        cut(world(*[9] * 9), **flags)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
