"""The corpora that come with Python, and documents that quote one another."""

from __future__ import annotations

import pytest

from freerun.text import builtin
from freerun.text.corpora import read_corpus
from freerun.text.documents import Corpus, Document
from freerun.text.overlap import join_overlapping


@pytest.fixture(scope="module")
def docs() -> Corpus:
    return read_corpus("builtin/python-docs")


def test_python_docs_has_enough_long_documents(docs: Corpus) -> None:
    lengths = [len(document.text) for document in docs.documents]
    assert sum(length >= 900 for length in lengths) > 250
    assert sum(length >= 2500 for length in lengths) > 160
    assert docs.n_units > 250
    assert docs.independent
    assert all(
        length >= builtin.MODULE_CHARACTERS
        for document, length in zip(docs.documents, lengths, strict=True)
        if document.id.startswith("module:")
    )


def test_python_docs_are_what_python_prints(docs: Corpus) -> None:
    texts = {document.id: document.text for document in docs.documents}
    assert texts["topic:assert"].startswith('The "assert" statement\n')
    assert texts["module:json"].startswith("JSON (JavaScript Object Notation) <https://json.org> is a subset")
    assert "\n\nDeserialize ``fp``" in texts["module:json"]
    assert not any(".test" in name or name.startswith("module:test") for name in texts)


def test_python_docs_say_what_they_are(docs: Corpus) -> None:
    assert "CPython 3." in docs.notes[0]
    assert "training data" in docs.notes[0]
    assert "share passages" in docs.notes[1]
    assert docs.name == "python-docs"


def test_topics_that_hold_others_share_their_unit(docs: Corpus) -> None:
    units = {document.id: document.unit for document in docs.documents}
    assert units["topic:while"] == units["topic:compound"] == "topic:compound"
    assert units["topic:numeric-types"] == "topic:specialnames"
    assert units["topic:assert"] == "topic:assert"


def test_python_code_is_source_and_the_same_each_time() -> None:
    corpus = read_corpus("builtin/python-code")
    texts = {document.id: document.text for document in corpus.documents}
    assert "def dumps(" in texts["module:json"]
    assert "module:encodings.cp1252" not in texts
    assert len(texts) > 300
    assert corpus.fingerprint == read_corpus("builtin/python-code").fingerprint


def test_docstrings_come_in_order_and_short_ones_stay_out() -> None:
    long = "A sentence that is long enough to count as prose, which is sixty characters or more."
    source = f'''"""Module."""
if True:
    class A:
        """{long} A

            indented
        less
        """
        def short(self): "No."
        async def f(self):
            r"""{long} \\d"""
try:
    pass
except ImportError:
    def g():
        """{long} g"""
'''
    found = list(builtin._docstrings(source.encode()))
    assert found == ["Module.", f"{long} A\n\n    indented\nless", f"{long} \\d", f"{long} g"]


def test_source_that_does_not_parse_has_no_docstrings() -> None:
    assert list(builtin._docstrings(b"def f(:")) == []


def test_overlap_joins_neighbours_of_neighbours_and_nothing_else() -> None:
    lines = [f"{i} this line has more than forty characters in it" for i in range(12)]

    def document(name: str, numbers: list[int]) -> Document:
        return Document(name, "\n".join(["x", *(lines[i] for i in numbers)]), name)

    documents = [
        document("a", [0, 1, 2, 3]),
        document("b", [3, 4, 5, 6, 7]),  # shares 1 of a's 4
        document("c", [7, 8]),  # shares 1 of its own 2
        document("d", [9, 10]),
        document("e", [11]),
        document("f", []),  # shares only a short line
    ]
    joined, n_joined = join_overlapping(documents)
    assert [one.unit for one in joined] == ["b", "b", "b", "d", "e", "f"]
    assert n_joined == 2
    assert [one.text for one in joined] == [one.text for one in documents]
