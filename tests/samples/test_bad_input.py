"""Each way in which a file or a row can be wrong: one clear line, or a counted exclusion with a name."""

from __future__ import annotations

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

from freerun.errors import DataError, UsageError
from freerun.samples.checks import check_prompt, check_vocabulary
from freerun.samples.completion import Completion, Excluded, Reason
from freerun.samples.reading import open_samples
from freerun.samples.survey import survey

Write = Callable[..., Path]
GOOD = {"prompt_ids": [1], "completion_ids": [3, 4], "logprobs": [-1.0, -2.0]}
BAD_ROWS: dict[str, tuple[dict[str, Any], Reason]] = {
    "negative id": ({"completion_ids": [3, -4]}, Reason.NEGATIVE_ID),
    "negative prompt id": ({"prompt_ids": [-1]}, Reason.NEGATIVE_ID),
    "truth values for ids": ({"completion_ids": [True, 3]}, Reason.BAD_IDS),
    "strings for ids": ({"completion_ids": ["3", "4"]}, Reason.BAD_IDS),
    "one string for ids": ({"completion_ids": "34"}, Reason.BAD_IDS),
    "fractions for ids": ({"completion_ids": [3.5, 4]}, Reason.BAD_IDS),
    "null among ids": ({"completion_ids": [3, None]}, Reason.BAD_IDS),
    "huge id": ({"completion_ids": [3, 2**40]}, Reason.BAD_IDS),
    "huger id": ({"completion_ids": [3, 10**400]}, Reason.BAD_IDS),
    "huge float id": ({"completion_ids": [3.0, 1e300]}, Reason.BAD_IDS),
    "nested ids": ({"completion_ids": [3, [4]]}, Reason.BAD_IDS),
    "positive log-probability": ({"logprobs": [-1.0, 2e-6]}, Reason.POSITIVE_LOG_PROB),
    "infinite log-probability": ({"logprobs": [-1.0, math.inf]}, Reason.POSITIVE_LOG_PROB),
    "strings for log-probabilities": ({"logprobs": ["-1", "-2"]}, Reason.BAD_LOG_PROBS),
    "truth values for log-probabilities": ({"logprobs": [False, -1.0]}, Reason.BAD_LOG_PROBS),
    "nested log-probabilities": ({"logprobs": [[-1.0], [-2.0]]}, Reason.BAD_LOG_PROBS),
    "huge int for a log-probability": ({"logprobs": [-(10**400), -1.0]}, Reason.BAD_LOG_PROBS),
    "too few log-probabilities": ({"logprobs": [-1.0]}, Reason.LENGTHS),
    "too many log-probabilities of the trainer": ({"trainer_logprobs": [-1.0] * 3}, Reason.LENGTHS),
    "short mask": ({"drawn": [1]}, Reason.LENGTHS),
    "mask of other numbers": ({"drawn": [1, 2]}, Reason.BAD_MASK),
    "nothing drawn": ({"drawn": [0, 0]}, Reason.NOTHING_DRAWN),
    "no ids": ({"completion_ids": []}, Reason.EMPTY),
    "no text either": ({"completion_ids": None, "completion": None}, Reason.NO_COMPLETION),
    "an empty text": ({"completion_ids": None, "logprobs": None, "completion": ""}, Reason.EMPTY),
    "a number for a text": ({"completion": 3}, Reason.BAD_TEXT),
    "log-probabilities of a text": ({"completion_ids": None, "completion": "ab"}, Reason.LENGTHS),
    "seed that is text": ({"seed": "three"}, Reason.BAD_FIELD),
    "group that is a list": ({"group": [1]}, Reason.BAD_FIELD),
    "sampling that is a number": ({"sampling": 3}, Reason.BAD_FIELD),
    "a message without a role": ({"prompt": [{"content": "x"}]}, Reason.BAD_TEXT),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_counted_under_its_name(name: str, write: Write) -> None:
    change, reason = BAD_ROWS[name]
    rows = list(open_samples(write(GOOD, {**GOOD, **change}, GOOD)))
    assert [type(row) for row in rows] == [Completion, Excluded, Completion]
    assert [row.row for row in rows] == [0, 1, 2]
    bad = rows[1]
    assert isinstance(bad, Excluded)
    assert bad.reason is reason, bad
    assert bad.detail.startswith("line 2: ")
    assert "\n" not in bad.detail
    assert len(bad.detail) < 160
    counted = survey(open_samples(write(GOOD, {**GOOD, **change}, GOOD)))
    assert counted.excluded == {reason: 1}
    assert (counted.n_rows, counted.n_completions, counted.examples) == (3, 2, (bad,))


def test_rounding_above_zero_is_zero(write: Write) -> None:
    (only,) = open_samples(write({**GOOD, "logprobs": [9e-7, -2.0]}))
    assert isinstance(only, Completion)
    assert only.log_probs_nats is not None
    assert only.log_probs_nats.tolist() == [0.0, -2.0]


def test_nulls_are_counted_and_all_null_is_none(write: Write) -> None:
    path = write(
        {**GOOD, "logprobs": [None, -2.0]},
        {**GOOD, "logprobs": [None, None]},
        '{"completion_ids": [3, 4], "logprobs": [NaN, -9999.0]}\n',
    )
    first, second, third = open_samples(path)
    assert isinstance(first, Completion)
    assert first.log_probs_nats is not None
    assert np.isnan(first.log_probs_nats[0])
    assert isinstance(second, Completion)
    assert second.log_probs_nats is None
    assert isinstance(third, Completion)
    counted = survey([first, second, third])
    assert (counted.n_log_probs, counted.n_null_log_probs, counted.n_impossible) == (2, 2, 1)
    assert counted.n_without_prompt == 1


def test_files_without_log_probabilities_say_so(write: Write) -> None:
    assert not open_samples(write({**GOOD, "logprobs": [None, None]})).has_log_probs


def test_ids_beyond_a_vocabulary(write: Write) -> None:
    (only,) = open_samples(write(GOOD))
    assert isinstance(only, Completion)
    assert check_vocabulary(only, 5) is only
    beyond = check_vocabulary(only, 4)
    assert isinstance(beyond, Excluded)
    assert beyond.reason is Reason.BEYOND_VOCABULARY
    assert beyond.detail == "completion id 4 at position 1; the vocabulary has 4 ids"


def test_prompts_that_are_missing_or_empty(write: Write) -> None:
    rows = list(open_samples(write({**GOOD, "prompt_ids": []}, {**GOOD, "prompt_ids": None})))
    checked = [check_prompt(row) for row in rows if isinstance(row, Completion)]
    assert checked[0] is rows[0]
    assert isinstance(checked[1], Excluded)
    assert checked[1].reason is Reason.NO_PROMPT


def test_a_line_that_is_not_json_among_others(write: Write) -> None:
    rows = list(open_samples(write(GOOD, '{"completion_ids": [3,\n', '{"a": 1}}\n', GOOD)))
    assert [row.reason for row in rows if isinstance(row, Excluded)] == [Reason.NOT_JSON] * 2


def test_mixed_formats(write: Write) -> None:
    other = {"choices": [{"text": "x"}]}
    bare = {"prompt": "a", "completion": "b"}
    _, second, third, fourth = open_samples(write(GOOD, other, bare, {"foo": 1}))
    assert isinstance(second, Excluded)
    assert (second.reason, second.detail) == (Reason.OTHER_FORMAT, "line 2 is of the format openai")
    assert isinstance(third, Excluded)
    assert third.reason is Reason.OTHER_FORMAT
    assert isinstance(fourth, Excluded)
    assert fourth.reason is Reason.NO_COMPLETION


def test_files_that_are_cut_off(write: Write, tmp_path: Path) -> None:
    lines = (json.dumps(GOOD) + "\n") * 200
    cut = {
        "last.jsonl": (lines[:-9].encode(), "cut off: line 200 is not whole JSON"),
        "list.json": (json.dumps([GOOD] * 9)[:-9].encode(), "cut off: element 9 of its array is not whole JSON"),
        "object.json": (json.dumps(GOOD, indent=1)[:-9].encode(), "cut off: its JSON is not whole JSON"),
        "packed.jsonl.gz": (gzip.compress(lines.encode())[:-9], "damaged or cut-off gzip file"),
        "unpacked.jsonl.zst": (zstandard(lines.encode())[:-9], "damaged or cut-off Zstandard file|cut off: line"),
        "table.parquet": (parquet([GOOD] * 9)[:-9], "damaged or cut-off Parquet file"),
        "table2.parquet": (parquet([GOOD] * 9)[:50], "damaged or cut-off Parquet file"),
        "utf.jsonl": (lines.encode() + b'{"completion": "\xff', "is not UTF-8 text"),
    }
    for name, (data, message) in cut.items():
        with pytest.raises(DataError, match=message) as caught:
            list(open_samples(write(data, name=name)))
        assert "\n" not in str(caught.value)


def zstandard(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def test_files_that_are_none(write: Write, tmp_path: Path) -> None:
    refused = {
        "empty": (b"", "is empty"),
        "blank": (b"\n \n", "is empty"),
        "no-rows.json": (b"[]", "is empty"),
        "numbers.json": (b"[1, 2]", "element 1 has a value of type int"),
        "braces": (b"{not JSON}", "line 1, is not JSON"),
        "after.json": (b'[{"text": "a"}] x', "holds more than JSON arrays"),
        "binary": (b"\x00\xff\xfe\x9c" * 40, "is not UTF-8 text"),
    }
    for name, (data, message) in refused.items():
        with pytest.raises(DataError, match=message) as caught:
            list(open_samples(write(data, name=name)))
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        open_samples(tmp_path / "nowhere.jsonl")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError, match="is empty"):
        open_samples(tmp_path / "hollow")


def test_an_unknown_format_says_what_was_looked_for(write: Write) -> None:
    with pytest.raises(DataError, match="line 1 has the fields foo, bar") as caught:
        open_samples(write({"foo": 1, "bar": 2}))
    message = str(caught.value)
    assert "vllm: choices with token_ids" in message
    assert message.endswith("Name one with --format")
    with pytest.raises(UsageError, match=r"no format of samples is called 'vlm'.*did you mean 'vllm'"):
        open_samples(write(GOOD), format="vlm")


def test_a_named_format_is_taken_at_its_word(write: Write) -> None:
    (only,) = open_samples(write({"foo": 1}), format="freerun")
    assert isinstance(only, Excluded)
    assert only.reason is Reason.NO_COMPLETION


def test_text_that_no_tokenizer_takes(write: Write) -> None:
    (only,) = open_samples(write('{"prompt": "a\\ud800", "completion": "b\\udfff\\r\\n"}\n'))
    assert isinstance(only, Completion)
    assert (only.prompt, only.completion) == ("a\ufffd", "b\ufffd\r\n")  # nothing else changes: it would change tokens


def test_duplicate_keys_and_deep_nesting(write: Write) -> None:
    deep = '{"completion_ids": [3], "x": ' + "[" * 5000 + "]" * 5000 + "}\n"
    rows = list(open_samples(write(GOOD, '{"completion_ids": [9], "completion_ids": [3]}\n', deep, GOOD)))
    assert isinstance(rows[1], Completion)
    assert isinstance(rows[2], Excluded | Completion)
    assert isinstance(rows[3], Completion)


def test_tables_with_other_types(tmp_path: Path) -> None:
    """Lists inside lists, lists of fixed length, of unsigned or small numbers, with nulls, in several chunks."""
    tables: list[tuple[dict[str, pa.Array], Reason | None]] = [
        ({"completion_ids": pa.array([[3, 4]], pa.list_(pa.uint16()))}, None),
        ({"completion_ids": pa.array([[3, 4]], pa.large_list(pa.int32()))}, None),
        ({"completion_ids": pa.array([[3, 4]], pa.list_(pa.int64(), 2))}, None),
        ({"completion_ids": pa.array([[3.0, 4.0]])}, None),
        ({"completion_ids": pa.array([[3, None]])}, Reason.BAD_IDS),
        ({"completion_ids": pa.array([["3"]]), "logprobs": pa.array([[-1.0]])}, Reason.BAD_IDS),
        ({"completion_ids": pa.array([[3]]), "logprobs": pa.array([[[-1.0]]])}, Reason.BAD_LOG_PROBS),
        ({"completion_ids": pa.array([[3]]), "logprobs": pa.array([[None]], pa.list_(pa.float32()))}, None),
        ({"completion_ids": pa.array([[3]]), "drawn": pa.array([[True]])}, None),
    ]
    for columns, reason in tables:
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        (row,) = open_samples(tmp_path / "x.parquet", format="freerun")
        assert (row.reason if isinstance(row, Excluded) else None) is reason, columns
    many = pa.table({"completion_ids": [[i] * (i % 5 + 1) if i % 7 else None for i in range(300)]})
    pq.write_table(many, tmp_path / "x.parquet", row_group_size=70)
    rows = list(open_samples(tmp_path / "x.parquet"))
    for i, row in enumerate(rows):
        if i % 7:
            assert isinstance(row, Completion)
            assert row.completion_ids is not None
            assert row.completion_ids.tolist() == [i] * (i % 5 + 1)
        else:
            assert isinstance(row, Excluded)
