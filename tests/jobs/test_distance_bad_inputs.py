"""What a distance cannot use: one line that names it, with the exit code of its kind, or a count; nothing half-written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.jobs.distance import preparing
from freerun.organisms.null import Null
from freerun.predictors.base import Laws
from freerun.predictors.law import Dense
from freerun.predictors.rules import ContextRule
from freerun.specs.spec import load_predictor
from tests.templates import talking

A = "world/markov,symbols=4"
SHORT = ["--documents", "32", "--prefix", "3", "--tokens", "6"]
ROW = "A text of a few words that goes on for a while, number"


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def rows(path: Path, values: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(value) for value in values) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([A, "ngram/2@{text}", A], "do not share a tokenizer .id 0 is b'a' against b'.x00'"),
        ([A, "world/markov,symbols=3", A], "give them in the other order"),
        (["world/markov,symbols=3"] * 2 + ["world/markov,symbols=8"], "holds token 7, and .* has ids 0 to 2 only"),
    ],
)
def test_ids_that_do_not_fit(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    text = tmp_path / "text.txt"
    text.write_text(f"{ROW}\n" * 9)
    typed = [word.format(text=text) for word in words]
    assert main(["distance", *typed, *SHORT, "-o", str(tmp_path / "run")]) == 2
    line = last_line(capsys)
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


def test_a_cut_off_file_and_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = gzip.compress("\n".join(json.dumps({"text": f"{ROW} {i}"}) for i in range(40)).encode())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    empty = rows(tmp_path / "empty.jsonl", [{"text": ""}] * 20)
    for corpus, said in ((str(cut), "is a damaged gzip file"), (empty, "there is no text in it")):
        assert main(["distance", A, A, corpus, *SHORT, "-o", str(tmp_path / "run")]) == 4
        assert said in last_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_damaged_part_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["distance", A, A, A, *SHORT, "-o", str(run)]) == 0
    part = next((run / "two_laws").glob("b-*.parquet"))
    part.write_bytes(part.read_bytes()[:-200])
    assert main(["report", str(run)]) == 4
    line = last_line(capsys)
    assert "missing or damaged" in line
    assert "freerun distance" in line


class Broken(Null):
    """NaN in every law."""

    def laws(self, sequences: Any, *, first: int = 0) -> Iterator[Laws]:
        for part in super().laws(sequences, first=first):
            yield replace(part, law=Dense(np.full((len(part), 4), np.nan)))


def test_laws_that_are_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def load(spec: str, *_: Any, **__: Any) -> Any:
        made = load_predictor(A)
        return Broken(made, name="broken") if spec == "world/markov" else made

    monkeypatch.setattr(preparing, "load_predictor", load)
    for words in ([A, "world/markov"], ["world/markov", A]):
        assert main(["distance", *words, A, *SHORT, "-o", str(tmp_path / words[0][-3:])]) == 4
        line = last_line(capsys)
        assert "NaN" in line, line
        assert "Traceback" not in line


def test_prompts_longer_than_the_window_and_empty_answers_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        made = talking()
        made.context = ContextRule(window=48)
        return made

    monkeypatch.setattr(preparing, "load_predictor", load)
    prompts = [{"prompt": f"Which {i}?", "text": f"The one of {i}"} for i in range(30)]
    long = [{"prompt": "Why so long, " * 9 + f"{i}?", "text": "So."} for i in range(4)]
    empty = [{"prompt": f"What of {i}?", "text": ""} for i in range(3)]
    corpus = rows(tmp_path / "mixed.jsonl", [*prompts, *long, *empty])
    words = ["distance", "world/markov", "world/markov", corpus, "--prompt-field", "prompt", "--tokens", "12"]
    assert main([*words, "-o", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["left_out"] == 4
    assert any("do not fit the 48" in why for why in result["prompts"]["left_out"])
    assert any("4 conversations left out" in note for note in result["corpus_notes"])
    assert result["counts"]["pairs"] >= 30
    only_long = rows(tmp_path / "long.jsonl", long)
    assert main([*words[:3], only_long, *words[4:], "-o", str(tmp_path / "none")]) == 4
    assert "do not fit the 48" in last_line(capsys)
    assert not (tmp_path / "none").exists()
