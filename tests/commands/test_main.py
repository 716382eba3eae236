"""The command line as people meet it: help, bad input, exit codes, what is left behind."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from freerun.commands.main import VERBS, build_parser, main, verb_parser
from freerun.specs.spec import loader_of


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def lines(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return str(path)


WORDS = [" ".join(f"word{i * j}" for i in range(60)) for j in range(1, 25)]


def pages() -> dict[str, argparse.ArgumentParser]:
    """The parsers of every verb and of every kind of a verb, by what is typed."""
    verbs = {verb: verb_parser(verb) for verb in VERBS}
    kinds = {
        f"{verb} {name}": kind
        for verb, parser in verbs.items()
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, kind in action.choices.items()
    }
    return {**verbs, **kinds}


PAGES = pages()


@pytest.mark.parametrize("words", PAGES)
def test_every_help_says_what_it_is_for_and_shows_examples(words: str) -> None:
    page = PAGES[words]
    assert page.prog == f"freerun {words}"
    first = (page.description or "").partition("\n")[0]
    assert first.endswith(".")
    assert len(first) < 132
    examples = [
        line for line in (page.epilog or "").splitlines() if line.startswith("  freerun ") or " | freerun " in line
    ]
    assert len(examples) >= 2 or words == "lab"
    assert any(f"freerun {words}" in line for line in examples)
    for action in page._actions:
        assert action.help, action.dest


@pytest.mark.parametrize("words", PAGES)
def test_examples_can_be_typed(words: str) -> None:
    """Every word of every example exists: its verb parses them."""
    for line in (PAGES[words].epilog or "").splitlines():
        command = re.split(r" {3,}| \| jq| > | < ", line.strip())[0].rpartition("| ")[2]
        if line.startswith("  ") and command.startswith("freerun "):
            _, verb, *rest = shlex.split(command)
            verb_parser(verb).parse_args(rest)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_fits_the_terminal_but_for_what_is_typed(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for page in (build_parser(), *pages().values()):
        for line in page.format_help().splitlines():
            typed = line.startswith("usage:") or (line.startswith("  ") and not line.startswith("   "))
            assert len(line) <= min(columns, 100) or typed or " " not in line.strip(), line


def test_help_names_every_verb_and_exit_code() -> None:
    text = build_parser().format_help()
    for word in (*VERBS, "exit codes", "130"):
        assert word in text


def test_help_is_quick() -> None:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "freerun", "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["audti"], 2, "did you mean 'audit'"),
        (["audit", "smolm2-135m-instruct"], 2, "did you mean 'smollm2-135m-instruct'"),
        (["audit", "HuggingFaceTB/SmolLM2-135M"], 2, "hf/HuggingFaceTB/SmolLM2-135M"),
        (["audit", "model.gguf"], 2, "gguf/model.gguf"),
        (["audit", "--documnets", "3"], 2, "did you mean '--documents'"),
        (["audit", "--dtype", "fp23"], 2, "did you mean 'fp32'"),
        (["audit", "--documents", "x"], 2, "--documents"),
        (["audit", "--documents", "0"], 2, "--documents must be at least 1"),
        (["audit", "--tokens", "0"], 2, "--tokens must be at least 1"),
        (["audit", "--sample-with", "topk=3"], 2, "top_k="),
        (["audit", "world/markov", "--reference", "nonsense"], 2, "unknown model 'nonsense'"),
        (["audit", __file__, "world/markov"], 2, "the model comes first, then the text"),
        (["audit", "gpt2", "world/markov"], 2, "a model of the hub is hf/ORG/NAME"),
        (["audit", "world/markof", "world/markov"], 2, "did you mean"),
        (["report", __file__], 4, "is a file, not a run; name the folder of a run"),
        (["audit", "world/markof", "world/markov"], 2, "did you mean 'markov'"),
        (["audit", "world/markov", "builtin/python-doc"], 2, "did you mean 'builtin/python-docs'"),
        (["audit", "world/markov", "not-there.txt"], 4, "does not exist"),
        (["audit", "hf/./not-there", "world/markov"], 4, "no such folder"),
        (["audit", "gguf/not-there.gguf", "world/markov"], 4, "no such file"),
        (["audit", "ngram/9@builtin/python-docs", "world/markov"], 2, "between 1 and 7"),
        (["report", "not-a-run"], 4, "no run here"),
        (["report"], 2, "RUN"),
    ],
)
def test_bad_words_get_one_line_and_the_way_out(
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
    assert err.strip().splitlines()[-1].startswith("freerun: ")
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("name", "content", "more", "code", "said"),
    [
        ("empty.txt", b"", [], 4, "is empty"),
        ("latin.txt", b"abc\xff", [], 4, "byte 0xff at offset 3"),
        ("field.jsonl", b'{"txt": "a"}\n', [], 4, "did you mean 'txt'"),
        ("broken.jsonl", b'{"text": "a"\n', [], 4, "broken.jsonl:1"),
        ("long.txt", b"one long text. " * 4000, [], 4, "--split-on"),
        ("short.jsonl", b'{"text": "short"}\n{"text": "also"}\n', [], 4, "too short"),
        ("few.jsonl", lines, [], 3, "at least 16"),
        ("few.jsonl", lines, ["--documents", "4"], 2, "at least 16"),
        ("damaged.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:40], [], 4, "damaged.jsonl.gz"),
    ],
)
def test_bad_corpora_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: object,
    more: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if callable(content):
        content(path, WORDS[:5])
    else:
        path.write_bytes(content)  # type: ignore[arg-type]
    training = tmp_path / "training.txt"
    training.write_text("a b c d e f")
    found, out, err = run(capsys, "audit", f"ngram/2@{training}", str(path), *more)
    assert (found, out) == (code, "")
    assert said in err
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, "training.txt"})


def test_a_reference_with_other_tokens_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = lines(tmp_path / "c.jsonl", WORDS)
    code, _, err = run(capsys, "audit", f"ngram/3@{corpus}", corpus, "--reference", "world/markov")
    assert code == 2
    assert "does not share the tokens" in err
    assert not (tmp_path / "runs").exists()


def test_a_whole_audit_prints_the_verdict_and_resumes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.jsonl", WORDS)
    words = ["audit", f"ngram/3@{corpus}", corpus, "-o", str(tmp_path / "run"), "--tokens", "16", "--prefix", "8"]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "report" in out
    assert (tmp_path / "run" / "report.html").exists()
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["schema_version"] == 2
    code, _, err = run(capsys, *words, "--seed", "1")
    assert code == 4
    assert "another plan" in err
    assert "seed: 0 there, 1 asked" in err
    code, out, _ = run(capsys, "report", str(tmp_path / "run"), "--json")
    assert (code, json.loads(out)["findings"]) == (0, result["findings"])


def test_another_schema_version_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    code, _, err = run(capsys, "report", str(tmp_path))
    assert code == 4
    assert "schema 99" in err


def test_without_torch_the_message_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freerun.specs.provider.find_spec", lambda name: None)
    code, _, err = run(capsys, "audit", "smollm2-135m-instruct", "world/markov")
    assert code == 4
    assert "freerun[hf]" in err


def test_models_lists_catalogue_and_licences(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "--json")
    held = json.loads(out)
    assert code == 0
    assert {m["name"] for m in held["models"]} == {"smollm2-135m-instruct", "gemma-3-270m"}
    assert all(m["licence"] and m["sha256"] and m["nature"] for m in held["models"])
    for m in held["models"]:
        assert callable(loader_of(m["name"]))


def test_interruption_is_told_and_has_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("freerun.jobs.audit.audit.audit", interrupt)
    code, _, err = run(capsys, "audit")
    assert code == 130
    assert "same command" in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("freerun 0.")
