"""`freerun power` as people meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from freerun.commands.main import main
from freerun.jobs.power.cells import PowerPlan

TINY = PowerPlan(bases=("authors",), lengths=(8, 16), texts=(8,), reruns=2, null_reruns=4, block=4, permutations=19)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "perplxity"], "did you mean 'perplexity'"),
        (["--organisms", "hsah"], "did you mean 'hash'"),
        (["--organisms", ""], "--organisms"),
        (["--metrics", "loss,loss"], "each once"),
        (["--workers", "0"], "--workers must lie between 1 and 64"),
        (["--seed", "-1"], "--seed"),
        (["--fulll"], "did you mean '--full'"),
    ],
)
def test_bad_words_are_told_and_leave_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "power", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_the_table_and_its_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freerun.jobs.power.cells.QUICK", TINY)
    monkeypatch.chdir(tmp_path)
    words = ["power", "--workers", "1", "--organisms", "absorbing", "--metrics", "z_declared,loss,sources", "-o", "run"]
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "authors, 8 texts a side" in out
    assert "absorbing" in out
    assert "page     run/report.html" in out
    assert "parts to simulate" in err
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    result = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not valid JSON"))
    assert (result["schema_version"], result["kind"]) == (1, "power")
    assert result["command"].startswith("freerun power --metrics z_declared,loss,sources --organisms absorbing")
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())


def test_ctrl_c_leaves_whole_parts_and_no_workers(tmp_path: Path) -> None:
    """A real process with two workers is interrupted after its first part."""
    script = (
        "import sys\n"
        "if __name__ == '__main__':\n"
        "    from dataclasses import replace\n"
        "    from freerun.jobs.power import cells\n"
        "    cells.QUICK = replace(cells.QUICK, bases=('authors',), block=5, metrics=('loss', 'classifier'))\n"
        "    from freerun.commands.main import main\n"
        "    sys.exit(main(['power', '-o', 'run']))\n"
    )
    (tmp_path / "go.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, "go.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run" / "cells").glob("*.json")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "freerun power -o run" in err
    parts = list((tmp_path / "run" / "cells").iterdir())
    assert parts
    for part in parts:
        if not part.name.startswith("."):
            json.loads(part.read_text())
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
