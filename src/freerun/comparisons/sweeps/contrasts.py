"""What context does to the gap: runs of one plan that differ only in what stands before the same continuations.

All settings are compared on the documents that are whole in every one of them, by the detectors of each run's own report, fitted on
its own training documents. Nothing here splits the gap into causes: context tells the source and changes the predictor's own error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.comparisons.curves import JointCurves, run_curve
from freerun.comparisons.terms import align
from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.findings.detectability.comparison import Curve
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to
from freerun.stats.intervals import Interval, ratio_of_group_sums
from freerun.stats.paired import PairedDifference, contrast_of_ratios, slope_weights


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

    curve: Curve
    n_dropped: int
    """Pairs of this setting that ended before the last token, or that another setting lacks."""

    @property
    def mean_auc(self) -> float:
        """Mean over the measured lengths, 1, 2, 4, … tokens: it is never censored, as a horizon can be."""
        return float(self.curve.aucs.aucs.mean())


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
        n = self.lengths.size
        return self.joint.contrast(settings, weights, np.full(n, 1.0 / n))

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
) -> Swept:
    """Fit each setting's detectors, on the documents that all settings have.

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
    curves = []
    for evidence, rows in zip(evidences, kept, strict=True):
        exemplars = evidence.plan.exemplars
        say(f"fitting detectors: {evidence.plan.prefix} tokens before the cut, {exemplars} exemplars")
        panel = evidence.panel
        curve = run_curve(evidence, lengths, rows)
        curves.append(SettingCurve(curve, panel.n_dropped + panel.n_pairs - len(rows)))
    joint = JointCurves(tuple(c.curve.aucs for c in curves))
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
