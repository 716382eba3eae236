"""What a file alone cannot show: ids against the vocabulary of a model, and prompts where they are needed."""

from __future__ import annotations

from freerun.samples.completion import Completion, Excluded, Reason


def check_vocabulary(sample: Completion, vocabulary_size: int) -> Completion | Excluded:
    """Return the sample, or that it has an id beyond the vocabulary, and where."""
    for what, ids in (("prompt", sample.prompt_ids), ("completion", sample.completion_ids)):
        if ids is not None and len(ids) and ids.max() >= vocabulary_size:
            at = int(ids.argmax())
            detail = f"{what} id {int(ids[at])} at position {at}; the vocabulary has {vocabulary_size:,} ids"
            return Excluded(sample.row, Reason.BEYOND_VOCABULARY, detail)
    return sample


def check_prompt(sample: Completion) -> Completion | Excluded:
    """Return the sample, or that the file does not say what stood before it; an empty prompt is one."""
    return sample if sample.has_prompt else Excluded(sample.row, Reason.NO_PROMPT, "no prompt as ids, text or messages")
