"""How far is checking from generating? Single scores that tell a model's own text from real text, and the ranks of its tokens.

Parts of the self-recognition finding: its own laws alone beside the likelihood ratio against a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, lengths_up_to, statistics_rng
from freerun.results.finding import Chart, Estimate, Series, Table
from freerun.stats.detection.likelihood_features import MAX_SURPRISAL_NATS, likelihood_features
from freerun.stats.intervals import Interval, bootstrap_groups
from freerun.stats.recognition.rank_histogram import rank_histogram, rank_share_difference
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
    n_pairs: int


def checking(evidence: Evidence) -> Checking | None:
    """None where there are too few pairs."""
    panel = evidence.panel
    if not panel.n_pairs:
        return None
    sides = [panel.columns(panel.real), *(panel.columns(f) for f in panel.free.T)]
    gains = _gains(evidence)
    n_test = int((~panel.train).sum())
    lengths = [int(n) for n in lengths_up_to(panel.length) if n >= min(SHORTEST_TOKENS, panel.length)]
    found = []
    try:
        counts = bootstrap_groups(
            np.arange(n_test), n_resamples=N_RESAMPLES, rng=statistics_rng(evidence, "single scores")
        )
        for n in lengths:
            features = [likelihood_features(s, length=n) for s in sides]
            names = features[0][1]
            own = {
                name: _pair([f[:, names.index(name)] for f, _ in features]) for name in INTROSPECTIVE if name in names
            }
            ratio = {name: _pair([g[:, :n].sum(1) for g in gain]) for name, gain in gains.items()}
            found.append(
                (
                    best_single_score({"self_z": own["self_z"]}, train=panel.train, counts=counts),
                    best_single_score(own, train=panel.train, counts=counts),
                    best_single_score(ratio, train=panel.train, counts=counts, oriented=True),
                )
            )
    except TooFewDocuments:
        return None
    z, own_laws, ratios = zip(*found, strict=True)
    return Checking(tuple(lengths), z, own_laws, ratios, panel.n_pairs)


def _pair(sides: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return sides[0], np.stack(sides[1:], axis=1)


def _gains(evidence: Evidence) -> dict[str, list[np.ndarray]]:
    """ln q − ln r of every token of the panel, for the reference and each of its components; log-probs cut at −60 nats."""
    panel, records = evidence.panel, evidence.records
    columns = {"reference": evidence.reference_log_prob}
    if records.manifest["reference"]["interpolated"]:
        parts = records.tokens["reference_log_probs_nats"].T
        columns |= dict(zip(evidence.reference_names, parts, strict=True))
    out = {}
    for name, values in columns.items():
        gain = np.maximum(records.tokens["log_prob_nats"], -MAX_SURPRISAL_NATS) - np.maximum(
            values, -MAX_SURPRISAL_NATS
        )
        at = [records.starts[s][:, None] + np.arange(panel.length) for s in (panel.real, *panel.free.T)]
        out[name] = [gain[a] for a in at]
    return out


def gap_estimates(found: Checking | None) -> tuple[Estimate, ...]:
    """The AUCs at the last length, and how much the reference adds to its own laws."""
    if found is None:
        return ()
    own, ratio, n = found.own_laws[-1], found.ratio[-1], found.lengths[-1]
    how = f"document bootstrap of {own.auc.n} test documents, detectors as chosen on training documents"
    return (
        estimate("z_auc", f"AUC of z alone at {n} tokens", found.z[-1].auc, "AUC", "document", how),
        estimate("introspective_auc", f"AUC of its best own score at {n} tokens", own.auc, "AUC", "document", how),
        estimate("reference_lr_auc", f"AUC of the likelihood ratio at {n} tokens", ratio.auc, "AUC", "document", how),
        estimate(
            "checking_gap_auc", "Likelihood ratio minus own score", auc_difference(ratio, own), "AUC", "document", how
        ),
    )


def checking_chart(found: Checking | None) -> tuple[Chart, ...]:
    """AUC by length of the three detectors."""
    if found is None:
        return ()
    series = (
        _series("its z alone", "free", [d.auc for d in found.z]),
        _series("its best own score", "other", [d.auc for d in found.own_laws]),
        _series("likelihood ratio against the reference", "reference", [d.auc for d in found.ratio]),
    )
    lowest = min(d.auc.low for curve in (found.z, found.own_laws, found.ratio) for d in curve)
    return (
        Chart(
            name="checking",
            title="How far checking is from generating: single scores that tell its text from real text",
            x_label="tokens after the cut",
            y_label="AUC on test documents",
            x=tuple(float(n) for n in found.lengths),
            x_scale="log2",
            series=series,
            y_range=(min(0.4, lowest), 1.0),
            levels=((0.5, "chance"),),
        ),
    )


def checking_table(found: Checking | None) -> tuple[Table, ...]:
    """The same with the names of what was chosen."""
    if found is None:
        return ()
    rows = tuple(
        (
            str(n),
            spell(z.auc, 2),
            own.name + (" (higher in its own)" if own.sign > 0 else " (lower in its own)"),
            spell(own.auc, 2),
            ratio.name,
            spell(ratio.auc, 2),
        )
        for n, z, own, ratio in zip(found.lengths, found.z, found.own_laws, found.ratio, strict=True)
    )
    columns = ("tokens", "z alone, AUC", "best own score", "its AUC", "best ratio against", "its AUC")
    return (Table("checking", "Single scores, chosen on training documents, AUC on test documents", columns, rows),)


# ---- ranks -------------------------------------------------------------------------------------------------------------


def rank_chart(evidence: Evidence) -> Chart:
    """Share of tokens by rank bucket, real against own (GLTR)."""
    tokens, size = evidence.records.tokens, int(evidence.records.manifest["model"]["vocabulary"])
    series = []
    x: tuple[float, ...] = ()
    for arm, label in (("real", "real text"), ("free", "its own text")):
        mine = evidence.tokens_of(arm)
        found = rank_histogram(tokens["rank"][mine], evidence.units[evidence.token_sequence[mine]], n_vocabulary=size)
        x = tuple(float(size if u is None else u) for u in found.upper)
        series.append(_series(label, arm, found.share))
    return Chart(
        name="ranks",
        title="Rank of the token that came among all that might have",
        x_label="last rank of the bucket (1, 2–10, 11–100, 101–1000, beyond)",
        y_label="share of tokens",
        x=x,
        x_scale="log2",
        series=tuple(series),
        y_range=(0.0, 1.0),
        caption="Tied tokens share the best of their ranks: records do not say how many are tied. Intervals: document-clustered.",
    )


def rank_table(evidence: Evidence) -> Table:
    """The same with paired differences."""
    tokens, size = evidence.records.tokens, int(evidence.records.manifest["model"]["vocabulary"])
    own, real = evidence.tokens_of("free"), evidence.tokens_of("real")
    units = evidence.units[evidence.token_sequence]
    shares = [rank_histogram(tokens["rank"][m], units[m], n_vocabulary=size) for m in (own, real)]
    gaps = rank_share_difference(tokens["rank"][own], units[own], tokens["rank"][real], units[real], n_vocabulary=size)
    rows = tuple(
        (label, *(spell(h.share[k], 3) for h in shares), spell(gaps[k], 3, sign=True))
        for k, label in enumerate(shares[0].labels)
    )
    return Table(
        "ranks", "Rank of the token under its own laws", ("rank", "own text", "real text", "own − real, paired"), rows
    )


# ---- words -------------------------------------------------------------------------------------------------------------


def _series(name: str, role: str, found: Sequence[Interval]) -> Series:
    return Series(name, role, tuple(i.value for i in found), tuple(i.low for i in found), tuple(i.high for i in found))


def estimate(name: str, label: str, found: Interval, unit: str, independent: str, method: str) -> Estimate:
    """An interval as an estimate."""
    return Estimate(name, label, found.value, unit, found.low, found.high, found.level, found.n, independent, method)


def spell(found: Interval, digits: int, *, sign: bool = False) -> str:
    """An interval as the cell of a table."""
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})".replace("-", "−")
