"""Special tokens in the texts: markers of turns, of files, of padding, which real text never holds and a model may write all the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.special_tokens import spellings
from freerun.stats.detection.auc import auc
from freerun.stats.detection.horizon import HorizonResult, horizon_bootstrap
from freerun.stats.detection.two_sample import unit_auc_draws
from freerun.stats.intervals import Interval, bootstrap_groups, clopper_pearson

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


def control_tokens(evidence: Evidence, found: Comparison) -> ControlTokens | None:
    """Count them, and read H75 off the texts cut there; None where it is not known which ids they are."""
    known = spellings(evidence)
    if known is None:
        return None
    panel, ids = evidence.panel, evidence.records.tokens["token_id"]

    def hits(sequences: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n tokens"]:
        return known.among(ids[evidence.records.starts[sequences][:, None] + np.arange(panel.length)[None, :]])

    real_at = hits(panel.real)
    real = real_at.any(axis=-1)
    own_at = np.stack([hits(side) for side in panel.free.T], axis=1)  # [pairs, continuations, tokens]
    own = own_at.any(axis=-1)
    count: Counter[str] = Counter()
    for pair, rep in np.argwhere(own):
        mine = ids[evidence.records.starts[panel.free[pair, rep]] + np.flatnonzero(own_at[pair, rep])]
        count.update({known.of(int(i)) or "" for i in np.unique(mine)})
    any_own = np.asarray(own.any(axis=-1))
    first = _first(real_at | own_at.any(axis=1))[found.test_pairs]
    return ControlTokens(
        real=clopper_pearson(int(real.sum()), panel.n_pairs),
        own=clopper_pearson(int(any_own.sum()), panel.n_pairs),
        own_texts=int(own.sum()),
        n_own_texts=own.size,
        written=tuple(sorted(count.items(), key=lambda item: (-item[1], item[0]))),
        first_token=float(np.median(own_at[own].argmax(axis=-1) + 1)) if own.any() else None,
        n_left=int((first == panel.length).sum()),
        h75_cut=_h75_cut(evidence, found, first),
    )


def _first(hits: Bool[np.ndarray, "pairs tokens"]) -> Int[np.ndarray, " pairs"]:
    """Tokens before the first hit; all of them where there is none."""
    return np.asarray(np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1]))


def _h75_cut(evidence: Evidence, found: Comparison, uncut: Int[np.ndarray, " test"]) -> HorizonResult | None:
    """H75 where document i counts up to `uncut[i]` tokens, the detectors as they were fitted. Resamples are of documents, the same
    at every length."""
    kept = uncut[None, :] >= found.lengths[:, None]
    measured = int((kept.sum(axis=1) >= LEAST_TEST_PAIRS).sum())  # the first so many lengths: fewer reach a longer one
    if kept.all() or not measured:
        return None
    counts = bootstrap_groups(np.arange(uncut.size), n_resamples=1000, rng=statistics_rng(evidence, "control tokens"))
    aucs, draws = [], []
    for here, d in zip(kept[:measured], found.main.detections, strict=False):
        real, free = d.scores_real[here], d.scores_free[here]
        aucs.append(auc(free.ravel(), real))
        some = counts[:, here]
        there = np.asarray(some.sum(axis=1) > 0)  # a resample may have none that reach this length: it says nothing
        some = np.where(there[:, None], some, 1)
        draws.append(np.where(there, unit_auc_draws(real, free, some), 0.5))
    n_units = int(kept[measured - 1].sum())
    return horizon_bootstrap(
        found.lengths[:measured], np.stack(draws, axis=1), np.array(aucs), level_auc=0.75, n_units=n_units
    )
