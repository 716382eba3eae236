"""Detectability by length of several runs on the same documents: as each run's own report has it, and its paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.comparison import Curve, curve_of, features_at, score_kinds
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.stats.detection.curve import AucCurve, joint_covariance
from freerun.stats.detection.paired_horizon import DrawnDifference, horizon_difference
from freerun.stats.detection.two_sample import judge
from freerun.stats.paired import PairedDifference, contrast_of_estimates


@dataclass(frozen=True, eq=False)
class JointCurves:
    """Curves of several runs at the same lengths; what a document does in all of them stays together."""

    curves: tuple[AucCurve, ...]

    @property
    def lengths(self) -> Int[np.ndarray, " lengths"]:
        """Tokens."""
        return self.curves[0].lengths

    def difference(self, first: int, second: int, level_auc: float, rng: np.random.Generator) -> DrawnDifference:
        """The horizon of the second run minus that of the first, held within the lengths measured."""
        return horizon_difference(self.curves[first], self.curves[second], level_auc=level_auc, rng=rng)

    def contrast(
        self,
        runs: Sequence[int],
        weights: Float[np.ndarray, " runs"],
        over: Float[np.ndarray, " lengths"] | None = None,
    ) -> PairedDifference:
        """Σ of runs' AUCs times weights, averaged over lengths with the weights `over`: by default the AUC at the last length."""
        chosen = [self.curves[i] for i in runs]
        over = np.arange(self.lengths.size) == self.lengths.size - 1 if over is None else over
        mixed = np.outer(weights, over).ravel()
        aucs, n = np.concatenate([c.aucs for c in chosen]), min(c.n_documents for c in chosen)
        return contrast_of_estimates(aucs, joint_covariance(chosen), mixed, n)


def run_curve(
    evidence: Evidence,
    lengths: Int[np.ndarray, " lengths"],
    rows: Int[np.ndarray, " pairs"] | slice = slice(None),
) -> Curve:
    """The main curve of a run's own report, where these are its lengths and pairs: the same detectors, fitted again.

    `lengths`: fewer than its own, where runs of different lengths are compared; `rows`: some of its pairs, in this order.
    """
    panel = evidence.panel
    train = panel.train[rows]
    detections = []
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        scores = score_kinds(features_at(evidence, int(n)), train, rng, rows)
        detections.append(judge(scores["both"], rng=rng))
    return curve_of(lengths, detections, evidence.records.sequences["unit"][panel.real[rows]].astype(str), train)


def join_curves(evidences: Sequence[Evidence]) -> JointCurves:
    """Every run's curve on the lengths that all have.

    Raises:
        TooFewDocuments: a run has fewer than 16 pairs at every length.
    """
    for e in evidences:
        if not e.panel.enough:
            raise TooFewDocuments(
                f"only {counted(e.panel.n_pairs, 'pair')} of {e.plan.model} hold the last token on both sides; {MIN_PAIRS} are needed"
            )
    lengths = lengths_up_to(min(e.panel.length for e in evidences))
    return JointCurves(tuple(run_curve(e, lengths).aucs for e in evidences))
