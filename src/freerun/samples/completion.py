"""Samples that someone else drew, as values: one prompt with what was written after it, and what their file says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Message:
    """One turn of a chat, before any template."""

    role: str
    content: str


@dataclass(frozen=True, eq=False)
class Completion:
    """One sample: a prompt and its completion, as ids, as text, or both.

    Per-token columns belong to `completion_ids` (to the reported `pieces` where a file has no ids). `drawn` is False for tokens
    that stand in the completion but were not drawn from the law: tool output, prefilled or forced tokens. Log-probabilities are
    in nats, NaN where the file reports none, minus infinity where the engine called a token impossible.
    """

    row: int
    """Place in the file, from 0: a line of JSON, a row of a table, a choice of a response."""
    prompt_ids: Int[np.ndarray, " prompt"] | None = None
    completion_ids: Int[np.ndarray, " completion"] | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[Message, ...] | None = None
    """The prompt where it is a chat, which the model's own template has yet to turn into text."""
    pieces: tuple[bytes, ...] | None = None
    """The tokens as bytes, where a file reports log-probabilities but no ids."""
    drawn: Bool[np.ndarray, " completion"] | None = None
    """None: all of them."""
    log_probs_nats: Float[np.ndarray, " completion"] | None = None
    """As the engine that drew the sample reported them."""
    trainer_log_probs_nats: Float[np.ndarray, " completion"] | None = None
    """As a trainer computed them again."""
    weight_versions: tuple[str, ...] | None = None
    """Of the weights that drew the sample: one for all, or one a token. Where a file lists several without saying which token is
    whose, they stand as one, joined by a plus sign."""
    group: str | None = None
    """Samples of one prompt share it."""
    finish_reason: str | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    """What the file says of temperature, top_p and the like, under the file's names."""

    @property
    def has_prompt(self) -> bool:
        """Whether the file says in any way what stood before the completion; it may be empty."""
        return self.prompt_ids is not None or self.prompt is not None or self.messages is not None


ENDED = frozenset({"stop", "eos", "eos_token", "end_of_text", "end_turn", "stop_sequence", "completed", "finished"})
"""What files call a text that ended by itself."""
CUT_OFF = frozenset({"length", "max_tokens", "max_length", "truncated", "abort", "aborted"})


def says_it_ended(finish_reason: str | None) -> bool | None:
    """Whether a text ended by itself, as its file says; None where the file does not say.

    >>> says_it_ended("STOP"), says_it_ended("length"), says_it_ended(None)
    (True, False, None)
    """
    word = (finish_reason or "").lower()
    return True if word in ENDED else False if word in CUT_OFF else None


class Reason(StrEnum):
    """The kinds of fault that a row can have."""

    NOT_JSON = "not JSON"
    OTHER_FORMAT = "another format"
    FAILED_REQUEST = "failed request"
    NO_COMPLETION = "no completion"
    EMPTY = "empty completion"
    NOTHING_DRAWN = "no drawn token"
    NO_PROMPT = "no prompt"
    UNKNOWN_REQUEST = "request not in the file of requests"
    BAD_IDS = "ids that are not whole numbers"
    NEGATIVE_ID = "negative id"
    BEYOND_VOCABULARY = "id beyond the vocabulary"
    BAD_LOG_PROBS = "log-probabilities that are not numbers"
    POSITIVE_LOG_PROB = "log-probability above 0"
    BAD_MASK = "mask that is not 0 or 1"
    LENGTHS = "lengths that differ"
    BAD_TEXT = "text that is not a string"
    SEVERAL_MESSAGES = "several messages in one completion"
    BAD_FIELD = "field of the wrong type"


@dataclass(frozen=True)
class Excluded:
    """A row that cannot be used, and why."""

    row: int
    reason: Reason
    """The kind of fault, the same for all rows that have it; counted in results."""
    detail: str
    """What stands there, for the first few that are shown."""


class Part(StrEnum):
    """What a file of samples may lack."""

    COMPLETION_IDS = "completion ids"
    PROMPT_IDS = "prompt ids"
    PROMPT = "prompt"
    END = "end token"
    SPECIAL_TOKENS = "special tokens"
    DRAWN = "mask of drawn tokens"
    LOG_PROBS = "log-probabilities"


@dataclass(frozen=True)
class Missing:
    """One thing that a file lacks, and what that costs."""

    part: Part
    cost: str
    """One sentence."""
