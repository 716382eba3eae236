"""Special tokens in the texts: markers of turns, of files, of padding, which real text never holds and a model may write all the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from freerun.findings.comparing import Comparison
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.special_tokens import spellings
from freerun.stats.auc import auc
from freerun.stats.horizon import HorizonResult, auc_draws, horizon_bootstrap
from freerun.stats.intervals import Interval, clopper_pearson

LEAST_TEST_PAIRS = 8
"""Fewest test documents that a horizon without the others is read off."""


@dataclass(frozen=True)
class ControlTokens:
    """Texts of the panel, up to its length, that hold a special token which ends nothing."""

    real: Interval
    """Share of documents whose real continuation holds one."""
    own: Interval
    """Share of documents of which an own text (any of the continuations) holds one."""
    own_texts: int
    n_own_texts: int
    written: tuple[tuple[str, int], ...]
    """Spelling, and the number of own texts that hold it; the most frequent first."""
    first_token: float | None
    """Where the first of them stands, counted from 1: the median over own texts that hold one; None where none does."""
    n_left: int
    """Test documents of which no text, real or own, holds one."""
    h75_without: HorizonResult | None
    """H75 on these by the same detectors; None where nothing is left out, or too few are left."""


def control_tokens(evidence: Evidence, found: Comparison) -> ControlTokens | None:
    """Count them, and read H75 off the documents without; None where it is not known which ids they are."""
    known = spellings(evidence)
    if known is None:
        return None
    panel, ids = evidence.panel, evidence.records.tokens["token_id"]

    def hits(sequences: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n tokens"]:
        return known.among(ids[evidence.records.starts[sequences][:, None] + np.arange(panel.length)[None, :]])

    real = hits(panel.real).any(axis=-1)
    own_at = np.stack([hits(side) for side in panel.free.T], axis=1)  # [pairs, continuations, tokens]
    own = own_at.any(axis=-1)
    count: Counter[str] = Counter()
    for pair, rep in np.argwhere(own):
        mine = ids[evidence.records.starts[panel.free[pair, rep]] + np.flatnonzero(own_at[pair, rep])]
        count.update({known.of(int(i)) or "" for i in np.unique(mine)})
    any_own = np.asarray(own.any(axis=-1))
    clean = ~(np.asarray(real) | any_own)[found.test_pairs]
    return ControlTokens(
        real=clopper_pearson(int(real.sum()), panel.n_pairs),
        own=clopper_pearson(int(any_own.sum()), panel.n_pairs),
        own_texts=int(own.sum()),
        n_own_texts=own.size,
        written=tuple(sorted(count.items(), key=lambda item: (-item[1], item[0]))),
        first_token=float(np.median(own_at[own].argmax(axis=-1) + 1)) if own.any() else None,
        n_left=int(clean.sum()),
        h75_without=_h75_of(evidence, found, clean),
    )


def _h75_of(evidence: Evidence, found: Comparison, kept: Bool[np.ndarray, " test"]) -> HorizonResult | None:
    """H75 on some of the test documents, the detectors as they were fitted."""
    if kept.all() or kept.sum() < LEAST_TEST_PAIRS:
        return None
    real = [d.scores_real[kept] for d in found.main.detections]
    free = [d.scores_free[kept] for d in found.main.detections]
    return horizon_bootstrap(
        found.lengths,
        auc_draws(real, free, rng=statistics_rng(evidence, "control tokens")),
        np.array([auc(f.ravel(), r) for r, f in zip(real, free, strict=True)]),
        level_auc=0.75,
        n_units=int(kept.sum()),
    )
