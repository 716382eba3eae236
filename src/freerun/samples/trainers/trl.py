"""From inside TRL: what `_generate_and_score_completions` of its GRPO trainer returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from freerun.samples.fields import Draft
from freerun.samples.trainers.batch import SampleBatch, Tensors, collected, kept, span


def from_trl(batch: Any) -> SampleBatch:
    """Return the samples of a batch of TRL (GRPO, RLOO): prompts padded on the left, completions on the right.

    Used are `prompt_ids`, `prompt_mask`, `completion_ids`, `completion_mask`, and where they are there `tool_mask`
    (1 for what the model wrote), `sampling_per_token_logps` and `old_per_token_logps`.

    Raises:
        DataError: a tensor is missing, or of another shape.
    """
    tensors = Tensors(batch, "TRL")
    prompts = tensors.required("prompt_ids")
    completions = tensors.required("completion_ids")
    prompt_mask = tensors.required("prompt_mask", like=prompts)
    completion_mask = tensors.required("completion_mask", like=completions)
    tool_mask = tensors.optional("tool_mask", like=completions)
    sampler = tensors.optional("sampling_per_token_logps", like=completions)
    trainer = tensors.optional("old_per_token_logps", like=completions)
    drafts = []
    for i in range(len(completions)):
        n = span(completion_mask[i].astype(bool))
        drafts.append(
            Draft(
                prompt_ids=kept(prompts[i], prompt_mask[i]),
                completion_ids=completions[i, :n],
                drawn=None if tool_mask is None else tool_mask[i, :n].astype(bool),
                log_probs=None if sampler is None else sampler[i, :n].astype(np.float64),
                trainer_log_probs=None if trainer is None else trainer[i, :n].astype(np.float64),
            )
        )
    notes = (
        []
        if sampler is not None
        else ["no sampling_per_token_logps: the log-probabilities of the engine are not known"]
    )
    return collected(drafts, notes=notes)
