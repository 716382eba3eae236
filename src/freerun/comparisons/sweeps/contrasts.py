"""What context does to the gap: runs of one plan that differ only in what stands before the same continuations.

All settings are compared on the documents that are whole in every one of them, by the detectors of each run's own report, fitted on
its own training documents. Nothing here splits the gap into causes: context tells the source and changes the predictor's own error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.comparisons.curves import JointCurves, pick_detectors, scored_curve
from freerun.comparisons.terms import align
from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.stats.detection.paired_horizon import ScoredCurve
from freerun.stats.detection.resampled_detectors import refitted_auc_draws, resampled_contrast
from freerun.stats.detection.two_sample import Detection
from freerun.stats.intervals import Interval, bootstrap_groups, ratio_of_group_sums
from freerun.stats.paired import PairedDifference, contrast_of_ratios, slope_weights

N_RESAMPLES = 400
"""Resamples on which every detector is fitted again: they fix a standard error to 4%."""


@dataclass(frozen=True)
class OwnTextRefused:
    """Why settings are not compared: in some of them own text is refused as evidence."""

    settings: tuple[str, ...]

    def __str__(self) -> str:
        which = ", ".join(self.settings)
        return f"own text is refused as evidence in {which}, since the sampler's law is not the scorer's"


@dataclass(frozen=True)
class SettingCurve:
    """AUC by length in one setting, on the test documents that all settings have whole."""

    scored: ScoredCurve
    detections: tuple[Detection, ...]
    picked: tuple[str, ...]
    """At each length the kind of detector that was picked on training documents."""
    refitted: Float[np.ndarray, "resamples lengths"]
    n_dropped: int
    """Pairs of this setting that ended before the last token, or that another setting lacks."""

    @property
    def mean_auc(self) -> float:
        """Mean over the measured lengths, 1, 2, 4, … tokens: it is never censored, as a horizon can be."""
        return float(np.mean([d.auc.value for d in self.detections]))


@dataclass(frozen=True)
class RealLoss:
    """Loss on the same real tokens: sums and counts by unit, over the tokens that the setting holds possible."""

    tops: Float[np.ndarray, " units"]
    bottoms: Float[np.ndarray, " units"]
    n_impossible: int


@dataclass(frozen=True)
class Swept:
    """All settings of a sweep, measured on the same documents."""

    curves: tuple[SettingCurve, ...]
    joint: JointCurves
    """The detectors as fitted, test documents resampled together."""
    losses: tuple[RealLoss, ...]
    n_train: int
    n_test: int

    @property
    def lengths(self) -> Int[np.ndarray, " lengths"]:
        """The lengths measured, in tokens."""
        return self.joint.lengths

    def mean_auc(self, setting: int) -> PairedDifference:
        """The mean AUC over lengths with its interval."""
        return self.contrast([setting], np.ones(1))

    def difference(self, first: int, second: int) -> PairedDifference:
        """Mean AUC of the second setting minus that of the first."""
        return self.contrast([first, second], np.array([-1.0, 1.0]))

    def slope(self, settings: Sequence[int], x: Float[np.ndarray, " settings"]) -> PairedDifference:
        """Least-squares slope of the mean AUC over x. Null: the detectability of these documents' texts does not go with x."""
        return self.contrast(settings, slope_weights(x))

    def contrast(self, settings: Sequence[int], weights: Float[np.ndarray, " settings"]) -> PairedDifference:
        """Any contrast of mean AUCs."""
        chosen = [self.curves[i] for i in settings]
        values = np.array([c.mean_auc for c in chosen])
        draws = np.stack([c.refitted.mean(axis=1) for c in chosen], axis=1)
        return resampled_contrast(values, draws, weights, n_documents=min(self.n_train, self.n_test))

    def loss_contrast(
        self, settings: Sequence[int], weights: Float[np.ndarray, " settings"]
    ) -> PairedDifference | None:
        """A contrast of losses on the same tokens; None where a setting rules some of them out."""
        chosen = [self.losses[i] for i in settings]
        if any(loss.n_impossible for loss in chosen):
            return None
        return contrast_of_ratios(
            np.stack([loss.tops for loss in chosen]), np.stack([loss.bottoms for loss in chosen]), weights
        )

    def loss(self, setting: int) -> Interval:
        """The loss of a setting with its document-clustered interval."""
        return ratio_of_group_sums(self.losses[setting].tops, self.losses[setting].bottoms)


def sweep(
    evidences: Sequence[Evidence],
    *,
    say: Callable[[str], None] = lambda _: None,
    n_resamples: int = N_RESAMPLES,
) -> Swept:
    """Fit each setting's detectors and resample documents for all of them together.

    Raises:
        DataError: the runs do not hold the same continuations.
        TooFewDocuments: fewer than 16 pairs are whole in every setting.
    """
    first = evidences[0]
    for other in evidences[1:]:
        check_same_continuations(first, other)
    shared = _shared_units(evidences)
    kept = [_rows(e, shared) for e in evidences]
    train = first.panel.train[kept[0]]
    n_train, n_test = int(train.sum()), int((~train).sum())
    if len(shared) < MIN_PAIRS or min(n_train, n_test) < MIN_PAIRS // 4:
        raise TooFewDocuments(
            f"only {counted(len(shared), 'pair is', 'pairs are')} whole in every setting; at least {MIN_PAIRS} are needed: take a smaller "
            "--tokens or more --documents"
        )
    lengths = lengths_up_to(min(e.panel.length for e in evidences))
    rng = statistics_rng(first, "sweep/resamples")
    train_counts = bootstrap_groups(np.arange(n_train), n_resamples=n_resamples, rng=rng)
    counts = train_counts, bootstrap_groups(np.arange(n_test), n_resamples=n_resamples, rng=rng)
    curves = []
    for evidence, rows in zip(evidences, kept, strict=True):
        exemplars = evidence.plan.get("exemplars", 0)
        say(f"fitting detectors: {evidence.plan['prefix']} tokens before the cut, {exemplars} exemplars")
        curves.append(_curve(evidence, rows, lengths, counts))
    joint = JointCurves.of(lengths, [c.scored for c in curves], statistics_rng(first, "sweep/horizon"))
    return Swept(tuple(curves), joint, tuple(map(_real_loss, evidences)), n_train, n_test)


def check_same_continuations(first: Evidence, other: Evidence) -> None:
    """Refuse runs whose real continuations are not the same tokens of the same documents.

    Raises:
        DataError: they are not.
    """
    names = [sorted(e.records.sequences["document_id"][e.records.chosen(arm="real")]) for e in (first, other)]
    same = names[0] == names[1] and first.length == other.length
    if same and first.has_text:  # ids of a redacted text count from its own prefix
        same = align(first, other).same_tokens
    if not same:
        raise DataError(
            "the settings of this sweep do not hold the same continuations of the same documents, so they cannot be compared; run the "
            "sweep again in another folder"
        )


def _shared_units(evidences: Sequence[Evidence]) -> list[str]:
    """Units whose pair is whole in every setting, in the order of the first."""
    whole = [[str(u) for u in e.records.sequences["unit"][e.panel.real]] for e in evidences]
    everywhere = set.intersection(*map(set, whole))
    return [u for u in whole[0] if u in everywhere]


def _rows(evidence: Evidence, shared: Sequence[str]) -> Int[np.ndarray, " shared"]:
    """Rows of the panel in the order of `shared`."""
    at = {str(u): i for i, u in enumerate(evidence.records.sequences["unit"][evidence.panel.real])}
    return np.array([at[u] for u in shared], np.int64)


def _curve(
    evidence: Evidence,
    rows: Int[np.ndarray, " shared"],
    lengths: Int[np.ndarray, " lengths"],
    counts: tuple[Int[np.ndarray, "resamples train"], Int[np.ndarray, "resamples test"]],
) -> SettingCurve:
    """As the run's own report has it, where all its pairs are shared: the same draws give the same detectors."""
    panel = evidence.panel
    train: Bool[np.ndarray, " shared"] = panel.train[rows]
    detections, kinds, refitted = [], [], []
    for picked in pick_detectors(evidence, lengths, train, rows):
        detections.append(picked.detection)
        kinds.append(picked.kind)
        penalty = picked.detection.penalty
        sides = picked.real, picked.free
        refitted.append(
            refitted_auc_draws(*sides, train=train, penalty=penalty, train_counts=counts[0], test_counts=counts[1])
        )
    n_dropped = panel.n_dropped + panel.n_pairs - len(rows)
    scored = scored_curve(detections)
    return SettingCurve(scored, tuple(detections), tuple(kinds), np.stack(refitted, axis=1), n_dropped)


def _real_loss(evidence: Evidence) -> RealLoss:
    log_prob = evidence.records.tokens["log_prob_nats"]
    real = evidence.tokens_of("real")
    possible = real & np.isfinite(log_prob)
    groups = evidence.units[evidence.token_sequence[possible]]
    n = int(evidence.units.max()) + 1
    tops = np.bincount(groups, -log_prob[possible], n)
    bottoms = np.bincount(groups, minlength=n).astype(np.float64)
    present = bottoms > 0
    return RealLoss(tops[present], bottoms[present], int((real & ~possible).sum()))
