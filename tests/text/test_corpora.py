"""What people type, what they get, and what they are told when it is wrong."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freerun.errors import DataError, UsageError
from freerun.text.corpora import read_corpus

ROWS: list[dict[str, Any]] = [
    {"id": "one", "text": "First.", "author": "A", "year": 1790, "kept": True, "none": None, "tags": ["x"]},
    {"text": "Second.", "unit": "shared"},
]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    corpus = read_corpus(str(write_jsonl(tmp_path / name, ROWS)))
    first, second = corpus.documents
    assert (first.id, first.unit, first.text) == ("one", "one", "First.")
    assert first.meta == {"author": "A", "year": "1790", "kept": "true"}
    assert (second.id, second.unit) == (f"{name}:2", "shared")
    assert corpus.name == "d"
    assert corpus.independent


def test_parquet_says_the_same_as_jsonl(tmp_path: Path) -> None:
    columns = {"id": ["one", None], "text": ["First.", "Second."], "unit": [None, "shared"], "year": [1790, None]}
    pq.write_table(pa.table({**columns, "vector": [[0.5], [1.5]]}), tmp_path / "d.parquet")
    first, second = read_corpus(str(tmp_path / "d.parquet")).documents
    assert (first.id, first.unit, first.text, first.meta) == ("one", "one", "First.", {"year": "1790"})
    assert (second.id, second.unit, second.meta) == ("d.parquet:2", "shared", {})


def test_another_text_field(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"body": "x", "text": 3}, {"body": "y"}])
    corpus = read_corpus(str(path), text_field="body")
    assert [document.text for document in corpus.documents] == ["x", "y"]
    assert corpus.documents[0].meta == {"text": "3"}


def test_a_folder_is_read_recursively_in_order_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name, text in [("b/c.txt", "3"), ("a.txt", "1"), (".hidden.txt", "no"), (".git/x.txt", "no"), ("r.pdf", "no")]:
        (tmp_path / name).write_text(text)
    write_jsonl(tmp_path / "b" / "a.jsonl", [{"id": 7, "text": "2"}])
    corpus = read_corpus(str(tmp_path))
    assert [(document.id, document.text) for document in corpus.documents] == [
        ("a.txt", "1"),
        ("b/a.jsonl:7", "2"),
        ("b/c.txt", "3"),
    ]
    assert corpus.notes == ("1 file of other kinds left out", "files read: 1 .jsonl, 2 .txt")
    assert corpus.name == tmp_path.name


def test_a_name_of_several_files_does_not_merge_their_rows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": 1, "text": name}, {"id": 2, "text": name * 2, "unit": "u"}])
    corpus = read_corpus(str(tmp_path))
    assert [document.unit for document in corpus.documents] == ["a.jsonl:1", "u", "b.jsonl:1", "u"]


def test_rows_that_are_all_equal_are_not_called_one_long_text(tmp_path: Path) -> None:
    path = tmp_path / "equal.jsonl"
    path.write_text('{"text": "the same"}\n' * 3)
    with pytest.raises(DataError, match=r"all its 3 documents hold the same text, .* --text-field"):
        read_corpus(str(path))


@pytest.mark.parametrize(
    ("begins", "way_out"), [(b"%PDF-1.4\nplain", "pdftotext"), (b"PK\x03\x04\xff", "pandoc")], ids=["pdf", "zip"]
)
def test_a_file_that_is_no_text_under_a_name_of_text(tmp_path: Path, begins: bytes, way_out: str) -> None:
    path = tmp_path / "paper.txt"
    path.write_bytes(begins)
    with pytest.raises(DataError, match=way_out):
        read_corpus(str(path), single_ok=True)


def test_standard_input() -> None:
    corpus = read_corpus("-", stdin=io.StringIO("one\n--\ntwo\r\n--\n"), split_on="\\n--\\n")
    assert [document.text for document in corpus.documents] == ["one", "two"]
    assert not corpus.independent
    assert (corpus.name, corpus.spec) == ("stdin", "-")


def test_standard_input_with_bytes() -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfone two"), encoding="ascii")
    assert read_corpus("-", stdin=stream, single_ok=True).documents[0].text == "one two"
    with pytest.raises(DataError, match=r"stdin is not UTF-8: byte 0xff at offset 2"):
        read_corpus("-", stdin=io.TextIOWrapper(io.BytesIO(b"ab\xff")), single_ok=True)


def test_line_ends_byte_order_mark_nul_and_surrogates(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree")
    (tmp_path / "b.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "a\\u0000b"}\r\n\r\n{"text": "c\\ud800\xe2\x80\xa8d"}\r\n'
    )
    corpus = read_corpus(str(tmp_path))
    assert [document.text for document in corpus.documents] == ["one\ntwo\nthree", "ab", "c\ufffd\u2028d"]
    assert corpus.documents[2].id == "b.jsonl:3"
    assert len(corpus.notes) == 4
    assert "line ends of 1 document changed" in corpus.notes[1]


def test_one_file_is_cut_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three four five")
    corpus = read_corpus(str(tmp_path / "a.txt"), chunk_chars=8)
    assert [document.text for document in corpus.documents] == ["one two ", "three ", "four ", "five"]
    assert not corpus.independent
    assert any("each piece counts as its own unit" in note for note in corpus.notes)


def test_one_document_may_still_train_a_reference(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two")
    assert len(read_corpus(str(tmp_path / "a.txt"), single_ok=True).documents) == 1


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


ZSTD = zstd(b"one two three " * 9)


def test_files_with_marks_that_were_joined(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')
    assert [d.text for d in read_corpus(str(tmp_path / "d.jsonl")).documents] == ["a", "b"]


# Bad input: one clear line with the way out. (file contents, flags, what is said)
BAD_FILES: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "one document": ("a.txt", b"one two", {}, r"one document of 7 characters.*--split-on.*--chunk"),
    "empty text": ("a.txt", b"", {}, r"a\.txt' is empty"),
    "empty jsonl": ("a.jsonl", b"\n", {}, r"a\.jsonl' is empty"),
    "empty parquet": ("a.parquet", b"", {}, r"a\.parquet is empty"),
    "white space": ("a.txt", b" \n", {}, r"is empty"),
    "suffix": ("a.pdf", b"x", {}, r"a\.pdf: no file of this kind is read; names end in \.txt, \.md, \.jsonl.*--format"),
    "latin-1": ("a.txt", b"caf\xe9", {}, r"a\.txt is not UTF-8: byte 0xe9 at offset 3.*iconv"),
    "utf-16": ("a.txt", "hé".encode("utf-16"), {}, r"not UTF-8: byte 0xff at offset 0.*iconv -f UTF-16"),
    "binary": ("a.txt", b"ab\0", {}, r"NUL byte at offset 2"),
    "not json": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": \n',
        {},
        r"1 of 2 rows cannot be used: 1 is not JSON \(a\.jsonl:2: .*--skip-bad-rows",
    ),
    "deep json": ("a.jsonl", b"[" * 200_000, {}, r"1 is not JSON \(a\.jsonl:1: it is nested too deeply\)"),
    "not an object": (
        "a.jsonl",
        b'["x"]',
        {},
        r"1 is a JSON list of strings, not an object or a string \(a\.jsonl:1\).*--format json",
    ),
    "field": (
        "a.jsonl",
        b'{"text": "x", "n": 1}',
        {"text_field": "txt"},
        r"1 lacks the field 'txt' \(a\.jsonl:1, which has text, n\).*did you mean 'text'",
    ),
    "not a string": ("a.jsonl", b'{"text": null}', {}, r"1 has null in the field 'text', not a string \(a\.jsonl:1\)"),
    "a list": ("a.jsonl", b'{"text": ["x"]}', {}, r"has a list of strings in the field 'text'.*jq"),
    "not gzip": ("a.jsonl.gz", b"plain", {}, r"a\.jsonl\.gz is not packed with gzip, though.*call it a\.jsonl"),
    "gzip unsaid": ("a.jsonl", gzip.compress(b"{}"), {}, r"a\.jsonl is packed with gzip.*call it a\.jsonl\.gz"),
    "no gzip at all": ("a.txt.gz", b"", {}, r"a\.txt\.gz is a damaged gzip file \(it is empty\)"),
    "parquet unsaid": ("a.json", b"PAR1....PAR1", {}, r"a\.json holds parquet.*call it a\.json\.parquet"),
    "a number without end": (
        "a.jsonl",
        b'{"n": ' + b"9" * 6000 + b"}",
        {},
        r"not JSON \(a\.jsonl:1: Exceeds the limit[^;]*\);",
    ),
    "half a zstd": ("a.txt.zst", ZSTD[:-5], {}, r"a\.txt\.zst is a damaged Zstandard file \(Truncated"),
    "empty csv": ("a.csv", b"", {}, r"a\.csv' is empty"),
    "csv without the field": (
        "a.csv",
        b"id,body\n1,x\n",
        {},
        r"1 lacks the field 'text' \(a\.csv:2, which has id, body",
    ),
    "csv with a column twice": ("a.csv", b"text,n,n\nx,1,2\n", {}, r"a\.csv has two columns 'n'"),
    "csv of uneven rows": (
        "a.csv",
        b"n,text\n1,a\n2,b,c\n",
        {},
        r"as many cells.*a\.csv:3 has 3, the header 2.*skip-bad-rows",
    ),
    "csv with an open quote": (
        "a.csv",
        b'n,text\n1,"a\n2,b\n',
        {},
        r"a\.csv is not a whole table: the row that begins in line 2",
    ),
    "utf-16 csv": ("a.csv", "text\nhé\n".encode("utf-16"), {}, r"a\.csv is not UTF-8.*iconv -f UTF-16"),
    "json that is cut off": ("a.json", b'[{"text": "x"}, ', {}, r"a\.json is not JSON \(Expecting value"),
    "deep json file": ("a.json", b"[" * 200_000, {}, r"a\.json is not JSON \(it is nested too deeply\)"),
    "a number": ("a.json", b"7", {}, r"a\.json is a JSON number; give an array of objects"),
    "two arrays": ("a.json", b'{"a": [{"text": "x"}], "b": [{"text": "y"}]}', {}, r"several arrays.*\(a, b\)"),
    "an object of columns": ("a.json", b'{"text": {"0": "x"}}', {}, r"has an object in the field 'text'"),
    "a field of plain text": (
        "a.txt",
        b"one",
        {"text_field": "body"},
        r"--text-field body needs rows with fields, and a\.txt",
    ),
    "empty arrow": ("a.arrow", b"", {}, r"a\.arrow is empty"),
    "not arrow": ("a.arrow", b"ARROW1\0\0 nothing", {}, r"a\.arrow is not a whole Arrow file"),
    "old feather": ("a.feather", b"FEA1xxxx", {}, r"a\.feather is Feather of version 1"),
    "half a gzip": ("a.jsonl.gz", gzip.compress(b'{"text": "x"}' * 99)[:-9], {}, r"damaged gzip file"),
    "not parquet": ("a.parquet", b"PAR1 nothing", {}, r"a\.parquet is not a whole Parquet file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(tmp_path: Path, case: str) -> None:
    name, data, flags, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        read_corpus(str(tmp_path / name), **flags)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_parquet_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["x"], "n": [1]}), path)
    with pytest.raises(
        DataError, match=r"1 lacks the field 'text' \(a\.parquet:1, which has content, n\); choose the field"
    ):
        read_corpus(str(path))
    with pytest.raises(DataError, match=r"1 has a number in the field 'n', not a string \(a\.parquet:1\)"):
        read_corpus(str(path), text_field="n")


def test_half_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 99, "y"]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read_corpus(str(path))


def test_missing_files_suggest_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "speeches.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"does not exist; did you mean 'speeches\.jsonl'") as caught:
        read_corpus(str(tmp_path / "speech.jsonl"))
    assert caught.value.exit_code == 4
    with pytest.raises(DataError, match=r"nor does its folder"):
        read_corpus(str(tmp_path / "no" / "a.txt"))
    with pytest.raises(DataError, match=r"did you mean 'builtin/python-docs'"):
        read_corpus("python-docs")
    with pytest.raises(DataError, match=r"does not exist; give a file or folder, -, or builtin/python-docs"):
        read_corpus(str(tmp_path / "q"))


def test_folders_without_documents(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing; it needs files that end in \.txt"):
        read_corpus(str(tmp_path))
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(DataError, match=r"holds nothing that is read \(1 file of other kinds left out\)"):
        read_corpus(str(tmp_path))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_corpus(str(tmp_path))


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything, so chmod shows nothing
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied; check its permissions") as caught:
        read_corpus(str(path))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("builtin/python-doc", r"no corpus 'builtin/python-doc'.*did you mean 'builtin/python-docs'"),
        ("builtin/nothing-like-it", r"there are builtin/python-docs, builtin/python-code"),
        ("hf/name", r"corpus 'hf/name': a set of the hub is hf/ORG/NAME.*read as '\./hf/name'"),
        ("world/markov", r"is not a file"),
        ("", r"corpus '' is not a file"),
    ],
)
def test_specs_that_are_no_corpus_here(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_corpus(spec)
    assert caught.value.exit_code == 2
