"""How a corpus is read, on the command line: the same flags for every verb that reads one, and what was done is said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.errors import DataError

SMALL = ["--documents", "16", "--prefix", "4", "--tokens", "8", "--dry-run"]
LINES = "".join(json.dumps({"doc": {"text": f"good {i} " * 12}}) + "\n" for i in range(20))


def test_standard_input_is_rows_and_the_forecast_names_the_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("good one " * 20)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES.encode() + b'{"n": 1}\n')))
    words = ["audit", f"ngram/2@{tmp_path / 'a.txt'}", "-", "--text-field", "doc.text", "--skip-bad-rows", *SMALL]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "16 documents, 4 + 8 tokens, batch 128, on cpu" in out
    assert "corpus: stdin is read as jsonl, by its first line" in err
    assert "corpus: 1 of 21 rows left out" in err


def test_labelled_text_is_read_as_it_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def read(spec: str, **options: Any) -> None:
        seen.update(options, spec=spec)
        raise DataError("that will do")

    monkeypatch.setattr("freerun.text.corpora.read_corpus", read)
    words = ["source", "world/authors", "--sources", "era", "--evaluate", "x", "--label-field", "year"]
    assert main([*words, "--text-field", "body", "--format", "csv", "--skip-bad-rows"]) == 4
    assert seen == {"spec": "x", "text_field": "body", "format": "csv", "skip_bad_rows": True}


def test_a_world_has_no_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "world/markov", "world/markov", "--format", "csv", *SMALL]) == 2
    assert "--format csv is about files and standard input, not world/markov" in capsys.readouterr().err
