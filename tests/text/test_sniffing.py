"""What standard input is taken for, and that it is said."""

from __future__ import annotations

import gzip
import io

import pytest

from freerun.errors import DataError
from freerun.text.corpora import read_corpus
from freerun.text.documents import Corpus
from freerun.text.sniffing import sniff


def piped(data: bytes, **options: object) -> Corpus:
    return read_corpus("-", stdin=io.TextIOWrapper(io.BytesIO(data)), single_ok=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        (b'\xef\xbb\xbf\n {"text": "a"}\r\n{"text": ', "jsonl"),
        (b'{"body": 1}\n{"body": 2}\n', "jsonl"),
        (b'[\n {"text": "a"}\n]', "json"),
        (b'["a", "b"]', "json"),
        (b'{\n "data": [{"text": "a"}]\n}', "json"),
        (b"id,text\n1,a\n", "csv"),
        (b"id;text\n1;a\n", "csv"),
        (b"id\ttext\n1\ta\n", "tsv"),
        (b"Once, in a text\nthere was a line.", "text"),
        (b"[1] A footnote begins this text.", "text"),
        (b"[1, 2, 3]", "text"),
        (b'"Quoted," she said.', "text"),
        (b"{not json}", "text"),
        (b"", "text"),
        (b"\xff\xfea\x00", "text"),
    ],
)
def test_what_bytes_are(data: bytes, format: str) -> None:
    assert sniff(data, "stdin", text_field="text")[0].name == format


def test_packed_bytes_are_unpacked_first() -> None:
    corpus = piped(gzip.compress(b'{"text": "a"}\n{"text": "b"}', mtime=0))
    assert [d.text for d in corpus.documents] == ["a", "b"]
    assert corpus.named_notes == ("stdin is read as jsonl, by its first line (--format says otherwise)",)


def test_rows_on_standard_input_are_rows_and_the_field_is_theirs() -> None:
    corpus = piped(b'{"body": "a", "text": 1}\n{"body": "b", "text": 2}\n', text_field="body")
    assert [d.text for d in corpus.documents] == ["a", "b"]
    assert corpus.named_notes == ("stdin is read as jsonl, by its first line (--format says otherwise)",)


def test_what_it_is_may_be_said() -> None:
    data = b'{"text": "a"}\n{"text": "b"}\n'
    corpus = piped(data, format="text")
    assert [d.text for d in corpus.documents] == [data.decode()]
    assert corpus.named_notes == ()
    assert [d.text for d in piped(b"n,body\n1,a\n2,b\n", format="csv", text_field="body").documents] == ["a", "b"]


def test_a_field_of_plain_text_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"--text-field body needs rows with fields, and stdin looks like plain text.*--format"
    ):
        piped(b"n,content\n1,a\n", text_field="body")
    with pytest.raises(DataError, match=r"none of its 2 rows can be used: 2 lack the field 'text'.*--format text"):
        piped(b'{"body": 1}\n{"body": 2}\n')
    with pytest.raises(DataError, match=r"one document.*or say with --format what it is"):
        read_corpus("-", stdin=io.TextIOWrapper(io.BytesIO(b"one text")))
