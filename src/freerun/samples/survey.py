"""What a whole file of samples holds, counted in one pass before any model is loaded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from freerun.samples.completion import Completion, Excluded, Reason

SHOWN = 3
"""So many excluded rows of each kind are kept to be shown."""


@dataclass(frozen=True)
class Survey:
    """Counts over the samples of a file. Tokens are those of ids, or of reported pieces where there are no ids."""

    n_rows: int
    n_completions: int
    n_tokens: int
    n_drawn_tokens: int
    n_log_probs: int
    """Drawn tokens with a reported log-probability."""
    n_null_log_probs: int
    """Drawn tokens without one, in completions that report others."""
    n_impossible: int
    """Drawn tokens that the engine itself gave no probability at all."""
    n_trainer_log_probs: int
    n_without_prompt: int
    finish_reasons: Mapping[str | None, int]
    excluded: Mapping[Reason, int]
    examples: tuple[Excluded, ...]
    """The first few excluded rows of each kind, in the order of the file."""


def survey(samples: Iterable[Completion | Excluded]) -> Survey:
    """Count what the rows of a file hold.

    Raises:
        DataError: the file turns out to be damaged or cut off.
    """
    counts: Counter[str] = Counter()
    finish_reasons: Counter[str | None] = Counter()
    excluded: defaultdict[Reason, list[Excluded]] = defaultdict(list)
    n_excluded: Counter[Reason] = Counter()
    for sample in samples:
        counts["rows"] += 1
        if isinstance(sample, Excluded):
            n_excluded[sample.reason] += 1
            if n_excluded[sample.reason] <= SHOWN:
                excluded[sample.reason].append(sample)
            continue
        finish_reasons[sample.finish_reason] += 1
        counts.update(_counts(sample))
    return Survey(
        n_rows=counts["rows"],
        n_completions=counts["completions"],
        n_tokens=counts["tokens"],
        n_drawn_tokens=counts["drawn"],
        n_log_probs=counts["log_probs"],
        n_null_log_probs=counts["null"],
        n_impossible=counts["impossible"],
        n_trainer_log_probs=counts["trainer"],
        n_without_prompt=counts["no_prompt"],
        finish_reasons=dict(finish_reasons),
        excluded=dict(n_excluded),
        examples=tuple(sorted((e for some in excluded.values() for e in some), key=lambda e: e.row)),
    )


def _counts(sample: Completion) -> dict[str, int]:
    tokens = sample.completion_ids if sample.completion_ids is not None else sample.pieces or ()
    n_drawn = len(tokens) if sample.drawn is None else int(sample.drawn.sum())
    reported, trainer = sample.log_probs_nats, sample.trainer_log_probs_nats
    n_reported = 0 if reported is None else int((~np.isnan(reported)).sum())
    return {
        "completions": 1,
        "tokens": len(tokens),
        "drawn": n_drawn,
        "log_probs": n_reported,
        "null": 0 if reported is None else n_drawn - n_reported,
        "impossible": 0 if reported is None else int(np.isneginf(reported).sum()),
        "trainer": 0 if trainer is None else int((~np.isnan(trainer)).sum()),
        "no_prompt": int(not sample.has_prompt),
    }
