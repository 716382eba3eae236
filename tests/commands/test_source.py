"""`freerun source`: what it prints, what it refuses, the file that --init writes, JSON and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from freerun.commands.main import main
from freerun.commands.source_lines import source_lines
from freerun.jobs.source.file import BUILTINS, read_sources
from freerun.results.json import from_json
from freerun.results.source import SourceResult

WORLD = ["source", "world/authors", "abacabadeab", "--own-tokens", "4", "--paths", "2"]


def test_a_world_is_asked_for_its_own_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(WORLD) == 0
    shown = capsys.readouterr().out
    assert "— publication —" in shown
    assert "After 11 tokens the most probable author, to the model, is" in shown
    assert "words that moved most" in shown
    assert "it is coherent" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORLD, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["kind"]) == (1, "source")
    assert [x["name"] for x in found["latents"]] == ["publication", "author", "date"]


def test_a_run_folder_holds_result_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORLD, "-o", str(tmp_path / "run")]) == 0
    assert "report.html" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["kind"] == "source"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Who could have written this?" in page
    assert "://" not in page


def test_the_earlier_name_of_out_is_taken_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORLD, "--output", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(SystemExit):
        main(["source", "--help"])
    assert "--output" not in capsys.readouterr().out


def test_colours_only_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    main([*WORLD, "--json"])
    result = json.loads(capsys.readouterr().out)
    plain, coloured = (source_lines(from_json(SourceResult, result), width=70, colour=c) for c in (False, True))
    assert not any("\x1b" in line for line in plain)
    assert any("\x1b[48;5;" in line for line in coloured)
    bare = "".join(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured)
    assert "abacabadeab" in bare


def test_text_from_the_model_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main([*WORLD, "--json"])
    result = json.loads(capsys.readouterr().out)
    for word in result["words"]:
        word["text"] = "\x1b[31m" + word["text"]
    for latent in result["latents"]:
        for mover in latent["header"]["movers"]:
            mover["text"] = "\x1b[2J"
    hostile = from_json(SourceResult, result)
    assert not any("\x1b" in line for line in source_lines(hostile, width=80))
    lines = source_lines(hostile, width=80, colour=True)
    assert not any("\x1b[31m" in line or "\x1b[2J" in line for line in lines)


def test_init_writes_a_file_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    assert main(["source", "--init", str(path)]) == 0
    assert [x.name for x in read_sources(str(path)).latents] == ["author", "decade"]
    assert path.read_text().count("#") > 8
    assert main(["source", "--init", str(path)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["source", "--init", str(tmp_path / "no" / "x.toml")]) == 2


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([], 2, "MODEL is missing"),
        (["world/authors"], 2, "TEXT is missing"),
        (["world/markov", "ab"], 2, "--sources is missing"),
        (["world/authors", "ab", "--label-field", "x"], 2, "go with --evaluate"),
        (["world/authors", "ab", "--evaluate", "x"], 2, "leave TEXT out"),
        (["world/authors", "--evaluate", "x"], 2, "--label-field NAME"),
        (["world/authors", "--evaluate", "x", "--label-field", "y"], 2, "needs --sources"),
        (["world/authors", "ab", "--readouts", "headers"], 2, "did you mean 'header'"),
        (["world/authors", "ab", "--prior", "onion=0.2"], 2, "need a --sources file"),
        (["world/authors", "ab", "--sources", "newz"], 4, "built in are news"),
        (["world/authors", ""], 2, "text is empty"),
        (["world/authors", "ab", "--beta", "0"], 2, "--beta 0"),
    ],
)
def test_refusals_are_one_line(words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", *words]) == code
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1


def test_a_bad_sources_file_is_refused_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('title = "x"\n[latent.a]\ntemplates = ["{a}", "b"]\n')
    assert main(["source", "hf/no/such-model", "text", "--sources", str(path)]) == 4
    told = capsys.readouterr().err
    assert "bad.toml: latent.a: " in told
    assert "lacks the field 'value'" in told


def test_help_names_every_built_in_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["source", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in BUILTINS)
