"""What happens to a run's files: damaged bits, full disks, folders that cannot be written to, two processes at once."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.commands.main import main
from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.records import checksums, lock, store
from freerun.records.manifest import manifest_from
from freerun.records.schema import SCHEMA_VERSION
from freerun.records.store import RunFolder, load_records

AUDIT = ["audit", "world/markov", "world/markov", "--tokens", "16", "--batch", "8", "--documents", "16"]
FINISHED = (0, 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "run"
    assert main([*AUDIT, "-o", str(path)]) in FINISHED
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def hidden(path: Path) -> list[Path]:
    return [p for p in path.rglob(".*") if p.name != lock.NAME]


def same_records(one: Path, other: Path) -> bool:
    return all(RunFolder(one).read(k).equals(RunFolder(other).read(k)) for k in ("sequences", "tokens"))


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))


# ---- damaged bits ----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    file=st.sampled_from(["tokens/a.parquet", "sequences/a.parquet", "checksums/a.sha256"]),
    at=st.integers(0, 10**6),
    bit=st.integers(0, 7),
    cut=st.booleans(),
)
def test_any_flipped_bit_and_any_cut_is_found_and_named(
    tmp_path_factory: pytest.TempPathFactory, file: str, at: int, bit: int, cut: bool
) -> None:
    """Everywhere in the file: data pages, page headers, footer, length, magic."""
    path = tmp_path_factory.mktemp("bits")
    folder = RunFolder(path)
    table = pa.table({"x": np.random.default_rng(0).random(50), "n": np.arange(50, dtype=np.int32)})
    folder.write_part("a", table, table, unit_key="k", plan_hash="p")
    assert folder.done("a", "k")
    if cut:
        data = (path / file).read_bytes()
        (path / file).write_bytes(data[: at % len(data)])
    else:
        flip(path / file, at, bit)
    again = RunFolder(path)
    assert not again.done("a", "k")
    said = again.damage("a", "k")
    assert said is not None
    assert said.startswith(("tokens/a.parquet: ", "sequences/a.parquet: "))
    kinds = ("tokens", "sequences") if file.startswith("checksums") else (file.split("/")[0],)
    refusals = [said for kind in kinds if (said := refusal(again, kind))]
    assert refusals
    assert all(" is damaged" in said and f"{path}/" in said for said in refusals)
    again.write_part("a", table, table, unit_key="k", plan_hash="p")
    assert again.done("a", "k")


def refusal(folder: RunFolder, kind: str) -> str:
    try:
        folder.read(kind)
    except DataError as error:
        return str(error)
    return ""


def test_a_part_whose_checksum_is_gone_is_damaged_and_one_of_an_older_version_is_not(run: Path) -> None:
    checksums.path_of(run, "real-00000").unlink()
    said = RunFolder(run).damage("real-00000", key_of(run, "real-00000"))
    assert said == "sequences/real-00000.parquet: its checksum checksums/real-00000.sha256 is gone"
    shutil.rmtree(run / checksums.FOLDER)
    for path in run.glob("*/*.parquet"):
        table = pq.read_table(path)
        meta = {k: v for k, v in (table.schema.metadata or {}).items() if k.decode() not in checksums.MARK}
        pq.write_table(table.replace_schema_metadata(meta), path)
    assert RunFolder(run).done("real-00000", key_of(run, "real-00000"))
    assert load_records(RunFolder(run)).n_sequences > 0


def key_of(run: Path, name: str) -> str:
    held = pq.read_schema(run / "sequences" / f"{name}.parquet").metadata
    return bytes(held[b"unit_key"]).decode()


def test_the_checksums_are_those_of_sha256sum(run: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    files = sorted(str(p.relative_to(run)) for p in run.glob("checksums/*.sha256"))
    done = subprocess.run(["sha256sum", "-c", *files], cwd=run, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == 2 * len(files)


@pytest.mark.parametrize("file", ["tokens/free-00000.parquet", "sequences/real-00000.parquet"])
def test_the_same_audit_makes_a_damaged_part_again_and_says_so(
    run: Path, finished: Path, capfd: pytest.CaptureFixture[str], file: str
) -> None:
    flip(run / file, -5, 3)
    assert main(["report", str(run)]) == 4
    said = capfd.readouterr().err
    assert Path(file).stem in said
    assert "freerun audit" in said
    assert main([*AUDIT, "-o", str(run)]) in FINISHED
    said = capfd.readouterr().err
    assert f"{file}: it does not fit its checksum; part {Path(file).stem} is made again" in said
    assert said.count("is made again") == 1
    assert same_records(run, finished)
    assert main(["report", str(run)]) in FINISHED


def test_each_file_is_hashed_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    of_file = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: hashed.append(path) or of_file(path))
    folder = RunFolder(run)
    names = [p.stem for p in run.glob("sequences/*.parquet")]
    assert all(folder.done(n, key_of(run, n)) for n in names)
    records = load_records(folder)
    assert len(records.tokens["uniform"])
    assert len(hashed) == len(set(hashed)) == 2 * len(names)


def test_tokens_of_another_part_are_refused(run: Path) -> None:
    """Whole files by their checksums, and still not the tokens of these sequences."""
    a, b = (run / "tokens" / f"{n}.parquet" for n in ("real-00000", "real-00001"))
    parts = [p.read_bytes() for p in (a, b)]
    a.write_bytes(parts[1])
    b.write_bytes(parts[1])
    for name in ("real-00000", "real-00001"):
        data = (run / "sequences" / f"{name}.parquet").read_bytes()
        sums = {"tokens": checksums.of_bytes(parts[1]), "sequences": checksums.of_bytes(data)}
        checksums.path_of(run, name).write_text(checksums.written(name, sums))
    with pytest.raises(DataError, match="tokens recorded are not those"):
        load_records(RunFolder(run))


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "", ".", "..", "a\0b", "x" * 300, "-x", "a.b"])
def test_a_part_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    table = pa.table({"x": [1]})
    folder = RunFolder(tmp_path / "run")
    for act in (
        lambda: folder.write_part(name, table, table, unit_key="k", plan_hash="p"),
        lambda: folder.done(name, "k"),
    ):
        with pytest.raises(DataError, match="a part cannot be called"):
            act()
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "\ud800", "file/below"])
def test_a_folder_that_cannot_be_is_said(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    folder = RunFolder(tmp_path / path)
    with pytest.raises(DataError):
        folder.open({"schema_version": SCHEMA_VERSION, "plan": {}, "plan_hash": "p"})
    with pytest.raises(DataError):
        folder.manifest()
    with pytest.raises(DataError):
        write_atomically(tmp_path / path / "x", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# ---- the manifest ----------------------------------------------------------------------------------------------------


def test_a_manifest_says_what_it_lacks(tmp_path: Path) -> None:
    held = manifest_from(b'{"plan": {"tokens": 3}}', tmp_path / "manifest.json")
    assert held["plan"]["tokens"] == 3
    assert held == {"plan": {"tokens": 3}}
    for look in (lambda: held["counts"], lambda: held["plan"]["seed"]):
        with pytest.raises(DataError, match=r"manifest\.json cannot be read \(it lacks '(counts|seed)'\)"):
            look()
    for bad in (b'{"plan": []}', b'{"plan": {"batch": 0}}', b'{"counts": {"pairs": 1e9}}', b"[" * 10**5, b"3", b"\xff"):
        with pytest.raises(DataError, match="cannot be read"):
            manifest_from(bad, tmp_path)


# ---- no room, no right -----------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, step: str, number: int, at: int) -> list[int]:
    """Make call number `at` of a step of writing fail with an error number; the returned list counts the calls."""
    module: Any = tempfile if step == "mkstemp" else os
    real, calls = getattr(module, step), [0]

    def act(*some: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise OSError(number, os.strerror(number), "somewhere")
        return real(*some, **named)

    monkeypatch.setattr(module, step, act)
    return calls


@pytest.mark.parametrize(
    ("step", "number", "way"),
    [
        ("fsync", errno.ENOSPC, "free some room and run the same command again"),
        ("replace", errno.EDQUOT, "free some room"),
        ("mkstemp", errno.EROFS, "make it writable, or choose another place"),
        ("mkstemp", errno.EMFILE, "ulimit -n"),
    ],
)
def test_every_point_of_writing_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, way: str
) -> None:
    """Each of the ten writes of a run of three parts fails in its turn; the next attempt goes on from what is whole."""
    table = pa.table({"x": np.arange(50)})

    def attempt(path: Path) -> str:
        folder = RunFolder(path)
        try:
            folder.open(PLAN)
            for name in "abc":
                if not folder.done(name, name):
                    folder.write_part(name, table, table, unit_key=name, plan_hash="p")
        except DataError as error:
            return str(error)
        return ""

    for at in range(1, 11):
        path = tmp_path / f"run{at}"
        with monkeypatch.context() as patched:
            failing(patched, step, number, at)
            said = attempt(path)
        assert said.startswith(f"cannot write {path}/")
        assert os.strerror(number) in said
        assert way in said
        assert "\n" not in said
        assert not hidden(path)
        assert len(list(path.glob("sequences/*"))) == max(0, at - 2) // 3
        assert attempt(path) == ""
        assert RunFolder(path).read("tokens").num_rows == 150
        assert not hidden(path)


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path, finished: Path) -> None:
    """A real limit of the operating system, in a process of its own; without it the same command ends the run."""
    path = tmp_path / "run"
    words = [sys.executable, "-m", "freerun", *AUDIT, "-o", str(path)]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    done = subprocess.run(words, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(f"freerun: cannot write {path}")
    assert "File too large; free some room" in line
    assert not hidden(path)
    assert main(words[3:]) in FINISHED
    assert same_records(path, finished)


@pytest.mark.parametrize("kind", ["tokens", "sequences", "checksums"])
def test_a_file_where_a_folder_should_be(
    finished: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished / "manifest.json", run)
    (run / kind).write_text("in the way")
    assert main([*AUDIT, "-o", str(run)]) == 4
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"freerun: cannot write {run / kind}/")
    assert not hidden(run)
    (run / kind).unlink()
    assert main([*AUDIT, "-o", str(run)]) in FINISHED
    assert same_records(run, finished)


def test_a_folder_without_the_right_to_write(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`chmod` does not stop root, so that the lock is refused as a read-only file system would refuse it."""
    (run / "sequences" / "real-00000.parquet").unlink()
    opened = os.open

    def refuse(path: Any, *some: Any, **named: Any) -> int:
        if str(path).endswith(lock.NAME):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, *some, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert main([*AUDIT, "-o", str(run)]) == 4
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said == f"freerun: cannot write {run}: Read-only file system; make it writable, or choose another place"
    if os.geteuid() != 0:
        run.chmod(0o555)
        assert main([*AUDIT, "-o", str(run)]) == 4
        run.chmod(0o755)
    assert main([*AUDIT, "-o", str(run)]) in FINISHED


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_a_part_that_cannot_be_opened_now_is_not_taken_for_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path) -> str:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(store, "sha256_of", refuse)
    with pytest.raises(DataError, match=f"cannot read .*real-00000.parquet: {os.strerror(number)}"):
        RunFolder(run).done("real-00000", key_of(run, "real-00000"))


# ---- two processes ---------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from freerun.records.store import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.open({"schema_version": 2, "plan": {}, "plan_hash": "p"})
print("held", flush=True)
sys.stdin.readline()
"""
PLAN = {"schema_version": SCHEMA_VERSION, "plan": {}, "plan_hash": "p"}


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_until_the_first_is_gone(
    tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "run"
    first = holder()
    (path / ".result.json-x").write_text("half of what it writes")
    with pytest.raises(DataError, match=rf"another freerun is writing to .*run \(pid {first.pid} on .*-o"):
        RunFolder(path).open(PLAN)
    assert (path / ".result.json-x").exists()  # what the other one writes is left alone
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (path / lock.NAME).exists()  # a lock that nobody holds
    mine = RunFolder(path)
    mine.open(PLAN)
    assert not (path / ".result.json-x").exists()
    other = RunFolder(path)  # the same process may
    other.open(PLAN)
    del mine
    assert (path / lock.NAME).exists()
    del other
    assert [p.name for p in path.iterdir()] == ["manifest.json"]
    assert holder().poll() is None


def test_a_lock_that_points_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run" / lock.NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(DataError, match="cannot write"):
        RunFolder(tmp_path / "run").open(PLAN)
    assert (tmp_path / "precious").read_text() == "mine"


def test_without_fcntl_an_open_file_is_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    folder = RunFolder(tmp_path / "run")
    folder.open(PLAN)
    assert (tmp_path / "run" / lock.NAME).exists()
    del folder
    assert not (tmp_path / "run" / lock.NAME).exists()
    (tmp_path / "run" / lock.NAME).write_text("")

    def in_use(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "in use by another process", str(path))

    monkeypatch.setattr(Path, "unlink", in_use)
    with pytest.raises(DataError, match="another freerun is writing"):
        RunFolder(tmp_path / "run").open(PLAN)
