"""From inside trainers: small batches of their real shapes, as tensors of torch, as arrays and as their own objects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.samples import from_openrlhf, from_trl, from_verl
from freerun.samples.completion import Completion, Reason
from freerun.samples.reading import open_samples
from freerun.samples.trainers.batch import SampleBatch

PAD = 0
TRL = {
    "prompt_ids": [[PAD, 11, 12], [13, 14, 15]],
    "prompt_mask": [[0, 1, 1], [1, 1, 1]],
    "completion_ids": [[21, 22, 23, 2], [24, 2, PAD, PAD]],
    "completion_mask": [[1, 1, 1, 1], [1, 1, 0, 0]],
    "tool_mask": [[1, 0, 1, 1], [1, 1, 1, 1]],
    "sampling_per_token_logps": [[-0.5, 0.0, -1.0, float("nan")], [-0.25, -0.75, 0.0, 0.0]],
    "old_per_token_logps": [[-0.5, -9.0, -1.25, -0.5], [-0.25, -0.5, -3.0, -3.0]],
}
VERL = {
    "prompts": TRL["prompt_ids"],
    "responses": TRL["completion_ids"],
    "attention_mask": [[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]],
    "response_mask": [[1, 0, 1, 1], [1, 1, 0, 0]],
    "rollout_log_probs": [[-0.5, 0.0, -1.0, -2.0], [-0.25, -0.75, 0.0, 0.0]],
    "old_log_probs": TRL["old_per_token_logps"],
}
RLHF_WHOLE = {
    # as version 0.11 makes it: padded on the right, columns of actions belong to the sequence from its second token on
    "sequences": [[11, 12, 21, 22, 23, 2], [13, 14, 15, 24, 2, PAD]],
    "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]],
    "action_mask": [[0, 1, 0, 1, 1], [0, 0, 1, 1, 0]],
    "rollout_log_probs": [[0.0, -0.5, 0.0, -1.0, 0.0], [0.0, 0.0, -0.25, -0.75, 0.0]],
    "action_log_probs": [[-4.0, -0.5, -9.0, -1.25, -0.5], [-4.0, -4.0, -0.25, -0.5, 0.0]],
}
RLHF_ACTIONS = {
    # as earlier versions: prompts padded on the left, columns of actions are those of the longest response
    "sequences": [[PAD, 11, 12, 21, 22, 23, 2], [13, 14, 15, 24, 2, PAD, PAD]],
    "attention_mask": [[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]],
    "action_mask": [[1, 0, 1, 1], [1, 1, 0, 0]],
    "rollout_log_probs": [[-0.5, 0.0, -1.0, 0.0], [-0.25, -0.75, 0.0, 0.0]],
    "action_log_probs": TRL["old_per_token_logps"],
}


def as_arrays(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(rows) for name, rows in batch.items()}


def as_tensors(batch: dict[str, Any]) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(rows) for name, rows in batch.items()}
    return {name: t.to(torch.bfloat16).requires_grad_() if t.is_floating_point() else t for name, t in tensors.items()}


def check(made: SampleBatch, *, last: float, group: str | None = None) -> None:
    """All trainers hold the same two samples; `last` is the log-probability of the first one's last token."""
    assert not made.excluded
    first, second = made.samples
    assert first.prompt_ids is not None
    assert first.completion_ids is not None
    assert first.drawn is not None
    assert first.prompt_ids.tolist() == [11, 12]
    assert first.completion_ids.tolist() == [21, 22, 23, 2]
    assert first.drawn.tolist() == [True, False, True, True]
    assert np.array_equal(first.log_probs_nats, [-0.5, np.nan, -1.0, last], equal_nan=True)  # type: ignore[arg-type]
    assert np.array_equal(first.trainer_log_probs_nats, [-0.5, np.nan, -1.25, -0.5], equal_nan=True)  # type: ignore[arg-type]
    assert second.prompt_ids is not None
    assert second.completion_ids is not None
    assert second.prompt_ids.tolist() == [13, 14, 15]
    assert second.completion_ids.tolist() == [24, 2]
    assert second.drawn is None
    assert second.log_probs_nats is not None
    assert second.log_probs_nats.tolist() == [-0.25, -0.75]
    assert second.trainer_log_probs_nats is not None
    assert second.trainer_log_probs_nats.tolist() == [-0.25, -0.5]
    assert first.group == group


@pytest.mark.parametrize("kind", [as_arrays, as_tensors, dict])
def test_trl(kind: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    check(from_trl(kind(TRL)), last=np.nan)


@pytest.mark.parametrize("kind", [as_arrays, as_tensors])
def test_verl(kind: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    uids = np.array(["u1", "u2"], dtype=object)
    check(from_verl(kind(VERL)), last=-2.0)
    check(from_verl({**kind(VERL), "uid": ["u1", "u2"]}), last=-2.0, group="u1")
    check(
        from_verl(SimpleNamespace(batch=KeysAlone(kind(VERL)), non_tensor_batch={"uid": uids})), last=-2.0, group="u1"
    )


def test_verl_without_padding() -> None:
    """As its transfer queue has them: nested tensors with rows of their own lengths, and no attention mask."""
    torch = pytest.importorskip("torch")
    lengths = {"prompts": (2, 3)}
    rows = {}
    for name, padded in VERL.items():
        if name == "attention_mask":
            continue
        n = lengths.get(name, (4, 2))
        cut = [row[-k:] if name == "prompts" else row[:k] for row, k in zip(padded, n, strict=True)]
        rows[name] = torch.nested.nested_tensor([torch.tensor(row) for row in cut], layout=torch.jagged)
    check(from_verl(KeysAlone(rows)), last=-2.0)
    check(from_verl(KeysAlone({**rows, "uid": ["u1", "u2"]})), last=-2.0, group="u1")
    with pytest.raises(DataError, match="has no prompts"):
        from_verl({name: row for name, row in rows.items() if name != "prompts"})
    with pytest.raises(DataError, match="rollout_log_probs of this batch of verl is padded"):
        from_verl({**rows, "rollout_log_probs": np.zeros((2, 4))})
    short = torch.nested.nested_tensor([torch.zeros(4), torch.zeros(1)], layout=torch.jagged)
    assert [e.reason for e in from_verl({**rows, "old_log_probs": short}).excluded] == [Reason.LENGTHS]


class KeysAlone:
    """As TensorDict: keys and items, but `in` is refused."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self._tensors = tensors

    def keys(self) -> Any:
        return self._tensors.keys()

    def __getitem__(self, name: str) -> Any:
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        raise NotImplementedError("TensorDict does not support membership checks with the `in` keyword")


@pytest.mark.parametrize("batch", [RLHF_WHOLE, RLHF_ACTIONS], ids=["whole", "actions"])
@pytest.mark.parametrize("kind", [as_arrays, as_tensors])
def test_openrlhf(kind: Callable[[dict[str, Any]], dict[str, Any]], batch: dict[str, Any]) -> None:
    """The exact 0 of the last drawn token is missing; those of tokens that were not drawn are not zeros."""
    made = from_openrlhf(SimpleNamespace(**kind(batch)))
    check(made, last=np.nan)
    assert made.n_zero_log_probs == 1
    assert "1 drawn tokens have a log-probability of exactly 0" in made.notes[0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.parquet"):
        made = from_verl(as_arrays(VERL)).write(tmp_path / name)
        back = open_samples(tmp_path / name)
        assert back.format == "freerun"
        assert back.has_log_probs
        assert back.missing == ()
        check(SampleBatch(tuple(s for s in back if isinstance(s, Completion)), ()), last=-2.0)
        assert len(made.samples) == 2


def test_masked_rows_are_left_out_and_said(tmp_path: Path) -> None:
    """TRL masks whole completions with `mask_truncated_completions`: what is left is a selection."""
    masked = as_arrays(TRL)
    masked["completion_mask"][0] = 0
    made = from_trl(masked)
    assert [(e.row, e.reason) for e in made.excluded] == [(0, Reason.EMPTY)]
    assert made.notes == ("1 of 2 rows left out (empty completion: no ids)",)
    masked["completion_mask"][1] = 0
    with pytest.raises(DataError, match="no sample in this batch can be written"):
        from_trl(masked).write(tmp_path / "x.jsonl")
    nothing = as_arrays(RLHF_WHOLE)
    nothing["action_mask"][0] = 0
    assert [e.reason for e in from_openrlhf(nothing).excluded] == [Reason.EMPTY]


def test_log_probs_that_were_copied_are_no_second_computation() -> None:
    """In verl's bypass mode `old_log_probs` is `rollout_log_probs`: engine and trainer would seem to agree perfectly."""
    batch = as_arrays(VERL)
    made = from_verl({**batch, "old_log_probs": batch["rollout_log_probs"]})
    assert [sample.trainer_log_probs_nats for sample in made.samples] == [None, None]
    assert "copied" in made.notes[0]


def test_tensors_that_are_missing_or_do_not_fit() -> None:
    with pytest.raises(DataError, match="this batch of TRL has no completion_mask"):
        from_trl({k: v for k, v in as_arrays(TRL).items() if k != "completion_mask"})
    with pytest.raises(
        DataError, match=r"rollout_log_probs of this batch of verl has the shape \(2, 2\), not \(2, 4\)"
    ):
        from_verl({**as_arrays(VERL), "rollout_log_probs": np.zeros((2, 2))})
    with pytest.raises(DataError, match="do not belong together"):
        from_openrlhf({**as_arrays(RLHF_WHOLE), "action_mask": np.ones((2, 9))})
    without = from_verl({k: v for k, v in as_arrays(VERL).items() if k != "rollout_log_probs"})
    assert "calculate_log_probs=True" in without.notes[0]
    assert without.samples[0].log_probs_nats is None


def test_importing_the_room_loads_nothing_heavy() -> None:
    """Also the table of formats, which help is made from, and the whole way of a batch of arrays."""
    light = "import sys, freerun.samples, freerun.samples.catalogue as c; c.format_named('vllm'); "
    batch = "import numpy as np; from freerun.samples import from_trl; from_trl({}) if 0 else None; "
    for code, heavy in (
        (light, {"numpy", "pyarrow", "torch", "scipy"}),
        (light + batch, {"pyarrow", "torch", "transformers", "scipy"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code + "print(*sys.modules)"], capture_output=True, text=True, check=True
        )
        assert not heavy & set(done.stdout.split())
