"""Bad input at `freerun verify`: one clear line and an exit code, or rows that are counted under a name."""

from __future__ import annotations

import copy
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freerun.commands.main import main
from freerun.predictors.rules import ContextRule
from freerun.specs.spec import load_predictor

WORLD = "world/authors"
Row = dict[str, Any]
GOOD: Row = {"prompt_ids": [1, 2, 3], "completion_ids": [3, 4, 5, 6, 7], "logprobs": [-1.0] * 5}
ROWS: dict[str, tuple[Row, str]] = {
    "an id beyond the vocabulary": ({"completion_ids": [4, 5, 6, 7, 10_000]}, "id beyond the vocabulary"),
    "a prompt id beyond the vocabulary": ({"prompt_ids": [10_000]}, "id beyond the vocabulary"),
    "a negative id": ({"completion_ids": [4, 5, 6, 7, -1]}, "negative id"),
    "a log-probability above 0": ({"logprobs": [0.5, -1, -1, -1, -1]}, "log-probability above 0"),
    "an infinite log-probability": ({"logprobs": [math.inf, -1, -1, -1, -1]}, "log-probability above 0"),
    "log-probabilities as text": ({"logprobs": ["-1"] * 5}, "log-probabilities that are not numbers"),
    "too few log-probabilities": ({"logprobs": [-1.0]}, "lengths that differ"),
    "a mask of another length": ({"drawn": [1, 1]}, "lengths that differ"),
    "nothing drawn": ({"drawn": [0] * 5}, "no drawn token"),
    "an empty completion": ({"completion_ids": [], "logprobs": []}, "empty completion"),
    "no prompt": ({"prompt_ids": None}, "no prompt"),
    "a chat without ids": ({"prompt_ids": None, "messages": [{"role": "user", "content": "a"}]}, "chat without ids"),
    "text without ids among ids": (
        {"completion_ids": None, "logprobs": None, "completion": "ab"},
        "another format",
    ),
}
HARMLESS: dict[str, Row] = {
    "null log-probabilities": {"logprobs": [None] * 5},
    "some null": {"logprobs": [None, -1, -1, -1, -1]},
    "NaN": {"logprobs": [math.nan, -1, -1, -1, -1]},
    "minus infinity": {"logprobs": [-math.inf, -1, -1, -1, -1]},
    "an empty prompt": {"prompt_ids": []},
}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """From a file's content to exit code, stdout and the last line of stderr."""

    def run(
        content: list[Row] | bytes, *more: str, name: str = "samples.jsonl", model: str = WORLD
    ) -> tuple[int, str, str]:
        path = tmp_path / name
        data = content if isinstance(content, bytes) else "".join(json.dumps(row) + "\n" for row in content).encode()
        path.write_bytes(data)
        code = main(["verify", str(path), "--model", model, "-o", str(tmp_path / "out"), *more])
        shown = capsys.readouterr()
        return code, shown.out, shown.err.strip().splitlines()[-1] if shown.err.strip() else ""

    return run


@pytest.mark.parametrize("what", ROWS)
def test_a_bad_row_is_counted_by_name(what: str, call: Call) -> None:
    change, reason = ROWS[what]
    code, out, _ = call([GOOD, {**GOOD, **change}, GOOD], "--json")
    result = json.loads(out)
    assert code == 3  # ten tokens are too few for a verdict
    assert [(e["reason"], e["n"]) for e in result["samples"]["excluded"]] == [(reason, 1)]
    assert result["samples"]["n_completions"] == 2


@pytest.mark.parametrize("what", ROWS)
def test_a_file_of_nothing_else_is_refused_in_one_line(what: str, call: Call) -> None:
    change, reason = ROWS[what]
    if what == "text without ids among ids":
        return  # such a file is one of text
    code, _, line = call([{**GOOD, **change}] * 2)
    assert code == 4
    assert "no completion can be scored" in line
    assert reason in line


@pytest.mark.parametrize("what", HARMLESS)
def test_what_only_lacks_something_is_read(what: str, call: Call) -> None:
    code, out, _ = call([{**GOOD, **HARMLESS[what]}] * 3, "--json")
    result = json.loads(out)
    assert code == 3
    assert not result["samples"]["excluded"]
    assert "NaN" not in out
    assert "Infinity" not in out


def lines(n: int) -> bytes:
    return (json.dumps(GOOD) + "\n").encode() * n


def table(n: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([GOOD] * n), sink)
    return bytes(sink.getvalue())


FILES: dict[str, tuple[str, bytes, str]] = {
    "cut off in a line": ("cut.jsonl", lines(90)[:-9], "cut off: line 90 is not whole JSON"),
    "a cut-off gzip file": ("cut.jsonl.gz", gzip.compress(lines(90))[:-9], "damaged or cut-off gzip file"),
    "a cut-off table": ("cut.parquet", table(9)[:-9], "damaged or cut-off Parquet file"),
    "nothing": ("empty.jsonl", b"", "is empty"),
    "bytes": ("bytes.jsonl", b"\x00\xff\xfe\x9c" * 40, "is not UTF-8 text"),
    "no samples": ("other.jsonl", b'{"foo": 1}\n', "in no format that is recognised"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_broken_file_is_refused_in_one_line(what: str, call: Call, tmp_path: Path) -> None:
    name, data, message = FILES[what]
    code, out, line = call(data, name=name)
    assert code == 4
    assert message in line
    assert not out
    assert not (tmp_path / "out").exists()


def test_mixed_formats_are_counted(call: Call) -> None:
    code, out, _ = call([GOOD, {"choices": [{"text": "x"}]}, {"foo": 1}, GOOD], "--json")
    assert code == 3
    assert [e["reason"] for e in json.loads(out)["samples"]["excluded"]] == ["another format", "no completion"]


def test_longer_than_the_window(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = copy.copy(load_predictor(WORLD))
    narrow.context = ContextRule(window=32)
    monkeypatch.setattr("freerun.jobs.verify.verify.load_predictor", lambda *_, **__: narrow)
    code, out, _ = call([GOOD, {**GOOD, "prompt_ids": [1] * 60}], "--json")
    assert code == 3
    assert [e["reason"] for e in json.loads(out)["samples"]["excluded"]] == ["longer than the window"]


def test_the_way_out_where_no_row_has_a_prompt(call: Call) -> None:
    code, _, line = call([{"text": "abab"}] * 3)
    assert code == 4
    assert "give rows with prompt_ids, prompt or messages, too" in line
    assert "`freerun loops` needs no prompts" in line


def test_what_is_said_for_people(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts agree with their nouns, and gates speak of completions."""
    other = {**GOOD, "completion_ids": [1, 2, 3, 4, 5]}
    _, out, _ = call([GOOD, {**GOOD, "completion_ids": []}, other], "--fail-on", "kl_nats>0.1")
    assert "left out: 1 row, empty completion" in out
    assert "on 2 completions: below 64" in out
    code, _, line = call([GOOD], "--fail-on", "kl_nats>")
    assert code == 2
    assert "for example 'logprob_gap>0.1'" in line


def test_two_tokenizers(call: Call) -> None:
    """Ids mean nothing in a model that spells them otherwise."""
    rng = np.random.default_rng(0)
    rows = [{"prompt_ids": [1, 2], "completion_ids": rng.integers(0, 8, 40).tolist()} for _ in range(20)]
    code, _, line = call(rows, "--or", "world/markov,symbols=4")
    assert code == 2
    assert "another tokenizer" in line


def test_text_that_the_tokenizer_does_not_know(call: Call) -> None:
    code, _, line = call([{"prompt": "a", "completion": "\u00e9\u4e2d"}] * 3)
    assert code == 4
    assert "the tokenizer does not know" in line


def test_flags_that_do_not_go_together(call: Call) -> None:
    assert call([GOOD], "--chat")[0] == 2
    assert call([GOOD], "--system", "x")[0] == 2
    assert call([GOOD], "--requests", "x")[0] == 2
    assert call([GOOD], "--text-tokens", "3")[0] == 2
    assert call([GOOD], "--prompt-field", "q", "--format", "trl")[0] == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--format", "trl"], "--format is about a file of samples, and --from draws them: leave it out"),
        (
            ["--chat"],
            "freerun audit ngram/2@builtin/python-docs c.jsonl --chat --own-text-from vllm/m@http://127.0.0.1:9",
        ),
        (["--prompt-field", "q"], "so --prompt-field has no place; to let it answer prompts: freerun audit"),
    ],
)
def test_where_a_server_draws_what_is_about_files_has_no_place(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, server = "ngram/2@builtin/python-docs", "vllm/m@http://127.0.0.1:9"
    assert main(["verify", "c.jsonl", "--model", model, "--from", server, *flags]) == 2
    assert said in capsys.readouterr().err
