"""The exit code of every verb is the same whoever reads what it prints, and whether anything can be read or printed at all."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from freerun.commands.main import VERBS, main
from freerun.commands.streams import SafeStream
from freerun.errors import DataError
from freerun.jobs.audit.audit import audit

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def code(words: str, redirected: str, folder: Path) -> int:
    """The exit code of the first command of a pipeline in a real shell."""
    script = f"{sys.executable} -m freerun {words} {redirected}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run([str(BASH), "-c", script], cwd=folder, capture_output=True, check=False).returncode


ANYHOW = ["| head -1", "| true", ">&-", "2>&-", "<&- >&- 2>&-", "2>&1 | true"]


@pytest.mark.parametrize("redirected", ANYHOW)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--help", 0),
        ("--version", 0),
        ("audti", 2),
        ("report not-there --debug", 4),
        ("certify --excess 0.1 --tokens 9", 0),
    ],
)
def test_in_a_shell(words: str, expected: int, redirected: str, tmp_path: Path) -> None:
    assert code(words, redirected, tmp_path) == expected


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name, model in (("a", "world/markov"), ("b", "world/markov+temperature,t=0.5")):
        audit(model, "world/markov", out=folder / name, documents=64, prefix=4, tokens=8)
    return folder


@pytest.mark.parametrize("redirected", ["| head -1", ">&- 2>&-", "--json | true", "> /dev/full"])
def test_a_failed_gate_fails_and_its_files_are_written(runs: Path, redirected: str, tmp_path: Path) -> None:
    files = ["page.html", "gates.xml", "gates.md"]
    asked = "-o {} --junit {} --markdown {}".format(*(tmp_path / name for name in files))
    words = f"compare a b {asked} --fail-on 'loss_nats>+0.02'"
    assert code(words, redirected, runs) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    assert "failure" in (tmp_path / "gates.xml").read_text()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A full disk is not a reader who has seen enough: the result is lost, and that is an error."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    assert code("models --json", "> /dev/full", tmp_path) == 4


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_depends_on_its_reader(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that prints for ever ends as it would, its reader gone: stdout and stderr are pipes that nobody reads."""
    module = __import__(f"freerun.commands.{verb}", fromlist=["run"])

    def run(arguments: object) -> int:
        for _ in range(3):
            print("x" * 100_000)
            print("x" * 100_000, file=sys.stderr)
            sys.stdout.flush()
        raise DataError("stop")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "add_arguments", lambda parser: None)
    ends = [os.pipe(), os.pipe()]
    for reader, _ in ends:
        os.close(reader)
    with open(ends[0][1], "w") as out, open(ends[1][1], "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main([verb]) == 4


def test_a_character_that_the_encoding_lacks_loses_nothing_else() -> None:
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding="ascii"))
    print("a é b", file=stream)
    stream.flush()
    assert raw.getvalue() == b"a ? b\n"
