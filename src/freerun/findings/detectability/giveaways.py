"""What gives it away: the detector at one length with each group of features alone, and without it."""

from __future__ import annotations

import numpy as np

from freerun.findings.detectability.comparison import Comparison, features_at
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.records.redact import UNAVAILABLE
from freerun.results.finding import Cell, Row, Table
from freerun.stats.detection.two_sample import detect
from freerun.stats.intervals import Interval

GROUPS: dict[str, tuple[str, ...]] = {
    "how surprising (surprisal)": ("surprisal_mean", "surprisal_sd", "prob_under_0.001_share"),
    "how open its laws are (entropy)": ("entropy_mean", "entropy_sd"),
    "surprise against expectation (self-recognition)": ("excess_mean", "self_z"),
    "ranks": ("log_rank_mean", "top1_share", "rank_over_100_share"),
    "drift within the text": ("surprisal_slope", "entropy_slope"),
    "repetition and variety": ("distinct_1", "rep_2", "lag_run_share", "zlib_bytes_per_token"),
    "what the reference knows better": ("reference_gain_mean",),
    "where it ends": ("log_tokens", "ended"),
}


def giveaways(evidence: Evidence, comparison: Comparison) -> Table:
    """AUC on test documents of each group of features alone, and of all likelihood features without it.

    Read at the first measured length at or after H75; at the last one where it is not reached.
    """
    at = int(np.searchsorted(comparison.lengths, comparison.h75.estimate.tokens))
    n = int(comparison.lengths[at])
    laws = features_at(evidence, n)["laws"]

    def auc(columns: list[int], name: str) -> Interval:
        sides = laws.real[:, columns], laws.free[:, :, columns]
        rng = statistics_rng(evidence, f"giveaway/{name}")
        return detect(*sides, train=evidence.panel.train, rng=rng, n_permutations=99).auc

    every = range(len(laws.names))
    aucs: list[tuple[Interval, Interval, str]] = []
    for group, names in GROUPS.items():
        alone = [i for i in every if laws.names[i] in names]
        if alone:
            rest = [i for i in every if i not in alone]
            aucs.append((auc(alone, group), auc(rest, f"not {group}"), group))
    aucs.sort(key=lambda row: -row[0].value)
    groups: list[Row] = [(group, Cell.of(alone, 2), Cell.of(rest, 2)) for alone, rest, group in aucs]
    text = Cell.of(comparison.kinds["text"][at].auc, 2) if evidence.has_text else UNAVAILABLE
    return Table(
        "giveaways",
        f"What gives it away at {n} tokens",
        ("features", "AUC by them alone", "AUC by all others"),
        (
            ("all likelihood features", Cell.of(comparison.kinds["laws"][at].auc, 2), "–"),
            *groups,
            ("the bytes alone (byte n-grams, no law)", text, "–"),
        ),
    )
