"""How far is checking from generating? Single scores that tell a model's own text from real text, and the ranks of its tokens.

Parts of the self-recognition finding: its own laws alone beside the likelihood ratio against a reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.findings.recognition.quantities import CHECKING_GAP, OWN_SCORE_AUC, RATIO_AUC, Z_AUC
from freerun.records.schema import ArmName
from freerun.results.finding import Cell, Chart, Estimate, Series, Table
from freerun.stats.detection.likelihood_features import MAX_SURPRISAL_NATS, likelihood_features
from freerun.stats.recognition.rank_histogram import RankHistogram, rank_histogram, rank_share_difference
from freerun.stats.recognition.single_scores import SingleScore, auc_difference, best_single_score

INTROSPECTIVE = (
    "self_z",
    "surprisal_mean",
    "surprisal_sd",
    "surprisal_slope",
    "entropy_mean",
    "entropy_sd",
    "entropy_slope",
    "excess_mean",
    "log_rank_mean",
    "top1_share",
    "rank_over_100_share",
    "prob_under_0.001_share",
)
"""Features of a text that need nothing but the model's own laws along it."""
SHORTEST_TOKENS = 8
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Checking:
    """Detectors at the same lengths: z alone, the best single introspective score, the best likelihood ratio."""

    lengths: tuple[int, ...]
    z: tuple[SingleScore, ...]
    own_laws: tuple[SingleScore, ...]
    ratio: tuple[SingleScore, ...]

    @property
    def longest(self) -> int:
        return self.lengths[-1]


def compare_scores(evidence: Evidence) -> Checking | None:
    """None where there are too few pairs."""
    panel = evidence.panel
    if not panel.n_pairs:
        return None
    sides = [panel.columns(panel.real), *(panel.columns(f) for f in panel.free.T)]
    gains = _gains(evidence)
    lengths = tuple(int(n) for n in lengths_up_to(panel.length) if n >= min(SHORTEST_TOKENS, panel.length))
    best = []
    try:
        for n in lengths:
            features, (names, *_) = zip(*(likelihood_features(s, length=n) for s in sides), strict=True)
            own = {x: _sides([f[:, names.index(x)] for f in features]) for x in INTROSPECTIVE if x in names}
            ratio = {name: _sides([g[:, :n].sum(1) for g in gain]) for name, gain in gains.items()}
            kinds = (({"self_z": own["self_z"]}, False), (own, False), (ratio, True))
            best.append([best_single_score(x, train=panel.train, oriented=oriented) for x, oriented in kinds])
    except TooFewDocuments:
        return None
    return Checking(lengths, *zip(*best, strict=True))


def _sides(scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of real texts, and of generated ones by continuation."""
    return scores[0], np.stack(scores[1:], axis=1)


def _gains(evidence: Evidence) -> dict[str, list[np.ndarray]]:
    """ln q − ln r of every token of the panel, for the reference and each of its components; log-probs cut at −60 nats."""
    panel, records = evidence.panel, evidence.records
    columns = {"reference": evidence.reference_log_prob}
    if records.manifest["reference"]["interpolated"]:
        parts = records.tokens["reference_log_probs_nats"].T
        columns |= dict(zip(evidence.reference_names, parts, strict=True))
    own = np.maximum(records.tokens["log_prob_nats"], -MAX_SURPRISAL_NATS)
    at = [records.starts[s][:, None] + np.arange(panel.length) for s in (panel.real, *panel.free.T)]
    gains = {name: own - np.maximum(values, -MAX_SURPRISAL_NATS) for name, values in columns.items()}
    return {name: [gain[a] for a in at] for name, gain in gains.items()}


def gap_estimates(scores: Checking) -> tuple[Estimate, ...]:
    """The AUCs at the last length, and how much the reference adds to its own laws."""
    z, own, ratio, n = scores.z[-1], scores.own_laws[-1], scores.ratio[-1], scores.longest
    how = f"{own.auc.n} test documents, scores as chosen on training documents"
    return (
        Z_AUC.estimate(z.auc, label=f"AUC of z alone at {n} tokens", method=how),
        OWN_SCORE_AUC.estimate(own.auc, label=f"AUC of its best own score at {n} tokens", method=how),
        RATIO_AUC.estimate(ratio.auc, label=f"AUC of the likelihood ratio at {n} tokens", method=how),
        CHECKING_GAP.estimate(auc_difference(ratio, own), method=how),
    )


def checking_chart(scores: Checking) -> Chart:
    """AUC by length of the three detectors."""
    curves = (
        ("its z alone", "free", scores.z),
        ("its best own score", "other", scores.own_laws),
        ("likelihood ratio against the reference", "reference", scores.ratio),
    )
    lowest = min(d.auc.low for _, _, curve in curves for d in curve)
    return Chart(
        name="checking",
        title="How far checking is from generating: single scores that tell its text from real text",
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(float(n) for n in scores.lengths),
        x_scale="log2",
        series=tuple(Series.of(name, role, [d.auc for d in curve]) for name, role, curve in curves),
        y_range=(min(0.4, lowest), 1.0),
        levels=((0.5, "chance"),),
    )


def checking_table(scores: Checking) -> Table:
    """The same with the names of what was chosen."""
    rows = tuple(
        (
            Cell.number(n, unit="tokens"),
            Cell.of(z.auc, 2, "AUC"),
            own.name + (" (higher in its own)" if own.sign > 0 else " (lower in its own)"),
            Cell.of(own.auc, 2, "AUC"),
            ratio.name,
            Cell.of(ratio.auc, 2, "AUC"),
        )
        for n, z, own, ratio in zip(scores.lengths, scores.z, scores.own_laws, scores.ratio, strict=True)
    )
    columns = ("tokens", "z alone, AUC", "best own score", "its AUC", "best ratio against", "its AUC")
    return Table("checking", "Single scores, chosen on training documents, AUC on test documents", columns, rows)


# ---- ranks -------------------------------------------------------------------------------------------------------------


def _vocabulary(evidence: Evidence) -> int:
    return int(evidence.records.manifest["model"]["vocabulary"])


def _ranks(evidence: Evidence, arm: ArmName) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each token of an arm, and its unit."""
    mine = evidence.tokens_of(arm)
    return evidence.records.tokens["rank"][mine], evidence.units[evidence.token_sequence[mine]]


def _histograms(evidence: Evidence) -> dict[str, RankHistogram]:
    size = _vocabulary(evidence)
    return {arm: rank_histogram(*_ranks(evidence, arm), n_vocabulary=size) for arm in ("real", "free")}


def rank_chart(evidence: Evidence) -> Chart:
    """Share of tokens by rank bucket, real against own (GLTR)."""
    histograms = evidence.once(_histograms)
    labels = {"real": "real text", "free": "its own text"}
    return Chart(
        name="ranks",
        title="Rank of the token that came among all that might have",
        x_label="last rank of the bucket (1, 2–10, 11–100, 101–1000, beyond)",
        y_label="share of tokens",
        x=tuple(float(u or _vocabulary(evidence)) for u in histograms["real"].upper),
        x_scale="log2",
        series=tuple(Series.of(labels[arm], arm, h.share) for arm, h in histograms.items()),
        y_range=(0.0, 1.0),
        caption="Tied tokens share the best of their ranks: records do not say how many are tied. Intervals: document-clustered.",
    )


def rank_table(evidence: Evidence) -> Table:
    """The same with paired differences."""
    histograms = evidence.once(_histograms)
    sides = (*_ranks(evidence, "free"), *_ranks(evidence, "real"))
    gaps = rank_share_difference(*sides, n_vocabulary=_vocabulary(evidence))
    columns = (histograms["free"].labels, histograms["free"].share, histograms["real"].share, gaps)
    return Table(
        "ranks",
        "Rank of the token under its own laws",
        ("rank", "own text", "real text", "own − real, paired"),
        tuple(
            (label, Cell.of(own, 3, "share"), Cell.of(real, 3, "share"), Cell.of(gap, 3, "share", sign=True))
            for label, own, real, gap in zip(*columns, strict=True)
        ),
    )
