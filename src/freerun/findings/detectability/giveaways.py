"""What gives it away: the detector at one length with each group of features alone, and without it."""

from __future__ import annotations

import numpy as np

from freerun.findings.detectability.comparison import Comparison, features_at
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.plain_text import PlainText
from freerun.results.finding import Table
from freerun.stats.detection.two_sample import Detection, detect

GROUPS: dict[str, tuple[str, ...]] = {
    "how surprising (surprisal)": ("surprisal_mean", "surprisal_sd", "prob_under_0.001_share"),
    "how open its laws are (entropy)": ("entropy_mean", "entropy_sd"),
    "surprise against expectation (self-recognition)": ("excess_mean", "self_z"),
    "ranks": ("log_rank_mean", "top1_share", "rank_over_100_share"),
    "drift within the text": ("surprisal_slope", "entropy_slope"),
    "repetition and variety": ("distinct_1", "rep_2", "lag_run_share", "zlib_bytes_per_token"),
    "what the reference knows better": ("reference_gain_mean",),
}


def giveaway_length(found: Comparison) -> int:
    """The first measured length at or after H75; the last one where it is not reached."""
    wanted = found.main.horizons[0.75].estimate.tokens
    return next(int(n) for n in found.lengths if n >= wanted)


def giveaways(evidence: Evidence, found: Comparison) -> Table:
    """AUC on test documents of each group of features alone, and of all likelihood features without it."""
    n = giveaway_length(found)
    panel = evidence.panel
    features = features_at(evidence, PlainText(evidence), n, None)
    laws = features["laws"]

    def judged(columns: list[int], name: str) -> Detection:
        return detect(
            laws.real[:, columns],
            laws.free[:, :, columns],
            train=panel.train,
            rng=statistics_rng(evidence, f"giveaway/{name}"),
            n_resamples=400,
            n_permutations=99,
        )

    every = list(range(len(laws.names)))
    rows: list[tuple[float, tuple[str, ...]]] = []
    for group, names in GROUPS.items():
        mine = [i for i in every if laws.names[i] in names]
        if not mine:
            continue
        alone, rest = judged(mine, group), judged([i for i in every if i not in mine], f"not {group}")
        rows.append((alone.auc.value, (group, _said(alone), _said(rest))))
    rows.sort(key=lambda row: -row[0])
    text = found.kinds["text"][int(np.searchsorted(found.lengths, n))]
    whole = found.kinds["laws"][int(np.searchsorted(found.lengths, n))]
    return Table(
        "giveaways",
        f"What gives it away at {n} tokens",
        ("features", "AUC by them alone", "AUC by all others"),
        (
            ("all likelihood features", _said(whole), "–"),
            *(cells for _, cells in rows),
            ("the bytes alone (byte n-grams, no law)", _said(text), "–"),
        ),
    )


def _said(d: Detection) -> str:
    return f"{d.auc.value:.2f} ({d.auc.low:.2f} to {d.auc.high:.2f})"
