"""`freerun explore` from the command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from freerun.commands import explore
from freerun.commands.main import main


def test_it_prints_its_address_answers_and_ends_on_ctrl_c() -> None:
    words = [sys.executable, "-m", "freerun", "explore", "world/markov", "--port", "0", "--no-open"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = ""
        while "token=" not in address:
            address = process.stdout.readline()
            assert process.poll() is None
        address = address.strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.partition("?")[0], timeout=30)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["world/nothing"], 2, "nothing"),
        (["world/markov", "--port", "70000"], 2, "--port"),
        (["world/markov", "--beside", "ngram/2@world/authors"], 2, "do not share a tokenizer"),
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
