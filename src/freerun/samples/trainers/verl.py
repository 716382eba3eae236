"""From inside verl: a DataProto after the rollout, or a plain dictionary of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from freerun.samples.fields import Draft
from freerun.samples.trainers.batch import SampleBatch, Tensors, as_array, collected, kept, span


def from_verl(batch: Any) -> SampleBatch:
    """Return the samples of a batch of verl: prompts padded on the left, responses on the right.

    Used are `prompts`, `responses`, `attention_mask` (of both), `response_mask` (1 for what the model wrote), and where they
    are there `rollout_log_probs` (verl writes them with `actor_rollout_ref.rollout.calculate_log_probs=True`), `old_log_probs`,
    and `uid`, which the samples of one prompt share.

    Raises:
        DataError: a tensor is missing, or of another shape.
    """
    inner = getattr(batch, "batch", None)
    tensors = Tensors(batch if inner is None else inner, "verl")
    prompts = tensors.required("prompts")
    responses = tensors.required("responses")
    attention = tensors.required("attention_mask", like=np.concatenate([prompts, responses], axis=1))
    prompt_mask, there = np.split(attention.astype(bool), [prompts.shape[1]], axis=1)
    response_mask = tensors.optional("response_mask", like=responses)
    sampler = tensors.optional("rollout_log_probs", like=responses)
    trainer = tensors.optional("old_log_probs", like=responses)
    groups = _groups(batch)
    drafts = []
    for i in range(len(responses)):
        n = span(there[i])
        drafts.append(
            Draft(
                prompt_ids=kept(prompts[i], prompt_mask[i]),
                completion_ids=responses[i, :n],
                drawn=None if response_mask is None else response_mask[i, :n].astype(bool),
                log_probs=None if sampler is None else sampler[i, :n].astype(np.float64),
                trainer_log_probs=None if trainer is None else trainer[i, :n].astype(np.float64),
                group=None if groups is None else groups[i],
            )
        )
    notes = []
    if sampler is None:
        notes.append(
            "no rollout_log_probs: the log-probabilities of the engine are not known; set "
            "actor_rollout_ref.rollout.calculate_log_probs=True"
        )
    return collected(drafts, notes=notes)


def _groups(batch: Any) -> list[Any] | None:
    """The `uid` of each row, which stands beside the tensors."""
    others = getattr(batch, "non_tensor_batch", batch)
    uids = others.get("uid") if isinstance(others, Mapping) else None
    return None if uids is None else [str(uid) for uid in as_array(uids)]
