"""`freerun explore` from the command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from freerun.commands import explore
from freerun.commands.main import main


def not_ignored() -> None:
    """A background process of a shell ignores Ctrl-C from the start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_it_prints_its_address_answers_and_ends_on_ctrl_c() -> None:
    words = [sys.executable, "-m", "freerun", "explore", "world/markov", "--port", "0", "--no-open"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, preexec_fn=not_ignored) as process:
        try:
            assert process.stdout is not None
            address = next(line.strip() for line in process.stdout if "token=" in line)
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=[\w-]{32}", address)
            assert found is not None
            with closing(http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().status == 403
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["world/nothing"], 2, "nothing"),
        (["world/markov", "--port", "70000"], 2, "--port"),
        (["world/markov", "--beside", "world/markov,symbols=3"], 2, "lacks"),
        (["world/markov", "--run", "/nowhere"], 4, "/nowhere"),
        (["ngram/2@builtin/python-docs", "--sources", "/nowhere.toml"], 4, "/nowhere.toml"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", *words, "--no-open"]) == code
    seen = capsys.readouterr()
    assert why in seen.err
    assert "Traceback" not in seen.err
    assert seen.out == ""


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore, "find_spec", lambda name: None)
    assert main(["explore", "world/markov"]) == 4
    assert "pip install 'freerun[explore]'" in capsys.readouterr().err


def test_vendored_files_say_what_they_are() -> None:
    folder = Path(explore.__file__).parents[1] / "explore" / "page" / "vendor"
    told = (folder / "README.md").read_text()
    for file in folder.glob("*.js"):
        assert file.name in told
    for name in ("preact", "htm", "d3-hierarchy"):
        assert (folder / f"LICENSE-{name}.txt").stat().st_size > 500
