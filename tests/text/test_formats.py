"""Every format, packed and not, says the same; the table of the docs is the table of the code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

from freerun.commands.main import verb_parser
from freerun.errors import DataError, UsageError
from freerun.text import packing
from freerun.text.corpora import read_corpus
from freerun.text.formats import FORMATS, SUPPORTED, kind_of
from freerun.text.packing import PACKINGS

ROOT = Path(__file__).parents[2]
ROWS = [{"id": str(i), "text": f"Text {i},\nsaid “{i}”; it\tgoes on | and on.", "unit": f"u{i // 2}"} for i in range(6)]


def cells(separator: str) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(ROWS[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(ROWS)
    return table.getvalue().encode()


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table_bytes(write: Callable[[pa.Table, Any], None]) -> bytes:
    sink = pa.BufferOutputStream()
    write(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue().to_pybytes())


def stream(table: pa.Table, sink: Any) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


WRITTEN: dict[str, bytes] = {
    ".jsonl": lines(ROWS),
    ".ndjson": lines(ROWS).replace(b"\n", b"\r\n"),
    ".json": json.dumps(ROWS, indent=1).encode(),
    ".csv": b"\xef\xbb\xbf" + cells(","),
    ".tsv": cells("\t"),
    ".parquet": table_bytes(pq.write_table),
    ".arrow": table_bytes(stream),
    ".feather": table_bytes(pf.write_feather),
}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue().to_pybytes())


PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", [s for s in SUPPORTED if not s.startswith((".txt", ".md"))])
def test_rows_are_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    plain, _, packed = suffix.partition(".")[2].partition(".")
    data = WRITTEN[f".{plain}"]
    path = tmp_path / f"d{suffix}"
    path.write_bytes(PACK[f".{packed}"](data) if packed else data)
    corpus = read_corpus(str(path))
    assert [(d.id, d.text, d.unit) for d in corpus.documents] == [(r["id"], r["text"], r["unit"]) for r in ROWS]
    assert corpus.name == "d"
    shown = read_corpus("-", stdin=io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert [d.text for d in shown.documents] == [r["text"] for r in ROWS]
    assert any(note.startswith("stdin is read as ") for note in shown.named_notes)


@pytest.mark.parametrize("suffix", [s for s in SUPPORTED if s.startswith((".txt", ".md"))])
def test_text_is_one_document(tmp_path: Path, suffix: str) -> None:
    tail = next((t for t in PACK if suffix.endswith(t)), None)
    (tmp_path / f"d{suffix}").write_bytes(PACK[tail](b"one two") if tail else b"one two")
    assert [d.text for d in read_corpus(str(tmp_path / f"d{suffix}"), single_ok=True).documents] == ["one two"]


def formats_table() -> str:
    """The table of formats for docs/text.md."""
    tails = ", ".join(f"`{p.suffix}`" for p in PACKINGS)
    lines = ["| files that end in | also | `--format` | a document is |", "|---|---|---|---|"]
    for kind in FORMATS.values():
        suffixes = ", ".join(f"`{suffix}`" for suffix in kind.suffixes)
        lines.append(f"| {suffixes} | {tails if kind.packed else ''} | `{kind.name}` | {kind.document} |")
    return "\n".join(lines) + "\n"


def test_the_docs_help_and_messages_are_made_from_the_table(tmp_path: Path) -> None:
    """If the first line fails: write `formats_table()` between the marks in docs/text.md."""
    docs = (ROOT / "docs" / "text.md").read_text()
    assert docs.split("<!-- formats -->\n")[1] == formats_table()
    (tmp_path / "a.odt").write_bytes(b"")
    with pytest.raises(DataError) as refused:
        read_corpus(str(tmp_path / "a.odt"))
    pages = [re.sub(r"\s+", " ", verb_parser(verb).format_help()) for verb in ("audit", "source")]
    for one in FORMATS.values():
        for suffix in one.suffixes:
            assert f"`{suffix}`" in docs
            assert suffix in str(refused.value)
            assert all(suffix in page for page in pages)
    assert "at least 16)" in pages[0]
    assert all("--skip-bad-rows" in page and "--format" in page for page in pages)


def test_suffixes_are_found_longest_first_and_in_any_case() -> None:
    kinds = [kind_of(name) for name in ("A.JSONL.GZ", "b.tar.gz", "jsonl", "c.md.zst")]
    assert [kind and (kind.format.name, kind.suffix) for kind in kinds] == [
        ("jsonl", ".jsonl.gz"),
        None,
        None,
        ("text", ".md.zst"),
    ]


# ---- JSON files, tables, nested fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "texts", "said"),
    [
        (["a", "b"], ["a", "b"], ""),
        ({"version": 1, "data": [{"text": "a"}]}, ["a"], "the rows of d.json are its array 'data'"),
        ({"tags": ["x"], "data": [{"text": "a"}], "more": [{"n": 1}]}, ["a"], "its array 'data'"),
        ({"text": "a", "tags": ["x"]}, ["a"], ""),
    ],
)
def test_json_files(tmp_path: Path, value: Any, texts: list[str], said: str) -> None:
    (tmp_path / "d.json").write_text(json.dumps(value))
    corpus = read_corpus(str(tmp_path / "d.json"), single_ok=True)
    assert [d.text for d in corpus.documents] == texts
    assert said in " ".join(corpus.named_notes)


def test_json_lines_that_are_called_json(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(lines(ROWS))
    corpus = read_corpus(str(tmp_path / "d.json"))
    assert len(corpus.documents) == 6
    assert "d.json is read as JSON lines" in corpus.named_notes[0]


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_a_csv_may_stand_between_other_signs(tmp_path: Path, separator: str, word: str) -> None:
    (tmp_path / "d.csv").write_bytes(cells(separator))
    corpus = read_corpus(str(tmp_path / "d.csv"))
    assert [d.text for d in corpus.documents] == [r["text"] for r in ROWS]
    assert corpus.named_notes == (f"the cells of d.csv stand between {word}",)


def test_cells_may_be_long_and_lines_may_end_in_any_way(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * 100_000
    (tmp_path / "d.csv").write_bytes(f"n,text\r1,{long}\r\n2,b\n\n".encode())
    assert [len(d.text) for d in read_corpus(str(tmp_path / "d.csv")).documents] == [500_000, 1]
    assert csv.field_size_limit() == limit


def test_a_field_inside_a_field(tmp_path: Path) -> None:
    nested = [{"doc": {"text": f"t{i}", "n": i}, "unit": f"u{i}"} for i in range(3)]
    (tmp_path / "d.jsonl").write_bytes(lines(nested))
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "d.parquet")
    stream(pa.Table.from_pylist(nested), str(tmp_path / "d.arrow"))
    for name in ("d.jsonl", "d.parquet", "d.arrow"):
        corpus = read_corpus(str(tmp_path / name), text_field="doc.text")
        assert [(d.text, d.unit) for d in corpus.documents] == [(f"t{i}", f"u{i}") for i in range(3)]
        with pytest.raises(
            DataError, match=r"lack the field 'text' .*which has doc\.text, doc\.n.*did you mean 'doc\.text'"
        ):
            read_corpus(str(tmp_path / name))


def test_a_name_with_a_dot_of_its_own_goes_first(tmp_path: Path) -> None:
    both = [{"doc.text": f"own {i}", "doc": {"text": f"inner {i}"}} for i in range(2)]
    (tmp_path / "d.jsonl").write_bytes(lines(both))
    pq.write_table(pa.Table.from_pylist(both), tmp_path / "d.parquet")
    for name in ("d.jsonl", "d.parquet"):
        assert [d.text for d in read_corpus(str(tmp_path / name), text_field="doc.text").documents] == [
            "own 0",
            "own 1",
        ]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    stream(table, str(tmp_path / "d.arrow"))
    pq.write_table(table, tmp_path / "d.parquet")
    for name in ("d.arrow", "d.parquet"):
        with pytest.raises(DataError, match=r"has two columns 'text'"):
            read_corpus(str(tmp_path / name))


def test_times_that_python_has_no_word_for(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "at": pa.array([1, 10**18 + 1], pa.timestamp("ns"))}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    assert read_corpus(str(tmp_path / "d.parquet")).documents[1].meta["at"].startswith("2001-09-09 01:46:40")


# ---- packed files that are too large, what was said --------------------------------------------------------------------------


@pytest.mark.parametrize("tail", sorted(PACK))
def test_a_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LEAST_BOUND_BYTES", 1 << 16)
    monkeypatch.setattr(packing, "_PIECE_BYTES", 1 << 12)
    path = tmp_path / f"d.txt{tail}"
    path.write_bytes(PACK[tail](b"a" * (1 << 24)))
    with pytest.raises(DataError, match=r"would become more than 100 times as many"):
        read_corpus(str(path), single_ok=True)
    path.write_bytes(PACK[tail](b"a" * (1 << 16)))
    assert len(read_corpus(str(path), single_ok=True).documents[0].text) == 1 << 16


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_table_that_repeats_one_value_is_a_bomb_too(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LEAST_BOUND_BYTES", 1 << 16)
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["a" * 5000]))
    path = tmp_path / f"d{suffix}"
    table = pa.table({"text": words})
    if suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
    else:
        stream(table, str(path))
    with pytest.raises(DataError, match=r"would become more than 100 times as many"):
        read_corpus(str(path), single_ok=True)


def test_the_format_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "d.log").write_bytes(gzip.compress(lines(ROWS)))
    assert len(read_corpus(str(tmp_path / "d.log"), format="jsonl").documents) == 6
    with pytest.raises(UsageError, match=r"--format must be one of text, jsonl.*not 'jsnl'; did you mean 'jsonl'"):
        read_corpus(str(tmp_path / "d.log"), format="jsnl")
    with pytest.raises(UsageError, match=r"--format jsonl is about one file or standard input.*is a folder"):
        read_corpus(str(tmp_path), format="jsonl")
    with pytest.raises(UsageError, match=r"--format jsonl has no place with builtin/python-docs"):
        read_corpus("builtin/python-docs", format="jsonl")
