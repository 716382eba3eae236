"""What gives it away: the detector at one length with each group of features alone, and without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.findings.detectability.comparison import Comparison, compared, features_at
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.records.redact import UNAVAILABLE
from freerun.results.finding import Cell, Row, Table
from freerun.stats.detection.two_sample import detect
from freerun.stats.intervals import Interval


@dataclass(frozen=True)
class Group:
    """Features that say one thing of a text. The first decides the direction: what is so of own text where it is higher, or lower."""

    label: str
    features: tuple[str, ...]
    higher: str
    lower: str


GROUPS = (
    Group(
        "how surprising (surprisal)",
        ("surprisal_mean", "surprisal_sd", "prob_under_0.001_share"),
        "its own words surprise it more than the author's do",
        "its own words surprise it less than the author's do",
    ),
    Group(
        "how open its laws are (entropy)",
        ("entropy_mean", "entropy_sd"),
        "it is less sure of the next word after its own text than after real text",
        "it is surer of the next word after its own text than after real text",
    ),
    Group(
        "surprise against expectation (self-recognition)",
        ("excess_mean", "self_z"),
        "the author surprises it less than it expects, its own text does not",
        "the author surprises it more than it expects, its own text does not",
    ),
    Group(
        "ranks",
        ("log_rank_mean", "top1_share", "rank_over_100_share"),
        "it takes unlikely words more often than the author does",
        "it takes unlikely words less often than the author does",
    ),
    Group(
        "drift within the text",
        ("surprisal_slope", "entropy_slope"),
        "its own text gets harder to predict as it goes on, compared with real text",
        "its own text gets easier to predict as it goes on, compared with real text",
    ),
    Group(
        "repetition and variety",
        ("distinct_1", "rep_2", "lag_run_share", "zlib_bytes_per_token"),
        "its own text repeats itself less than real text does",
        "its own text repeats itself more than real text does",
    ),
    Group(
        "what the reference knows better",
        ("reference_gain_mean",),
        "its own text keeps more closely than real text to the wording that is usual in this corpus",
        "its own text keeps less closely than real text to the wording that is usual in this corpus",
    ),
    Group(
        "where it ends",
        ("log_tokens", "ended"),
        "its own texts are longer than the real ones",
        "its own texts are shorter than the real ones",
    ),
)


@dataclass(frozen=True)
class Giveaway:
    """How well one group of features tells own text from real text by itself, and how well all others do without it."""

    group: Group
    alone: Interval
    rest: Interval
    higher: bool
    """Whether the group's first feature is higher on own text, on average over all pairs."""

    @property
    def words(self) -> str:
        """What is so of own text."""
        return self.group.higher if self.higher else self.group.lower

    @property
    def is_seen(self) -> bool:
        """Whether the group alone does better than chance."""
        return self.alone.low > 0.5


def giveaways(evidence: Evidence) -> tuple[Giveaway, ...]:
    """Every group of likelihood features on test documents, the most telling first, at the length `giveaway_tokens`.

    Nothing where there are too few documents to compare; ask for it by `evidence.once`.
    """
    comparison = evidence.once(compared)
    if not isinstance(comparison, Comparison):
        return ()
    laws = features_at(evidence, giveaway_tokens(comparison))["laws"]

    def auc(columns: list[int], name: str) -> Interval:
        sides = laws.real[:, columns], laws.free[:, :, columns]
        rng = statistics_rng(evidence, f"giveaway/{name}")
        return detect(*sides, train=evidence.panel.train, rng=rng, n_permutations=99).auc

    every = range(len(laws.names))
    found = []
    for group in GROUPS:
        alone = [i for i in every if laws.names[i] in group.features]
        if alone:
            rest = [i for i in every if i not in alone]
            higher = float(laws.free[:, 0, alone[0]].mean()) > float(laws.real[:, alone[0]].mean())
            found.append(Giveaway(group, auc(alone, group.label), auc(rest, f"not {group.label}"), higher))
    return tuple(sorted(found, key=lambda g: -g.alone.value))


def giveaway_tokens(comparison: Comparison) -> int:
    """The first measured length at or after H75; the last one where it is not reached."""
    return int(comparison.lengths[_place(comparison)])


def _place(comparison: Comparison) -> int:
    return int(np.searchsorted(comparison.lengths, comparison.h75.estimate.tokens))


def giveaway_table(evidence: Evidence, comparison: Comparison) -> Table:
    """AUC on test documents of each group of features alone, and of all likelihood features without it."""
    at = _place(comparison)
    groups: list[Row] = [(g.group.label, Cell.of(g.alone, 2), Cell.of(g.rest, 2)) for g in evidence.once(giveaways)]
    text = Cell.of(comparison.kinds["text"][at].auc, 2) if evidence.has_text else UNAVAILABLE
    return Table(
        "giveaways",
        f"What gives it away at {giveaway_tokens(comparison)} tokens",
        ("features", "AUC by them alone", "AUC by all others"),
        (
            ("all likelihood features", Cell.of(comparison.kinds["laws"][at].auc, 2), "–"),
            *groups,
            ("the bytes alone (byte n-grams, no law)", text, "–"),
        ),
    )
