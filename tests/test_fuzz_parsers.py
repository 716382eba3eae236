"""Every parser on what nobody meant to type or write: it works, or it says so in one line, and writes nowhere else.

Deterministic (`derandomize`), a few seconds in all.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freerun.commands.main import main
from freerun.commands.predict import read_text
from freerun.errors import FreerunError
from freerun.organisms.catalogue import ORGANISMS
from freerun.predictors.rules import SamplingRule
from freerun.predictors.weights.catalogue import CATALOGUE, converted
from freerun.records.schema import sequences_schema, tokens_schema
from freerun.records.store import RunFolder, load_records
from freerun.runs.run import finished, open_run
from freerun.specs.spec import loader_of
from freerun.text.corpora import read_corpus
from freerun.text.formats import FORMATS, SUPPORTED

quick = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
few = settings(quick, max_examples=25)

ANYTHING = st.text(st.characters(codec=None), max_size=40)
NUMBERS = st.sampled_from(
    ["0", "-1", "1", "0.5", "1e400", "nan", "inf", "-inf", "1e-400", "٣", "1_0", " 1", "9" * 5000, ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=6,
)


def harmless(act: Callable[[], object]) -> bool:
    """Whether it worked; anything but one line of a FreerunError fails the test."""
    try:
        act()
    except FreerunError as error:
        said = str(error)
        assert said.strip()
        return False
    return True


@contextlib.contextmanager
def nothing_else_changes(folder: Path) -> Iterator[None]:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    yield
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


# ---- what is typed ---------------------------------------------------------------------------------------------------

PARTS = [
    *CATALOGUE,
    *ORGANISMS,
    *(p.name for organism in ORGANISMS.values() for p in organism.parameters),
    *(
        "world/markov",
        "world/",
        "ngram/3@x",
        "ngram/٣@x",
        "hf/x",
        "hf/../..",
        "gguf/x",
        "vllm/",
        "round",
        "int8",
        "model",
    ),
    *("+", ",", "=", "(", ")", "/", "@", "..", "\0", "\n", "symbols", "seed"),
]
SPECS = st.lists(st.sampled_from(PARTS) | NUMBERS | ANYTHING, max_size=9).map("".join) | ANYTHING


@given(spec=SPECS)
@settings(quick, max_examples=250)
def test_specs_of_models(spec: str) -> None:
    harmless(lambda: loader_of(spec))


@given(data=st.data())
@settings(quick, max_examples=150)
def test_parameters_of_organisms(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(ORGANISMS)))
    parameters = [p.name for p in ORGANISMS[name].parameters] or ["none"]
    settings_ = data.draw(st.lists(st.tuples(st.sampled_from(parameters) | ANYTHING, NUMBERS | ANYTHING), max_size=4))
    typed = "".join(f",{key}={value}" for key, value in settings_)
    harmless(lambda: loader_of(f"world/markov+{name}{typed}"))


@given(name=st.sampled_from(["symbols", "seed", "order", "p", "x"]), value=NUMBERS | ANYTHING)
@few
def test_parameters_of_worlds(name: str, value: str) -> None:
    if len(value) < 4 or not value.isdigit():  # a large world is large, not wrong
        harmless(lambda: loader_of(f"world/markov,{name}={value}"))


@given(
    rule=ANYTHING
    | st.lists(st.tuples(st.sampled_from(["t", "top_k", "top_p", "temperature", " t", ""]), NUMBERS | ANYTHING)).map(
        lambda some: ",".join(f"{k}={v}" for k, v in some)
    )
)
@settings(quick, max_examples=250)
def test_sampling_rules(rule: str) -> None:
    harmless(lambda: SamplingRule.parse(rule))


@given(name=ANYTHING | st.sampled_from(["@", "@~", "@~nobody", "@.", "@/dev/null", "@\0", "@" + "x" * 5000, "@\ud800"]))
@quick
def test_texts_to_predict(name: str) -> None:
    if name != "-":
        harmless(lambda: read_text(f"@{name}" if not name.startswith("@") else name))


@given(data=st.binary(max_size=60))
@quick
def test_text_files_and_stdin(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(data)
    from_file = harmless(lambda: read_text(f"@{tmp_path / 'x'}"))
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert harmless(lambda: read_text("-")) == from_file


@given(
    words=st.lists(
        ANYTHING | NUMBERS | st.sampled_from(["--tokens", "--out", "-o", "--documents", "--batch"]), max_size=4
    )
)
@few
def test_whole_command_lines(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [w for w in words if w not in ("-h", "--help", "--debug")]
    with contextlib.chdir(tmp_path), nothing_else_changes(tmp_path):
        assert main(["report", *words]) in (2, 4)
        assert main(["audit", "world/nowhere", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert "internal error" not in err


# ---- corpora ---------------------------------------------------------------------------------------------------------

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


NAMES = ("../out", "/tmp/out", "a/../../b", "nul\0", "x" * 5000, "\ud800", "\u202e", "-o", ".", "", "C:\\x", "~/x")


def test_names_in_a_corpus_never_leave_the_run(tmp_path: Path) -> None:
    """Ids, units and the corpus itself have names that would be paths elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    corpus = home / "..%2f..%2fevil corpus.jsonl"
    rng = np.random.default_rng(0)
    rows = [
        {
            "text": " ".join(map(str, rng.integers(0, 99, 90))),
            "id": f"{NAMES[i % len(NAMES)]}{i}",
            "unit": f"{NAMES[-1 - i % 12]}{i}",
        }
        for i in range(24)
    ]
    corpus.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with contextlib.chdir(home):
        assert main(["audit", f"ngram/2@{corpus.name}", corpus.name, "--tokens", "16", "--prefix", "8"]) in (0, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]
    assert sorted(p.name for p in home.iterdir()) == sorted([corpus.name, "runs"])
    (run,) = (home / "runs").iterdir()
    made = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"manifest.json", "report.html", "result.json"} <= made
    assert {p.split("/")[0] for p in made} == {
        "manifest.json",
        "report.html",
        "result.json",
        "checksums",
        "sequences",
        "tokens",
    }
    assert main(["report", str(run)]) in (0, 3)


@given(suffix=st.sampled_from([*SUPPORTED, ".bin", ""]), name=ANYTHING.filter(lambda t: "/" not in t and "\0" not in t))
@few
def test_names_of_files_in_a_folder(tmp_path: Path, suffix: str, name: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    try:
        (folder / f"{name}{suffix}").write_text('{"text": "one"}\n')
    except (OSError, ValueError):
        shutil.rmtree(folder)
        return
    harmless(lambda: read_corpus(str(folder), single_ok=True))
    shutil.rmtree(folder)


# ---- models on disk --------------------------------------------------------------------------------------------------


@given(data=st.binary(max_size=200), magic=st.booleans())
@settings(quick, max_examples=12)
def test_gguf(tmp_path: Path, data: bytes, magic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.gguf").write_bytes((b"GGUF" if magic else b"") + data)
    assert not harmless(lambda: converted(tmp_path / "x.gguf"))
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


@given(
    file=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]),
    content=JSON.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=60),
)
@settings(quick, max_examples=12)
def test_folders_of_models(tmp_path: Path, file: str, content: bytes) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    whole = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"", "tokenizer.json": b"{}"}
    for name, data in {**whole, file: content}.items():
        (folder / name).write_bytes(data)
    from freerun.specs.spec import load_predictor

    harmless(lambda: load_predictor(f"hf/{folder}"))
    shutil.rmtree(folder)


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "run"
    words = ["audit", "world/markov", "world/markov", "--tokens", "16", "--batch", "16", "--documents", "16"]
    assert main([*words, "-o", str(path)]) in (0, 3)
    return path


def on_a_copy(run: Path, place: Path, change: Callable[[Path], None], *acts: Callable[[Path], object]) -> list[bool]:
    """Whether each act worked on a changed copy; nothing but the copy is written to."""
    copy = place / "run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    change(copy)
    before = sorted(p.name for p in place.iterdir())
    worked = [harmless(lambda act=act: act(copy)) for act in acts]  # type: ignore[misc]
    assert sorted(p.name for p in place.iterdir()) == before
    return worked


def load(run: Path) -> None:
    load_records(RunFolder(run))


@given(
    content=st.binary(max_size=40)
    | JSON.map(lambda v: json.dumps(v).encode())
    | st.dictionaries(
        st.sampled_from(["schema_version", "plan", "plan_hash", "counts", "command", "kind"]),
        JSON | st.just(2),
        max_size=6,
    ).map(lambda v: json.dumps(v).encode())
)
@settings(quick, max_examples=40)
def test_manifests(tmp_path: Path, finished_run: Path, content: bytes) -> None:
    def change(run: Path) -> None:
        (run / "manifest.json").write_bytes(content)

    on_a_copy(finished_run, tmp_path, change, lambda run: RunFolder(run).manifest(), finished, load)


@given(data=st.data())
@few
def test_a_manifest_with_one_thing_changed(tmp_path: Path, finished_run: Path, data: st.DataObject) -> None:
    held = json.loads((finished_run / "manifest.json").read_text())
    del held["sha256"]  # or every change is damage
    key = data.draw(st.sampled_from(sorted(held)))
    if isinstance(held[key], dict) and data.draw(st.booleans()):
        inner = data.draw(st.sampled_from(sorted(held[key]) or [""]))
        held[key][inner] = data.draw(JSON)
    elif data.draw(st.booleans()):
        del held[key]
    else:
        held[key] = data.draw(JSON)

    def change(run: Path) -> None:
        (run / "manifest.json").write_text(json.dumps(held))

    on_a_copy(finished_run, tmp_path, change, finished, load)


@given(
    file=st.sampled_from(["sequences", "tokens", "checksums"]),
    at=st.integers(0, 10**7),
    value=st.binary(min_size=1, max_size=9),
    cut=st.booleans(),
)
@few
def test_parts_with_other_bytes(
    tmp_path: Path, finished_run: Path, file: str, at: int, value: bytes, cut: bool
) -> None:
    def change(run: Path) -> None:
        path = sorted((run / file).iterdir())[at % len(list((run / file).iterdir()))]
        data = bytearray(path.read_bytes())
        where = at % len(data)
        data[where : len(data) if cut else where + len(value)] = value
        changed.append(bytes(data) != path.read_bytes())
        path.write_bytes(bytes(data))

    changed: list[bool] = []
    worked = on_a_copy(finished_run, tmp_path, change, finished, load)
    assert worked == [not changed[0]] * 2


@given(data=st.data())
@few
def test_parts_without_checksums_that_are_no_records(tmp_path: Path, finished_run: Path, data: st.DataObject) -> None:
    """As of an older version, or by another hand: other columns, other types, nulls, damaged bytes."""
    kind = data.draw(st.sampled_from(["sequences", "tokens"]))
    schema = sequences_schema(n_bins=3) if kind == "sequences" else tokens_schema(n_powers=5, n_references=2)
    what = data.draw(st.sampled_from(["drop", "retype", "null", "empty", "bytes", "other"]))
    column = data.draw(st.sampled_from(schema.names))
    noise = data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))

    def change(run: Path) -> None:
        shutil.rmtree(run / "checksums")
        for path in sorted(run.glob("*/*.parquet")):
            table = pq.read_table(path).replace_schema_metadata(None)
            if path.parent.name == kind:
                at = table.schema.get_field_index(column)
                if what == "drop":
                    table = table.drop_columns([column])
                elif what == "retype":
                    table = table.set_column(at, column, pa.array(["x"] * len(table)))
                elif what == "null":
                    table = table.set_column(at, column, pa.nulls(len(table), table.schema.field(at).type))
                elif what == "empty":
                    table = table.slice(0, 0)
                elif what == "other":
                    table = pa.table({"something": [1, 2]})
            pq.write_table(table, path)
            if path.parent.name == kind and what == "bytes":
                raw = bytearray(path.read_bytes())
                for where, value in noise:
                    raw[where % len(raw)] = value
                path.write_bytes(bytes(raw))

    on_a_copy(finished_run, tmp_path, change, load)


@given(
    content=st.dictionaries(ANYTHING, JSON, max_size=3).map(lambda v: json.dumps(v).encode())
    | st.sampled_from([b"", b"{", b"nul"])
)
@few
def test_results(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    harmless(lambda: open_run(tmp_path))


def test_a_run_folder_has_no_way_out(tmp_path: Path, finished_run: Path) -> None:
    """Whatever the manifest says, a report writes into the folder that was named."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    held = json.loads((run / "manifest.json").read_text())
    del held["sha256"]
    for name in ("../out", f"/tmp/out nul\0 {NAMES[6]}"):
        held["plan"]["model"] = held["plan"]["corpus"] = held["corpus"]["name"] = held["command"] = name
        (run / "manifest.json").write_text(json.dumps(held))
        assert main(["report", os.fspath(run)]) in (0, 3, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert {p.name for p in run.iterdir()} == {p.name for p in finished_run.iterdir()}
