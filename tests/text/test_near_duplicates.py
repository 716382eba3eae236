"""Near duplicates share a unit: against the definition, by hand, in time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.text.documents import Document, assemble
from freerun.text.near_duplicates import FEWEST_SHINGLES, SHARED, SHINGLE_WORDS, units_of_near_duplicates
from freerun.text.pairs import cut_pairs


def words(n: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(10_000)}" for _ in range(n)]


def by_definition(texts: list[str], units: list[str]) -> list[str]:
    """All pairs, sets of tuples of words, and groups by repeated relabelling."""
    shingles = []
    for text in texts:
        own = text.split()
        shingles.append({tuple(own[i : i + SHINGLE_WORDS]) for i in range(len(own) - SHINGLE_WORDS + 1)})
    near = [[False] * len(texts) for _ in texts]
    for i, a in enumerate(shingles):
        for j, b in enumerate(shingles):
            contained = len(a) >= FEWEST_SHINGLES and len(a & b) >= SHARED * len(a)
            near[i][j] = near[j][i] = near[i][j] or units[i] == units[j] or (i != j and contained)
    label = list(range(len(texts)))
    for _ in texts:
        label = [min(label[j] for j in range(len(texts)) if near[i][j]) for i in range(len(texts))]
    return [units[k] for k in label]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """A few base texts over few words, each copied with pieces cut off, replaced and put in."""
    texts = []
    for _ in range(draw(st.integers(1, 8))):
        own = words(draw(st.integers(0, 60)), seed=draw(st.integers(0, 2)))
        at = draw(st.integers(0, 60))
        own[at : at + draw(st.integers(0, 20))] = words(draw(st.integers(0, 20)), seed=draw(st.integers(3, 5)))
        texts.append(" ".join(own))
    units = [draw(st.sampled_from(["a", "b", "c", f"own{i}"])) for i in range(len(texts))]
    return texts, units


@settings(max_examples=150, deadline=None)
@given(corpora())
def test_as_by_definition(corpus: tuple[list[str], list[str]]) -> None:
    texts, units = corpus
    assert units_of_near_duplicates(texts, units) == by_definition(texts, units)


def test_the_threshold_by_hand() -> None:
    """27 words have 20 shingles; of the first 16 + 7 words 16 are shared (0.8), of the first 15 + 7 only 15 (0.75)."""
    one = words(27)
    other = words(200, seed=1)
    for n_words, joined in ((23, True), (22, False)):
        texts = [" ".join(one[:n_words] + words(27 - n_words, seed=9)), " ".join(other + one + other[::-1])]
        assert (units_of_near_duplicates(texts, ["a", "b"]) == ["a", "a"]) is joined


def test_a_longer_version_is_found_and_short_texts_are_left_alone() -> None:
    text = words(100)
    longer = " ".join(words(300, seed=2) + text + words(300, seed=3))
    assert units_of_near_duplicates([longer, " ".join(text)], ["a", "b"]) == ["a", "a"]
    short = " ".join(words(FEWEST_SHINGLES + SHINGLE_WORDS - 2, seed=4))
    assert units_of_near_duplicates([short, f"{short} "], ["a", "b"]) == ["a", "b"]
    assert units_of_near_duplicates(["", ""], ["a", "b"]) == ["a", "b"]


def test_whole_units_join_and_nearness_is_passed_on() -> None:
    text = words(200)
    versions = [" ".join(text[i : i + 150]) for i in (0, 20, 40)]  # each shares 0.86 with the next, the ends 0.72
    others = [" ".join(words(60, seed=s)) for s in (7, 8)]
    texts = [others[0], *versions, others[1]]
    assert units_of_near_duplicates(texts, ["z", "a", "b", "c", "b"]) == ["z", "a", "a", "a", "a"]


def test_a_group_larger_than_what_is_looked_at() -> None:
    text = words(60)
    texts = [" ".join([*text, f"end{i}"]) for i in range(300)]
    assert set(units_of_near_duplicates(texts, [str(i) for i in range(300)])) == {"0"}


def test_near_duplicates_never_straddle_the_split() -> None:
    """40 documents with a copy each that differs in one word: no unit on both sides, all counted and said."""
    documents = []
    for i in range(40):
        text = words(80, seed=100 + i)
        documents += [Document(f"a{i}", " ".join(text), f"a{i}"), Document(f"b{i}", " ".join([*text, "end"]), f"b{i}")]
    corpus = assemble(documents, name="n", spec="s")
    assert (corpus.n_near_duplicates, corpus.n_units, len(corpus.documents)) == (40, 40, 80)
    assert "40 near duplicates kept in the unit of the document that it resembles" in corpus.notes
    pairs = cut_pairs(
        corpus,
        lambda text: [int(w[1:]) if w != "end" else 1 for w in text.split()],
        n_documents=80,
        prefix_tokens=8,
        continuation_tokens=16,
        seed=0,
    )
    side = {}
    for pair in pairs.pairs:
        name = pair.document_id[1:]
        assert side.setdefault(name, pair.split) == pair.split
    assert pairs.n_units == 40


def test_samples_of_a_world_are_independent_whatever_they_say() -> None:
    text = " ".join(words(60))
    corpus = assemble([Document(f"{i}", text, f"{i}", ids=(1, 2)) for i in range(3)], name="n", spec="s")
    assert corpus.n_units == 3
    assert corpus.n_near_duplicates == 0


@pytest.mark.parametrize("copies", [1, 10])
def test_ten_megabytes_in_two_seconds(copies: int) -> None:
    """CPU seconds of this process, twice over for a slow machine: 1.7 million words in 1,000 texts, or 100 texts ten times."""
    draw = random.Random(0)
    vocabulary = [f"word{i}" for i in range(20_000)]
    texts = [" ".join(draw.choices(vocabulary, k=1000)) for _ in range(1000 // copies)] * copies
    assert sum(map(len, texts)) > 9e6
    began = time.process_time()
    found = units_of_near_duplicates(texts, [str(i) for i in range(len(texts))])
    assert time.process_time() - began < 4.0
    assert len(set(found)) == 1000 // copies
