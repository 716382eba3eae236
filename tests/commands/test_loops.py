"""`freerun loops`: what is printed, exit codes, and one line for what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freerun.commands import main as commands


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = commands.main(["loops", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def samples(tmp_path: Path) -> str:
    path = tmp_path / "samples.jsonl"
    texts = ["go on " * 30, "It ends here.", "One, two.", ""]
    path.write_text("".join(json.dumps({"prompt": f"p{k}", "completion": t}) + "\n" for k, t in enumerate(texts)))
    return str(path)


def test_for_people(capsys: pytest.CaptureFixture[str], samples: str, tmp_path: Path) -> None:
    code, out, _ = run(capsys, samples, "-o", str(tmp_path / "page"))
    said = " ".join(out.split())
    assert code == 0
    assert "33.3% of 3 texts loop within 60 words" in said
    assert "period=128,copies=3,tokens=48" in said
    assert "“go on”" in said
    assert "left out: 1 × empty completion (row 3" in said
    assert (tmp_path / "page" / "loops.html").read_text().startswith("<!DOCTYPE html>")


def test_json_is_one_object(capsys: pytest.CaptureFixture[str], samples: str) -> None:
    code, out, err = run(capsys, samples, "--stop-rule", "period=4,copies=5,tokens=10", "--json")
    result = json.loads(out, parse_constant=pytest.fail)
    assert (code, result["kind"], result["schema_version"], result["unit"]) == (0, "loops", 1, "words")
    assert [r["rule"] for r in result["stop_rules"]] == ["period=4,copies=5,tokens=10"]
    assert "looked for loops" in err


def test_one_independent_text_is_too_few(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completion": "na " * 40}) + "\n")
    code, out, _ = run(capsys, str(path))
    assert code == 3
    assert "nothing can be said of others" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "TEXTS"),
        (["none.jsonl"], 4, "none.jsonl"),
        (["SAMPLES", "--stop-rule", "copies=one"], 2, "copies is a whole number"),
        (["SAMPLES", "--tokenizer", "smolm2-135m-instruct"], 2, "did you mean"),
        (["SAMPLES", "--words", "--tokenizer", "world/markov"], 2, "--words"),
        (["SAMPLES", "--real", "none/"], 4, "none/"),
        (["SAMPLES", "--format", "vlm"], 2, "did you mean 'vllm'"),
        (["SAMPLES", "--requests", "none.jsonl"], 2, "--requests"),
        (["SAMPLES", "-o", "/proc/none"], 4, "cannot write"),
    ],
)
def test_bad_words_get_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    samples: str,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *[samples if word == "SAMPLES" else word for word in words])
    (line,) = [line for line in err.splitlines() if line.startswith("freerun: ")]
    assert (found, out) == (code, "")
    assert said in line
