"""Samples that someone else drew, as values: one prompt with what was written after it, and what their file says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Completion:
    """One sample: a prompt and its completion, as ids, as text, or both.

    Per-token columns belong to `completion_ids` (to the reported pieces where a file has no ids). `drawn` is False for tokens that
    stand in the completion but were not drawn from the law: tool output, prefilled or forced tokens. Log-probabilities are in
    nats, NaN where the file reports none.
    """

    row: int
    """Place in the file, from 0: a line of JSON, a row of a table, a choice of a response."""
    prompt_ids: Int[np.ndarray, " prompt"] | None = None
    completion_ids: Int[np.ndarray, " completion"] | None = None
    prompt: str | None = None
    completion: str | None = None
    drawn: Bool[np.ndarray, " completion"] | None = None
    """None: all of them."""
    log_probs_nats: Float[np.ndarray, " completion"] | None = None
    """As the engine that drew the sample reported them."""
    trainer_log_probs_nats: Float[np.ndarray, " completion"] | None = None
    """As a trainer computed them again."""
    weight_versions: tuple[str, ...] | None = None
    """Of the weights that drew the sample: one for all, or one a token."""
    group: str | None = None
    """Samples of one prompt share it."""
    finish_reason: str | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    """What the file says of temperature, top_p and the like, under the file's names."""


@dataclass(frozen=True)
class Excluded:
    """A row that cannot be used, and why."""

    row: int
    reason: str
    """A short name of the kind of fault, the same for all rows that have it; counted in results."""
    detail: str
    """What stands there, for the first few that are shown."""
