"""`freerun certify`: what is printed, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from freerun.commands import main as commands
from freerun.commands.certify import certificate_lines
from freerun.jobs.certify import certify
from freerun.results.finding import to_json

ONE_PERCENT = ("--excess", "0.01005", "--tokens", "1000")


@pytest.fixture(autouse=True)
def verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.VERBS, "certify", commands.VERBS.get("certify", "what a loss guarantees"))
    monkeypatch.setenv("COLUMNS", "100")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = commands.main(["certify", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_tables_hold_the_numbers_of_methods(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *ONE_PERCENT)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    for tv, safe, reached in ((0.1, 1, 11), (0.25, 12, 29), (0.5, 52, 69), (0.9, 229, 230), (0.99, 458, 459)):
        assert any(r[:1] == [str(tv)] and r[2:] == [str(safe), str(reached)] for r in rows)
    text = " ".join(out.split())
    for words in (
        "0.01005 nats (0.0145 bits) a token over 1,000 tokens",
        "exact 0.999957",
        "the text prints 0.101, ten times too much",
        "0.999957 (0.99996 in the text)",
        "if the entropy rate is at least h",
        "The reverse direction has no bound",
        "certifies nothing by itself",
    ):
        assert words in text
    assert "ten times too much" not in run(capsys, "--excess", "0.0035", "--tokens", "1000")[1]


def test_events_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    base = ("--excess", "0.0035", "--tokens", "100", "--event-rate", "0.001")
    _, out, _ = run(capsys, *base, "--observed-rate", "0.3")
    assert "proves K ≥ 0.35 nats per text" in " ".join(out.split())
    _, out, _ = run(capsys, *base, "--observed-rate", "0.0001")
    assert "proves nothing: it is not above the base rate" in " ".join(out.split())
    _, out, _ = run(capsys, *base, "--observed-rate", "0.5")
    assert "both cannot be right" in " ".join(out.split())
    _, out, _ = run(capsys, *base, "--observed-rate", "1")
    assert "K is infinite" in " ".join(out.split())
    _, out, _ = run(capsys, *base)
    assert "at most 0.3003 in generations" in " ".join(out.split())
    assert "backwards" not in out
    _, out, _ = run(capsys, *base[:4], "--event-rate", "1/1000", "--observed-rate", "30/100")
    assert "a rate of 30/100 in generations proves at 95% K ≥ 0.21" in " ".join(out.split())


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *ONE_PERCENT, "--delta", "0.3", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out, parse_constant=pytest.fail)
    assert result == to_json(certify(0.01005, 1000, deltas=[0.3]))


def test_picture_is_written_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "bound.svg"
    code, out, _ = run(capsys, *ONE_PERCENT, "--svg", str(path))
    assert code == 0
    assert str(path) in out
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert [p.name for p in path.parent.iterdir()] == ["bound.svg"]
    code, out, _ = run(capsys, *ONE_PERCENT, "--svg", str(path), "--json")
    assert (code, json.loads(out)["kind"]) == (0, "certify")


@pytest.mark.parametrize("width", [40, 60, 100])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    result = certify(1e-6, 10**9, event_rate=(1, 1000), observed=(30, 100))
    assert max(map(len, certificate_lines(result, width=width))) <= max(width, 61)
    assert max(map(len, certificate_lines(certify(0.01, 100), width=width))) <= max(width, 61)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--excess, --tokens"),
        (["--excess", "x", "--tokens", "5"], 2, "--excess"),
        (["--excess", "-0.1", "--tokens", "5"], 2, "--excess -0.1 is not an excess loss"),
        (["--excess", "nan", "--tokens", "5"], 2, "--excess nan"),
        (["--excess", "0.1", "--tokens", "0"], 2, "--tokens must be a whole number from 1"),
        (["--excess", "0.1", "--tokens", "5.5"], 2, "--tokens"),
        (["--excess", "0.1", "--tokens", "5", "--delta", "2"], 2, "--delta 2"),
        (["--excess", "0.1", "--tokens", "5", "--event-rate", "often"], 2, "--event-rate 'often' is not a rate"),
        (["--excess", "0.1", "--tokens", "5", "--event-rate", "3/2"], 2, "3/2 is not a count"),
        (["--excess", "0.1", "--tokens", "5", "--observed-rate", "0.3"], 2, "needs --event-rate"),
        (["--excess", "0.1", "--tokens", "5", "--svg", "."], 2, "is a folder"),
        (["--excess", "0.1", "--tokens", "5", "--svg", ""], 2, "name a file"),
        (["--excess", "0.1", "--tokens", "5", "--svg", "/proc/none/x.svg"], 4, "cannot write"),
        (["--exces", "0.1", "--token", "5", "--dela", "1"], 2, "did you mean '--delta'"),
    ],
)
def test_bad_words_get_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("freerun: ")
    assert not list(tmp_path.iterdir())


def test_help_has_examples_that_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = commands.verb_parser("certify").format_help()
    lines = [line.split("   ")[0].split() for line in text.splitlines() if line.startswith("  freerun certify ")]
    assert len(lines) >= 3
    for words in lines:
        assert run(capsys, *words[2:])[0] == 0


def test_signs_that_the_terminal_lacks_do_not_stop_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert commands.main(["certify", *ONE_PERCENT]) == 0
