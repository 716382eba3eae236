"""Every format in the shape in which its writer writes it, alone, one a line, in a list, packed, in a folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freerun.errors import DataError, UsageError
from freerun.samples.catalogue import FORMATS
from freerun.samples.completion import Completion, Excluded, Message, Part, Reason
from freerun.samples.reading import COSTS, SampleFile, open_samples

Write = Callable[..., Path]

VLLM = {
    "id": "cmpl-7",
    "object": "text_completion",
    "choices": [
        {
            "index": i,
            "text": text,
            "logprobs": {
                "text_offset": [0, 1],
                "token_logprobs": [-0.5, -9999.0],
                "tokens": ["a", "b"],
                "top_logprobs": [],
            },
            "finish_reason": "stop",
            "stop_reason": None,
            "prompt_token_ids": [1, 2, 3],
            "token_ids": [10 + i, 2],
        }
        for i, text in enumerate(("a", "b"))
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}
VLLM_CHAT = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi"},
            "logprobs": {"content": [{"token": "hi", "logprob": -0.25, "bytes": [104, 105], "top_logprobs": []}]},
            "finish_reason": "stop",
            "token_ids": [7],
        }
    ],
    "prompt_token_ids": [1, 5],
}
OPENAI = {
    "id": "chatcmpl-2",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "née"},
            "logprobs": {
                "content": [
                    {"token": "n\\xc3", "logprob": -1.0, "bytes": [110, 195], "top_logprobs": []},
                    {"token": "\\xa9e", "logprob": -2.0, "bytes": [169, 101], "top_logprobs": []},
                ]
            },
            "finish_reason": "length",
        }
    ],
}
LLAMA_SERVER = {
    "choices": [{"text": "ab", "logprobs": {"content": [{"id": 4, "logprob": -0.5}, {"id": 9, "logprob": -1.5}]}}]
}
SGLANG = {
    "text": "ab",
    "output_ids": [4, 9],
    "meta_info": {
        "id": "x",
        "finish_reason": {"type": "stop", "matched": 9},
        "prompt_tokens": 2,
        "weight_version": "4",
        "input_token_logprobs": [[None, 1, None], [-3.0, 2, None]],
        "output_token_logprobs": [[-0.5, 4, "a"], [-1.5, 9, None]],
        "completion_tokens": 2,
    },
}
TRL_SERVE = {
    "prompt_ids": [[1, 2], [3]],
    "completion_ids": [[4], [5, 6], [7], [8]],
    "logprobs": [[[-0.5]], [[-0.1], [None]], [[-0.2, -3.0]], [[-0.3, -4.0]]],
    "logprob_token_ids": [[[4]], [[5], [6]], [[7, 9]], [[9, 8]]],
}
SLIME = {
    "group_index": 3,
    "index": 12,
    "prompt": [{"role": "user", "content": "hi"}],
    "tokens": [1, 2, 3, 40, 41, 50, 42],
    "response": "abc",
    "response_length": 4,
    "loss_mask": [1, 1, 0, 1],
    "rollout_log_probs": [-0.5, -0.25, 0.0, -1.0],
    "weight_versions": ["3", "4"],
    "status": "truncated",
    "reward": 1.0,
}
VERL = {"input": "user\nhi", "output": "ho", "gts": "4", "score": 0.5, "step": 17, "acc": True}
TRL = {"step": 5, "prompt": "hi", "completion": " there", "my_reward": 0.5, "advantage": -0.1}
OWN = {
    "prompt_ids": [1, 2],
    "prompt": "ab",
    "completion_ids": [3, 4, 5],
    "completion": "cde",
    "drawn": [1, 0, True],
    "logprobs": [-1, -2.5, None],
    "trainer_logprobs": [-1.25, 0.0, -0.5],
    "group": 7,
    "weight_version": ["a", "a", "b"],
    "finish_reason": "stop",
    "seed": 3,
    "sampling": {"temperature": 0.7},
}
BATCH = {"id": "batch_req_1", "custom_id": "one", "response": {"status_code": 200, "body": OPENAI}, "error": None}
ONE_OF_EACH: dict[str, Any] = {
    "batch": BATCH,
    "vllm": VLLM,
    "openai": OPENAI,
    "sglang": SGLANG,
    "trl-serve": TRL_SERVE,
    "slime": SLIME,
    "trl": TRL,
    "verl": VERL,
    "freerun": OWN,
    "text": {"text": "once more"},
}
"""One row of each format that is recognised."""


def usable(samples: SampleFile) -> list[Completion]:
    rows = list(samples)
    assert not [row for row in rows if isinstance(row, Excluded)]
    return [row for row in rows if isinstance(row, Completion)]


def same(array: np.ndarray | None, values: list[float]) -> bool:
    return array is not None and np.array_equal(array, values, equal_nan=array.dtype.kind == "f")


def test_each_format_is_tried_here() -> None:
    assert set(ONE_OF_EACH) | {"lines"} == {format.name for format in FORMATS}
    assert set(COSTS) == set(Part)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_row_is_of_one_format_alone(name: str) -> None:
    """So the order of the table decides only where a row is of a format and of a wider one."""
    wider = {"vllm": {"openai"}, "sglang": {"text"}, "trl-serve": {"freerun"}, "trl": {"freerun"}}
    recognised = {f.name for f in FORMATS if f.sign and f.recogniser(ONE_OF_EACH[name])}
    assert recognised - {name} <= wider.get(name, set())
    first = next(f.name for f in FORMATS if f.sign and f.recogniser(ONE_OF_EACH[name]))
    assert first == name


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_way_to_put_rows_into_a_file(name: str, write: Write, tmp_path: Path) -> None:
    row = ONE_OF_EACH[name]
    expected = usable(open_samples(write(row)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".hidden").write_text("no JSON")
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(json.dumps(row).encode())
    files = [
        write(row, row, name="lines.jsonl"),
        write(json.dumps([row, row], indent=2), name="list.json"),
        write(json.dumps(row, indent=2), name="object.json"),
        write(json.dumps({"n": 1, "data": [row, row]}), name="inside.json"),
        write([row], [row], name="lists.jsonl"),
        write(b"\xef\xbb\xbf" + json.dumps(row).encode(), name="mark.jsonl"),
        write(gzip.compress(json.dumps(row).encode()), name="packed.jsonl.gz"),
        write(bytes(packed.getvalue()), name="packed.jsonl.zst"),
        write(row, name="folder/10.jsonl").parent,
    ]
    for file, times in zip(files, (2, 2, 1, 2, 2, 1, 1, 1, 1), strict=True):
        samples = open_samples(file)
        assert (samples.format, samples.recognised) == (name, True), file
        assert len(usable(samples)) == times * len(expected), file
        assert [s.row for s in samples] == list(range(times * len(expected))), file
        named = open_samples(file, format=name)
        assert not named.recognised
        assert len(usable(named)) == times * len(expected), file


@pytest.mark.parametrize("name", sorted(set(ONE_OF_EACH) - {"sglang"}))  # no table has lists of a number and a text
def test_the_same_rows_in_a_table(name: str, write: Write, tmp_path: Path) -> None:
    """Columns of numbers come as arrays there, everything else as lists and dictionaries with nulls."""
    row = ONE_OF_EACH[name]
    if name == "freerun":
        row = {**row, "drawn": [True, False, True], "sampling": json.dumps(row["sampling"])}
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "x.parquet")
    table, lines = open_samples(tmp_path / "x.parquet"), open_samples(write(row, row))
    assert (table.format, table.has_ids, table.has_log_probs) == (name, lines.has_ids, lines.has_log_probs)
    for a, b in zip(usable(table), usable(lines), strict=True):
        for field, value in vars(b).items():
            other = getattr(a, field)
            assert same(other, value) if isinstance(value, np.ndarray) else other == value, field


def test_our_own_format(write: Write) -> None:
    samples = open_samples(write(OWN))
    assert samples.has_ids
    assert samples.has_log_probs
    assert samples.missing == ()
    (only,) = usable(samples)
    assert same(only.prompt_ids, [1, 2])
    assert same(only.completion_ids, [3, 4, 5])
    assert same(only.drawn, [True, False, True])
    assert same(only.log_probs_nats, [-1.0, np.nan, np.nan])  # the second was not drawn
    assert same(only.trainer_log_probs_nats, [-1.25, np.nan, -0.5])
    assert (only.prompt, only.completion, only.group, only.seed) == ("ab", "cde", "7", 3)
    assert only.weight_versions == ("a", "a", "b")
    assert (only.finish_reason, only.sampling) == ("stop", {"temperature": 0.7})


def test_text_alone_in_our_own_format_says_what_that_costs(write: Write) -> None:
    samples = open_samples(write({"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "c"}))
    assert [m.part for m in samples.missing] == [
        Part.COMPLETION_IDS,
        Part.PROMPT_IDS,
        Part.END,
        Part.SPECIAL_TOKENS,
        Part.LOG_PROBS,
    ]
    assert all(missing.cost.endswith(".") for missing in samples.missing)
    assert [sample.has_prompt for sample in usable(samples)] == [True, True]


def test_vllm(write: Write) -> None:
    samples = open_samples(write(VLLM))
    first, second = usable(samples)
    assert samples.missing == ()
    assert same(first.prompt_ids, [1, 2, 3])
    assert same(first.completion_ids, [10, 2])
    assert same(second.completion_ids, [11, 2])
    assert same(first.log_probs_nats, [-0.5, -np.inf])  # -9999 is what JSON gets for it
    assert first.group == second.group == "cmpl-7"
    assert (first.completion, first.finish_reason) == ("a", "stop")


def test_vllm_chat_and_ids_as_text(write: Write) -> None:
    (chat,) = usable(open_samples(write(VLLM_CHAT)))
    assert same(chat.prompt_ids, [1, 5])
    assert same(chat.completion_ids, [7])
    assert same(chat.log_probs_nats, [-0.25])
    spelled = {"choices": [{"text": "a", "logprobs": {"tokens": ["token_id:8"], "token_logprobs": [-1]}}]}
    samples = open_samples(write(spelled))
    assert samples.format == "vllm"
    assert [m.part for m in samples.missing] == [Part.PROMPT]
    assert same(usable(samples)[0].completion_ids, [8])


def test_llama_server_gives_each_token_an_id(write: Write) -> None:
    (only,) = usable(open_samples(write(LLAMA_SERVER)))
    assert same(only.completion_ids, [4, 9])
    assert same(only.log_probs_nats, [-0.5, -1.5])


def test_openai_pieces_are_bytes(write: Write) -> None:
    """A letter may be spread over two tokens."""
    samples = open_samples(write(OPENAI))
    (only,) = usable(samples)
    assert only.pieces == (b"n\xc3", b"\xa9e")
    assert b"".join(only.pieces).decode() == only.completion
    assert same(only.log_probs_nats, [-1.0, -2.0])
    assert not samples.has_ids
    assert samples.has_log_probs
    assert Part.PROMPT in {m.part for m in samples.missing}


def test_batch_with_requests(write: Write) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "seed": 9}
    ids = {"custom_id": "two", "body": {"prompt": [1, 2], "top_p": 0.9}}
    requests = write({"custom_id": "one", "method": "POST", "url": "/v1", "body": body}, ids, name="requests.jsonl")
    failed = {"custom_id": "two", "response": None, "error": {"code": "expired", "message": "too late"}}
    unknown = {**BATCH, "custom_id": "three"}
    two = {"custom_id": "two", "response": {"status_code": 200, "body": OPENAI}}
    rows = list(open_samples(write(BATCH, failed, unknown, two), requests=requests))
    first, *faults, last = rows
    assert isinstance(first, Completion)
    assert first.messages == (Message("user", "hi"),)
    assert (first.seed, first.sampling) == (9, {"temperature": 0.5})
    assert [f.reason for f in faults if isinstance(f, Excluded)] == [Reason.FAILED_REQUEST, Reason.UNKNOWN_REQUEST]
    assert isinstance(last, Completion)
    assert same(last.prompt_ids, [1, 2])
    assert Part.PROMPT in {m.part for m in open_samples(write(BATCH)).missing}
    assert Part.PROMPT not in {m.part for m in open_samples(write(BATCH), requests=requests).missing}
    with pytest.raises(UsageError, match="--requests gives the prompts of a batch"):
        open_samples(write(OPENAI), requests=requests)
    with pytest.raises(DataError, match="line 2: custom_id 'one' is there twice"):
        open_samples(write(BATCH), requests=write(*[{"custom_id": "one", "body": body}] * 2, name="twice.jsonl"))


def test_sglang(write: Write) -> None:
    spans = [{"version": "3", "start": 0, "end": 1}, {"version": "4", "start": 1, "end": 2}]
    changed = {**SGLANG, "meta_info": {**SGLANG["meta_info"], "weight_versions": spans}}  # type: ignore[dict-item]
    samples = open_samples(write([SGLANG, changed]))
    first, second = usable(samples)
    assert samples.missing == ()
    assert same(first.prompt_ids, [1, 2])  # of the prompt's log-probabilities, which cover it
    assert same(first.completion_ids, [4, 9])
    assert same(first.log_probs_nats, [-0.5, -1.5])
    assert (first.weight_versions, first.finish_reason) == (("4",), "stop")
    assert second.weight_versions == ("3", "4")


def test_sglang_prompt_ids_that_cover_a_part_are_none(write: Write) -> None:
    part = {**SGLANG, "meta_info": {**SGLANG["meta_info"], "prompt_tokens": 5}}  # type: ignore[dict-item]
    (only,) = usable(open_samples(write(part)))
    assert only.prompt_ids is None


def test_trl_serve(write: Write) -> None:
    samples = usable(open_samples(write(TRL_SERVE)))
    assert [s.prompt_ids.tolist() for s in samples if s.prompt_ids is not None] == [[1, 2], [1, 2], [3], [3]]
    assert same(samples[1].log_probs_nats, [-0.1, np.nan])
    assert same(samples[2].log_probs_nats, [-0.2])
    assert same(samples[3].log_probs_nats, [-4.0])  # the drawn token is the second likeliest


def test_slime(write: Write) -> None:
    (only,) = usable(open_samples(write(SLIME)))
    assert same(only.prompt_ids, [1, 2, 3])
    assert same(only.completion_ids, [40, 41, 50, 42])
    assert same(only.drawn, [True, True, False, True])
    assert same(only.log_probs_nats, [-0.5, -0.25, np.nan, -1.0])
    assert only.messages == (Message("user", "hi"),)
    assert only.weight_versions == ("3+4",)  # which token is whose is not said
    assert (only.group, only.finish_reason) == ("3", "length")


def test_slime_saved_by_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "rollout_0.pt"
    one = {**SLIME, "tokens": torch.tensor(SLIME["tokens"]), "rollout_routed_experts": np.zeros((2, 2), dtype=np.int32)}
    torch.save({"rollout_id": 0, "metadata": {}, "samples": [SLIME, one]}, path)
    samples = open_samples(path)
    assert samples.format == "slime"
    first, second = usable(samples)
    assert same(second.completion_ids, [40, 41, 50, 42])
    assert same(first.completion_ids, [40, 41, 50, 42])
    torch.save({"samples": [Path("x")]}, path)
    with pytest.raises(DataError, match="holds objects other than tensors, numbers and texts"):
        open_samples(path)
    torch.save([1, 2], path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or cut-off file of torch"):
        open_samples(path)
    torch.save({"other": []}, path)
    with pytest.raises(DataError, match="has no list of samples"):
        open_samples(path)


def test_trl_table(tmp_path: Path) -> None:
    """Prompts and completions are messages where the data set is a chat."""
    chat = {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "ho"}]}
    several = {**chat, "completion": [*chat["completion"], {"role": "tool", "content": "4"}]}
    pq.write_table(pa.Table.from_pylist([{**TRL, **chat}, {**TRL, **several}]), tmp_path / "completions_00005.parquet")
    samples = open_samples(tmp_path / "completions_00005.parquet")
    first, second = samples
    assert samples.format == "trl"
    assert isinstance(first, Completion)
    assert (first.messages, first.completion) == ((Message("user", "hi"),), "ho")
    assert isinstance(second, Excluded)
    assert second.reason is Reason.SEVERAL_MESSAGES
    pq.write_table(pa.Table.from_pylist([TRL]), tmp_path / "completions_00006.parquet")
    (only,) = usable(open_samples(tmp_path / "completions_00006.parquet"))
    assert (only.prompt, only.completion, only.weight_versions) == ("hi", " there", ("5",))


def test_verl_in_a_folder_is_read_in_the_order_of_steps(write: Write, tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    for step in (10, 9, 100):
        write({**VERL, "step": step}, name=f"dump/{step}.jsonl")
    samples = open_samples(tmp_path / "dump")
    assert [s.weight_versions for s in usable(samples)] == [("9",), ("10",), ("100",)]
    assert Part.DRAWN in {m.part for m in samples.missing}


def test_texts(write: Write) -> None:
    assert [s.completion for s in usable(open_samples(write("one\ntwo\n", name="x.txt")))] == ["one\ntwo\n"]
    assert [s.completion for s in usable(open_samples(write("[la la\n", name="x.txt")))] == ["[la la\n"]
    assert [s.completion for s in usable(open_samples(write("one\n\ntwo", name="x"), format="lines"))] == ["one", "two"]
    quoted = '"One," she said.\n"Two."\n'
    assert [s.completion for s in usable(open_samples(write(quoted, name="x"), format="text"))] == [quoted]
    assert [s.completion for s in usable(open_samples(write('"one"\n"two"\n')))] == ["one", "two"]
    assert [s.completion for s in usable(open_samples(write('["one", "two"]')))] == ["one", "two"]
