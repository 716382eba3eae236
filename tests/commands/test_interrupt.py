"""Ctrl-C and SIGTERM, as a person and as a scheduler send them: real processes, real signals."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from freerun.commands.interrupt import told_once, what_is_kept
from freerun.commands.main import main
from freerun.records.beginning import claim_new
from freerun.records.store import RunFolder

AUDIT = ["audit", "world/markov", "world/markov", "--tokens", "24", "--batch", "2", "--documents", "20"]
FINISHED = (0, 3)

STUBBORN = """
import sys, time
import freerun.jobs.audit.audit as audit
def stubborn(*_, **__):
    said = "ready"
    while True:
        try:
            print(end=said and said + "\\n", flush=True)
            said = ""
            time.sleep(60)
        except KeyboardInterrupt:
            print("not now", flush=True)
audit.audit = stubborn
from freerun.commands.main import main
sys.exit(main(["audit"]))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def not_ignored() -> None:
    """A job in the background is born deaf to Ctrl-C; a person's is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(words: list[str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
        preexec_fn=not_ignored,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interrupt") / "run"
    assert main([*AUDIT, "-o", str(path)]) in FINISHED
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_keeps_what_is_finished_and_says_how_to_go_on(
    tmp_path: Path, undisturbed: Path, number: signal.Signals
) -> None:
    """The folder is the default one, so that the words that were typed are all that it takes to go on."""
    process = start(["-m", "freerun", *AUDIT], tmp_path)
    while process.poll() is None and not list(tmp_path.glob("runs/*/sequences/*.parquet")):
        time.sleep(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    (run,) = tmp_path.glob("runs/*")
    n = len(list(run.glob("sequences/*.parquet")))
    last = err.strip().splitlines()[-1]
    parts = f"{n} finished {'part is' if n == 1 else 'parts are'} kept in {run.relative_to(tmp_path)}"
    command = shlex.join(["freerun", *AUDIT])
    assert last == f"freerun: interrupted; {parts}; the same command goes on from there: {command}"
    assert not list(run.rglob(".*"))
    assert not (run / "report.html").exists()
    assert n < len(list(undisturbed.glob("sequences/*.parquet")))
    words = shlex.split(last.rsplit(": ", 1)[1])[1:]
    assert main([*words, "-o", str(run)]) in FINISHED
    for kind in ("sequences", "tokens"):
        assert RunFolder(run).read(kind).equals(RunFolder(undisturbed).read(kind))


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_twice_ends_at_once_what_did_not_listen(tmp_path: Path, second: signal.Signals) -> None:
    process = start(["-c", STUBBORN], tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "not now\n"
    began = time.monotonic()
    process.send_signal(second)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert "aborted" in err
    assert "the same command goes on" in err


def test_an_interrupt_that_compiled_code_drops_is_raised_again() -> None:
    """NumPy calls Python to look at a dtype and clears what is raised there."""
    dropped, cleaned = [], []

    def work() -> None:
        with told_once():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                dropped.append(True)
            try:
                _busy(seconds=20)
            finally:
                _busy(seconds=1)  # what cleans up is not disturbed
                cleaned.append(True)

    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, found)
    assert (dropped, cleaned) == ([True], [True])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def _busy(*, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_handlers_are_put_back_and_other_threads_and_ignored_signals_left_alone() -> None:
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    try:
        check_handlers()
    finally:
        signal.signal(signal.SIGINT, found)


def check_handlers() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    kept = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with told_once():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) is not before[0]
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    seen: list[bool] = []

    def elsewhere() -> None:
        with told_once():
            seen.append(signal.getsignal(signal.SIGINT) is before[0])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "a b"], "before it went to work; the same command goes on from what is there: freerun audit 'a b'"),
        (["report", "x"], "interrupted; nothing half-written is left; again: freerun report x"),
    ],
)
def test_what_is_said_where_nothing_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("freerun.jobs.audit.audit.audit", interrupt)
    monkeypatch.setattr("freerun.jobs.audit.audit.report", interrupt)
    monkeypatch.setattr("freerun.records.lock.held_folders", list)  # whatever other tests have open
    assert main(words) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(
    ("words", "kept", "said"),
    [
        (
            ["verify", "corpus", "--from", "vllm/m@http://127.0.0.1:8000"],
            ["a/part-00000.jsonl", "samples/part-00000.jsonl", "scores/unit-000000.parquet"],
            "3 finished parts are kept in run",
        ),
        (["grid", "plan.toml"], ["summaries/cell.json"], "1 finished part is kept in run; the same command goes on"),
    ],
)
def test_finished_parts_and_cells_are_counted(
    words: list[str], kept: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Owner:
        pass

    owner = Owner()
    monkeypatch.chdir(tmp_path)
    claim_new(tmp_path / "run", owner)
    assert "before the first part was finished" in what_is_kept(words)
    for name in kept:
        (tmp_path / "run" / name).parent.mkdir()
        (tmp_path / "run" / name).touch()
    assert said in what_is_kept(words)
