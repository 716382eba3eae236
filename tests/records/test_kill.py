"""SIGKILL: the same command again ends with the records of a run that nobody disturbed. At any moment: `studies/test_faults.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.records.store import RunFolder

NURSE = """
import json, os, signal, sys, time
import freerun.commands.audit, freerun.jobs.audit.audit, freerun.findings.summary, freerun.report.pages.audit
import freerun.worlds.catalogue
from freerun.commands.main import main
if sys.argv[1:]:
    from freerun.jobs.audit import preparing
    from freerun.text.corpora import read_corpus
    loaded, _ = freerun.load(sys.argv[1]), read_corpus(sys.argv[2])
    preparing.load_predictor = lambda *_, **__: loaded
for line in sys.stdin:
    words, seconds = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os._exit(main(words))
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, time.monotonic() - began]), flush=True)
"""
"""A process that has imported everything and forks one run after another, so that kills hit the work and not the imports.

Where it is given a model and a corpus it has loaded and read those too."""

KILLED = -9
FINISHED = (0, 3)
"""Done, and done with too few documents for a verdict."""
SMALL = ["--tokens", "16", "--batch", "4", "--documents", "16"]


class Nurse:
    def __init__(self, *loaded: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSE, *loaded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def run(self, words: list[str], *, kill_after: float | None = None) -> tuple[int, float]:
        """Exit code and seconds of one run of the command line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([words, kill_after]) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._process.stdout.readline())
        return int(code), float(seconds)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def nurse() -> Iterator[Nurse]:
    one = Nurse()
    yield one
    one.close()


@pytest.fixture(scope="module")
def undisturbed(nurse: Nurse, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, float]:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    code, seconds = nurse.run(command(path))
    assert code in FINISHED
    return RunFolder(path), seconds


def command(path: Path) -> list[str]:
    return ["audit", "world/markov", "world/markov", "-o", str(path), *SMALL]


def assert_same_run(path: Path, wanted: RunFolder) -> None:
    """The same tables and findings, and nothing half-written beside them."""
    for kind in ("sequences", "tokens"):
        assert RunFolder(path).read(kind).equals(wanted.read(kind))
    mine, theirs = (json.loads((p / "result.json").read_text()) for p in (path, wanted.path))
    assert without_provenance(mine) == without_provenance(theirs)
    assert (path / "report.html").exists()
    assert not list(path.glob("*/.*"))


def without_provenance(value: Any) -> Any:
    """What does not tell of the folder, the machine or the time."""
    if isinstance(value, dict):
        return {k: without_provenance(v) for k, v in value.items() if k not in ("provenance", "command", "created")}
    return [without_provenance(v) for v in value] if isinstance(value, list) else value


def test_killed_as_a_user_would_start_it(undisturbed: tuple[RunFolder, float], nurse: Nurse, tmp_path: Path) -> None:
    """One real `python -m freerun`, killed when its first part is there."""
    wanted, _ = undisturbed
    path = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "freerun", *command(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    while process.poll() is None and not list(path.glob("sequences/*.parquet")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert nurse.run(command(path))[0] in FINISHED
    assert_same_run(path, wanted)


@pytest.mark.model
def test_the_real_model_killed_three_times(tmp_path: Path) -> None:
    """Bits are promised for the same machine and threads, so the tables are compared exactly. A process of its own ends the run."""
    model, corpus = "smollm2-135m-instruct", "builtin/python-docs"
    words = ["audit", model, corpus, "--documents", "16", "--tokens", "16", "--batch", "8", "-o"]
    nurse = Nurse(model, corpus)
    code, seconds = nurse.run([*words, str(tmp_path / "whole")])
    assert code in FINISHED
    for delay in np.random.default_rng(3).uniform(0, 0.9, 3) * seconds:
        code, _ = nurse.run([*words, str(tmp_path / "run")], kill_after=float(delay))
        assert code == KILLED or code in FINISHED
    nurse.close()
    done = subprocess.run(
        [sys.executable, "-m", "freerun", *words, str(tmp_path / "run")],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode in FINISHED, done.stderr
    assert_same_run(tmp_path / "run", RunFolder(tmp_path / "whole"))
