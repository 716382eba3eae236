"""From inside OpenRLHF: an Experience, or a dictionary of its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from freerun.errors import DataError
from freerun.samples.fields import Draft
from freerun.samples.trainers.batch import SampleBatch, Tensors, collected, span, without_zeros


def from_openrlhf(batch: Any) -> SampleBatch:
    """Return the samples of an Experience of OpenRLHF: prompt and response in one row, padding on either side.

    Used are `sequences` and `attention_mask`, `action_mask` (1 for what the model wrote; its last column belongs to the last of
    the sequence, so it may have one column less, or as many as the longest response), and where they are there
    `rollout_log_probs` and `action_log_probs`, which have the columns of `action_mask`. OpenRLHF writes 0.0 where its engine
    reported nothing: those are counted, and written as missing.

    Raises:
        DataError: a tensor is missing, or of another shape.
    """
    tensors = Tensors(batch, "OpenRLHF")
    sequences = tensors.required("sequences")
    attention = tensors.required("attention_mask")
    actions = tensors.required("action_mask")
    if attention.shape != sequences.shape or not 0 < actions.shape[1] <= sequences.shape[1]:
        raise DataError(
            f"sequences {sequences.shape}, attention_mask {attention.shape} and action_mask {actions.shape} of this batch of "
            "OpenRLHF do not belong together"
        )
    sampler = tensors.optional("rollout_log_probs", like=actions)
    trainer = tensors.optional("action_log_probs", like=actions)
    there, drawn = attention.astype(bool), actions.astype(bool)
    sampler, n_zeros = without_zeros(sampler, drawn & there[:, -actions.shape[1] :])
    drafts = [
        _sample(
            sequences[i],
            there[i],
            drawn[i],
            None if sampler is None else sampler[i],
            None if trainer is None else trainer[i],
        )
        for i in range(len(sequences))
    ]
    notes = [] if sampler is not None else ["no rollout_log_probs: the log-probabilities of the engine are not known"]
    return collected(drafts, n_zero_log_probs=n_zeros, notes=notes)


def _sample(
    sequence: np.ndarray, there: np.ndarray, drawn: np.ndarray, sampler: np.ndarray | None, trainer: np.ndarray | None
) -> Draft:
    """One row: what stands before its first drawn token is its prompt, and it ends where its tokens end."""
    offset = len(sequence) - len(drawn)
    if not drawn.any():
        return Draft(prompt_ids=sequence[there], completion_ids=[])
    start, end = int(np.flatnonzero(drawn)[0]), span(there) - offset
    before = slice(0, offset + start)
    return Draft(
        prompt_ids=sequence[before][there[before]],
        completion_ids=sequence[offset + start : offset + end],
        drawn=drawn[start:end],
        log_probs=None if sampler is None else sampler[start:end].astype(np.float64),
        trainer_log_probs=None if trainer is None else trainer[start:end].astype(np.float64),
    )
