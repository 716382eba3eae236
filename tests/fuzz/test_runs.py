"""Folders of runs: manifests, parts and results."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.commands.main import main
from freerun.records.schema import sequences_schema, tokens_schema
from freerun.records.store import RunFolder, load_records
from freerun.runs.run import finished, open_run
from tests.fuzz.anything import ANYTHING, JSON, NAMES, few, harmless, quick


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
