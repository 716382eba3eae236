"""Parts of a run on the disk: damaged ones are never read as records, and a write that fails leaves nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import RunFolder
from tests.records.test_store import MANIFEST, files, tables, written

# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sequences", "tokens"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "other"])
def test_a_damaged_part_is_not_done(tmp_path: Path, kind: str, damage: str) -> None:
    folder = written(tmp_path / "run")
    path = folder.path / kind / "a.parquet"
    assert folder.done("a", "key a")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-7], "other": b"not parquet at all"}[damage])
    assert not folder.done("a", "key a")
    assert folder.done("b", "key b")
    if damage != "gone":
        with pytest.raises(DataError, match=r"a\.parquet is damaged .*; remove it and run the same audit again"):
            folder.read(kind)
    folder.write_part("a", *tables([5, 0], [4, 2]), unit_key="key a", plan_hash="abc")
    assert folder.done("a", "key a")


def test_a_part_of_another_unit_is_not_done(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    assert not folder.done("a", "key of another plan")
    assert not folder.done("c", "key c")


def test_tokens_without_their_sequences_do_not_count(tmp_path: Path) -> None:
    """Tokens are renamed into place first: a crash in between leaves them alone there."""
    folder = written(tmp_path / "run")
    (folder.path / "sequences" / "b.parquet").unlink()
    assert set(folder.read("tokens")["sequence"].to_pylist()) == {0, 5}


def test_an_empty_run_says_how_to_go_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(MANIFEST)
    with pytest.raises(DataError, match="holds no records yet; run the same audit again"):
        folder.read("tokens")


# ---- writing ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(content=st.one_of(st.binary(), st.text().filter(lambda t: "\r" not in t)), old=st.one_of(st.none(), st.binary()))
def test_a_file_is_what_was_written(
    content: str | bytes, old: bytes | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("x") / "new" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_bytes(old)
    write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(os, step, fail)
    wanted = DataError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(wanted) as raised:
        write_atomically(path, b"new")
    if isinstance(fault, OSError):
        assert "No space left on device; free some room" in str(raised.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_in_the_middle_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.fdopen

    def small_disk(handle: int, mode: str) -> Any:
        file = opened(handle, mode)

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: len(data) // 2])
                file.flush()
                raise OSError(28, "No space left on device")

        return Full()

    monkeypatch.setattr(os, "fdopen", small_disk)
    folder = RunFolder(tmp_path)
    with pytest.raises(DataError, match="No space left"):
        folder.write_part("a", *tables([1], [3]), unit_key="k", plan_hash="abc")
    assert files(tmp_path) == []


def test_sequences_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part in `sequences/` says that its tokens are there."""
    rename, renamed = os.replace, []

    def listen(source: str, target: Path) -> None:
        renamed.append(target.parent.name)
        rename(source, target)

    monkeypatch.setattr(os, "replace", listen)
    RunFolder(tmp_path).write_part("a", *tables([1], [3]), unit_key="k", plan_hash="abc")
    assert renamed == ["tokens", "checksums", "sequences"]


def test_a_fault_between_tokens_and_sequences_leaves_the_unit_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "run")
    rename = os.replace

    def only_tokens(source: str, target: Path) -> None:
        if target.parent.name == "sequences":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", only_tokens)
    with pytest.raises(DataError, match="Input/output error"):
        folder.write_part("c", *tables([8], [3]), unit_key="key c", plan_hash="abc")
    assert not folder.done("c", "key c")
    assert 8 not in folder.read("tokens")["sequence"].to_pylist()


def test_a_kill_while_the_manifest_is_written_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json-a1b2c3").write_text('{"half')
    folder = RunFolder(tmp_path)
    folder.open({"schema_version": SCHEMA_VERSION, "plan_hash": "x", "plan": {}})
    (tmp_path / ".report.html-a1b2c3").write_text("half")
    folder.open({"schema_version": SCHEMA_VERSION, "plan_hash": "x", "plan": {}})
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "manifest.json"]
    del folder
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_a_flipped_bit_is_never_read_as_another_number(tmp_path: Path) -> None:
    """Every byte of the data pages: reading gives the same table or a DataError."""
    folder = RunFolder(tmp_path)
    folder.open({"schema_version": SCHEMA_VERSION, "plan_hash": "x", "plan": {}})
    t = pa.table({"x": np.random.default_rng(0).random(200), "n": np.arange(200, dtype=np.int32)})
    folder.write_part("a", t, t, unit_key="k", plan_hash="x")
    path = tmp_path / "tokens" / "a.parquet"
    good, want = path.read_bytes(), folder.read("tokens")
    footer = int.from_bytes(good[-8:-4], "little") + 8
    bad = []
    for at in range(4, len(good) - footer, 7):
        b = bytearray(good)
        b[at] ^= 4
        path.write_bytes(bytes(b))
        try:
            if not folder.read("tokens").equals(want):
                bad.append(at)
        except DataError:
            pass
    assert bad == []
