"""Parts at a URL: a part is whole if and only if its checksums are there and both files fit them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from freerun.errors import DataError
from freerun.records.remote import RemoteParts
from freerun.records.store import RunFolder

DATA = {"tokens": b"some tokens", "sequences": b"some sequences"}
fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["memory", "file"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteParts:
    url = f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path / 'store'}"
    return RemoteParts(url, "abc")


def change(parts: RemoteParts, path: str, content: bytes | None) -> None:
    system, root = fsspec.core.url_to_fs(parts.url)
    where = f"{root}/abc/{path}"
    system.rm(where) if content is None else system.pipe_file(where, content)


def test_a_part_goes_there_and_comes_back_with_the_same_bytes(parts: RemoteParts, tmp_path: Path) -> None:
    assert parts.get("real-00000") is None
    parts.put("real-00000", DATA)
    assert parts.get("real-00000") == DATA
    folder = RunFolder(tmp_path / "run")
    assert parts.take("real-00000", folder)
    assert not parts.take("real-00001", folder)
    assert (folder.path / "tokens" / "real-00000.parquet").read_bytes() == DATA["tokens"]
    assert (folder.path / "sequences" / "real-00000.parquet").read_bytes() == DATA["sequences"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("tokens/p.parquet", b"some tok"),
        ("tokens/p.parquet", b"some tokenz"),
        ("tokens/p.parquet", None),
        ("sequences/p.parquet", b""),
        ("sequences/p.parquet", None),
        ("checksums/p.sha256", None),
        ("checksums/p.sha256", b"half a line"),
    ],
)
def test_whatever_was_cut_off_or_changed_is_not_whole(parts: RemoteParts, path: str, content: bytes | None) -> None:
    parts.put("p", DATA)
    change(parts, path, content)
    assert parts.get("p") is None
    parts.put("p", DATA)
    assert parts.get("p") == DATA


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_a_writer_that_dies_between_two_puts_leaves_no_part(
    parts: RemoteParts, puts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = puts
    put = RemoteParts._put

    def die(self: RemoteParts, path: str, content: bytes) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        put(self, path, content)

    monkeypatch.setattr(RemoteParts, "_put", die)
    with pytest.raises(KeyboardInterrupt):
        parts.put("p", DATA)
    assert parts.get("p") is None


def test_another_plan_has_parts_of_its_own(parts: RemoteParts) -> None:
    parts.put("p", DATA)
    assert RemoteParts(parts.url, "other").get("p") is None


def test_a_store_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write file://.*/file/abc/tokens/p.parquet"):
        RemoteParts(f"file://{tmp_path / 'file'}", "abc").put("p", DATA)
