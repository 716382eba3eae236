"""Corpora in every format, cut off and changed."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from freerun.text.corpora import read_corpus
from freerun.text.formats import FORMATS
from tests.fuzz.anything import ANYTHING, JSON, harmless, nothing_else_changes, quick

ROWS = st.lists(
    st.dictionaries(st.sampled_from(["text", "id", "unit"]) | ANYTHING, JSON, max_size=4) | JSON, max_size=4
)
LINES = ROWS.map(lambda rows: "\n".join(json.dumps(r) for r in rows).encode()) | st.binary(max_size=80)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.Table.from_pylist(rows), sink)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError):
        return b"PAR1 no table PAR1"
    return bytes(sink.getvalue().to_pybytes())


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    cell = draw(
        st.sampled_from(
            [st.text(max_size=9), st.integers(-9, 9), st.binary(max_size=9), st.none(), st.lists(st.text(), max_size=2)]
        )
    )
    rows = draw(st.lists(st.fixed_dictionaries({draw(st.sampled_from(["text", "id", "x"])): cell}), max_size=4))
    data = bytearray(parquet(rows))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3)):
        data[at % len(data)] = value
    return bytes(data[: draw(st.integers(len(data) // 2, len(data)))]) if draw(st.booleans()) else bytes(data)


def read(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with nothing_else_changes(path.parent):
        harmless(lambda: read_corpus(str(path), single_ok=True))
        harmless(lambda: read_corpus(str(path.parent), text_field="id", chunk_chars=3))
        harmless(lambda: read_corpus(str(path), text_field="x.text", single_ok=True, skip_bad_rows=True))
        harmless(lambda: read_corpus("-", stdin=io.TextIOWrapper(io.BytesIO(data)), single_ok=True, skip_bad_rows=True))
    path.unlink()


@given(data=LINES)
@quick
def test_jsonl(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "x.jsonl", data)


@given(data=LINES, cut=st.integers(0, 200), flip=st.integers(0, 200))
@quick
def test_jsonl_gz(tmp_path: Path, data: bytes, cut: int, flip: int) -> None:
    packed = bytearray(gzip.compress(data))
    packed[flip % len(packed)] ^= flip % 256
    read(tmp_path / "x.jsonl.gz", bytes(packed[: max(1, len(packed) - cut)] if cut < 40 else packed))


@given(
    data=ROWS.map(lambda rows: json.dumps(rows).encode())
    | st.dictionaries(st.sampled_from(["text", "data", "rows"]) | ANYTHING, ROWS | JSON, max_size=3).map(
        lambda value: json.dumps(value, indent=1).encode()
    )
    | LINES
)
@quick
def test_json(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "x.json", data)


@given(
    cells=st.lists(st.lists(ANYTHING | st.sampled_from(["text", "id", "unit", '"', "a\nb"]), max_size=4), max_size=4),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
@quick
def test_tables_of_text(tmp_path: Path, cells: list[list[str]], separator: str, end: str, suffix: str) -> None:
    table = end.join(separator.join(row) for row in [["id", "text"], *cells])
    read(tmp_path / f"x{suffix}", table.encode("utf-8", "surrogatepass"))


@given(data=LINES, cut=st.integers(0, 60), flip=st.integers(0, 200), change=st.integers(0, 255))
@quick
def test_jsonl_zst(tmp_path: Path, data: bytes, cut: int, flip: int, change: int) -> None:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed = bytearray(sink.getvalue().to_pybytes())
    packed[flip % len(packed)] ^= change
    read(tmp_path / "x.jsonl.zst", bytes(packed[: max(1, len(packed) - cut)] if cut < 40 else packed))


@given(
    rows=st.lists(
        st.fixed_dictionaries({"text": st.text(max_size=9), "x": st.fixed_dictionaries({"text": st.text(max_size=5)})}),
        min_size=1,
        max_size=4,
    ),
    stream=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    kept=st.floats(0, 1),
)
@quick
def test_arrow(
    tmp_path: Path, rows: list[dict[str, Any]], stream: bool, changes: list[tuple[int, int]], kept: float
) -> None:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    data = bytearray(sink.getvalue().to_pybytes())
    for at, value in changes:
        data[at % len(data)] = value
    read(tmp_path / "x.arrow", bytes(data if kept > 0.5 else data[: int(2 * kept * len(data))]))


@given(
    state=JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(
        st.fixed_dictionaries({"filename": ANYTHING | st.sampled_from(["../x", "x.arrow", "/etc/passwd", ".."])})
    ).map(lambda files: json.dumps({"_data_files": files}).encode())
    | st.binary(max_size=30),
    splits=JSON | st.lists(ANYTHING | st.sampled_from(["..", "train"])),
)
@quick
def test_saved_data_sets(tmp_path: Path, state: bytes, splits: Any) -> None:
    folder = tmp_path / "saved"
    folder.mkdir(exist_ok=True)
    (tmp_path / "x").write_text("no corpus")
    (folder / "state.json").write_bytes(state)
    (folder / "dataset_info.json").write_text("{}")
    for name in (folder, f"{folder}[train]", tmp_path):
        assert not harmless(lambda name=name: read_corpus(str(name), single_ok=True))  # type: ignore[misc]
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    for name in (folder, f"{folder}[train]", f"hf/{folder}[..]", tmp_path):
        assert not harmless(lambda name=name: read_corpus(str(name), single_ok=True))  # type: ignore[misc]
    shutil.rmtree(folder)


@given(data=LINES | st.binary(max_size=60), format=st.sampled_from(sorted(FORMATS)))
@quick
def test_formats_that_were_said(data: bytes, format: str) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data))
    harmless(lambda: read_corpus("-", stdin=stdin, format=format, single_ok=True))


@given(data=st.binary(max_size=80) | ANYTHING.map(lambda t: t.encode("utf-16", "surrogatepass")))
@quick
def test_txt(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "x.txt", data)


@given(data=tables() | st.binary(max_size=60).map(lambda b: b"PAR1" + b + b"PAR1"))
@quick
def test_parquet(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "x.parquet", data)


@given(
    spec=ANYTHING | st.sampled_from(["", ".", "..", "/", "~nobody", "hf/x", "world/x", "builtin/x", "\0", "x" * 5000])
)
@quick
def test_names_of_corpora(tmp_path: Path, spec: str) -> None:
    if spec in ("-", "/", ".."):
        return
    with contextlib.chdir(tmp_path):
        harmless(lambda: read_corpus(spec))
