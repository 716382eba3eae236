"""From inside verl: a DataProto after the rollout, what its transfer queue gives, or a plain dictionary of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from freerun.errors import DataError
from freerun.samples.fields import Draft
from freerun.samples.trainers.batch import SampleBatch, Tensors, collected, kept, span


def from_verl(batch: Any) -> SampleBatch:
    """Return the samples of a batch of verl: prompts padded on the left and responses on the right, or rows of their own lengths.

    Used are `prompts`, `responses`, `attention_mask` (of both; only where they are padded), `response_mask` (1 for what the model
    wrote), and where they are there `rollout_log_probs` (verl writes them with `rollout.calculate_log_probs=True`,
    as newer versions do by themselves), `old_log_probs`, and `uid`, which the samples of one prompt share.

    Raises:
        DataError: a tensor is missing, or of another shape.
    """
    inner = getattr(batch, "batch", None)
    tensors = Tensors(batch if inner is None else inner, "verl")
    columns = _ragged(tensors) if tensors.is_ragged("responses") else _padded(tensors)
    groups = Tensors(getattr(batch, "non_tensor_batch", batch), "verl").others("uid")
    drafts = [
        Draft(
            prompt_ids=columns.prompts[i],
            completion_ids=columns.responses[i],
            drawn=_row(columns.drawn, i, bool),
            log_probs=_row(columns.rollout, i, np.float64),
            trainer_log_probs=_row(columns.old, i, np.float64),
            group=None if groups is None else str(groups[i]),
        )
        for i in range(len(columns.responses))
    ]
    notes = []
    if columns.rollout is None:
        notes.append(
            "no rollout_log_probs: the log-probabilities of the engine are not known; set "
            "actor_rollout_ref.rollout.calculate_log_probs=True"
        )
    return collected(drafts, notes=notes)


Rows = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class _Columns:
    """The rows of a batch without padding; columns that are not there are None."""

    prompts: Rows
    responses: Rows
    drawn: Rows | None
    rollout: Rows | None
    old: Rows | None


def _row(rows: Rows | None, i: int, kind: type) -> np.ndarray | None:
    return None if rows is None else rows[i].astype(kind)


def _padded(tensors: Tensors) -> _Columns:
    prompts = tensors.required("prompts")
    responses = tensors.required("responses")
    attention = tensors.required("attention_mask", like=np.concatenate([prompts, responses], axis=1))
    before, there = np.split(attention.astype(bool), [prompts.shape[1]], axis=1)
    lengths = [span(row) for row in there]

    def cut(name: str) -> Rows | None:
        values = tensors.optional(name, like=responses)
        return None if values is None else [row[:n] for row, n in zip(values, lengths, strict=True)]

    return _Columns(
        [kept(row, mask) for row, mask in zip(prompts, before, strict=True)],
        [row[:n] for row, n in zip(responses, lengths, strict=True)],
        cut("response_mask"),
        cut("rollout_log_probs"),
        cut("old_log_probs"),
    )


def _ragged(tensors: Tensors) -> _Columns:
    """As verl's transfer queue has them: nested tensors."""
    prompts, responses = tensors.rows("prompts"), tensors.rows("responses")
    if prompts is None or responses is None:
        raise DataError("this batch of verl has no prompts; ask its transfer queue for prompts and responses together")
    return _Columns(
        prompts,
        responses,
        tensors.rows("response_mask"),
        tensors.rows("rollout_log_probs"),
        tensors.rows("old_log_probs"),
    )
