"""Special tokens in the texts: markers of turns, of files, of padding, which real text never holds and a model may write all the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence
from freerun.findings.special_tokens import spellings
from freerun.stats.detection.auc import auc_interval, unit_aucs
from freerun.stats.detection.horizon import HorizonResult, horizon_interval
from freerun.stats.intervals import Interval, clopper_pearson

LEAST_TEST_PAIRS = 8
"""Fewest test documents that reach a length uncut, for an AUC at that length."""


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
    """Test documents of which no text, real or own, holds one: they reach the last length uncut."""
    h75_cut: HorizonResult | None
    """H75 of the texts cut before their first one, by the same detectors: a document counts at the lengths that all its texts reach.
    None where nothing is cut, or too few reach even the first length."""


def control_tokens(evidence: Evidence, comparison: Comparison) -> ControlTokens | None:
    """Count them, and read H75 off the texts cut there; None where it is not known which ids they are."""
    known = spellings(evidence)
    if known is None:
        return None
    panel, ids, starts = evidence.panel, evidence.records.tokens["token_id"], evidence.records.starts
    sides = np.column_stack([panel.real, panel.free])
    hits = panel.take(known.among(ids), sides)  # [pairs, sides, tokens]
    holds = np.asarray(hits.any(axis=-1))
    real, own = holds[:, 0], holds[:, 1:]
    count: Counter[str] = Counter()
    for pair, replicate in np.argwhere(own):
        written = ids[starts[panel.free[pair, replicate]] + np.flatnonzero(hits[pair, 1 + replicate])]
        count.update({known.of(int(i)) or "" for i in np.unique(written)})
    anywhere = hits[comparison.test_pairs].any(axis=1)
    uncut = np.where(anywhere.any(axis=1), anywhere.argmax(axis=1), panel.length)  # tokens before the first hit
    return ControlTokens(
        real=clopper_pearson(int(real.sum()), panel.n_pairs),
        own=clopper_pearson(int(own.any(axis=-1).sum()), panel.n_pairs),
        own_texts=int(own.sum()),
        n_own_texts=own.size,
        written=tuple(sorted(count.items(), key=lambda item: (-item[1], item[0]))),
        first_token=float(np.median(hits[:, 1:][own].argmax(axis=-1) + 1)) if own.any() else None,
        n_left=int((uncut == panel.length).sum()),
        h75_cut=_h75_cut(comparison, uncut),
    )


def _h75_cut(comparison: Comparison, uncut: Int[np.ndarray, " test"]) -> HorizonResult | None:
    """H75 where document i counts up to `uncut[i]` tokens, the detectors as they were fitted."""
    kept = uncut[None, :] >= comparison.lengths[:, None]
    measured = int((kept.sum(axis=1) >= LEAST_TEST_PAIRS).sum())  # the first so many lengths: fewer reach a longer one
    if kept.all() or not measured:
        return None
    intervals = []
    for reach, d in zip(kept[:measured], comparison.main.detections, strict=False):
        real, free = d.scores_real[reach], d.scores_free[reach]
        found, n = unit_aucs(real[None], free[None]), real.size
        # fewer test documents, the same detectors: what training contributes stays
        variance = float(np.square(found.influence).sum()) / (n * (n - 1)) + d.spread.variance_of_training
        intervals.append(auc_interval(float(found.auc[0]), variance, n_units=n, replicates=float(found.replicates[0])))
    columns = (np.array([getattr(i, end) for i in intervals]) for end in ("value", "low", "high"))
    return horizon_interval(comparison.lengths[:measured], *columns, level_auc=0.75)
