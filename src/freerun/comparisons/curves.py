"""Detectability by length of several runs on the same documents: as each run's own report has it, and its paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.comparison import best_kind, features_at
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.stats.detection.auc import auc_interval
from freerun.stats.detection.horizon import HorizonResult, horizon_bootstrap
from freerun.stats.detection.paired_horizon import (
    BootstrapDifference,
    ScoredCurve,
    bootstrap_difference,
    horizon_difference,
    joint_draws,
)
from freerun.stats.detection.two_sample import Detection, detect
from freerun.stats.intervals import Interval


@dataclass(frozen=True)
class PickedDetector:
    """The detector that is picked at one length on training documents, and the features that it reads."""

    kind: str
    detection: Detection
    real: Float[np.ndarray, "pairs d"]
    free: Float[np.ndarray, "pairs reps d"]


@dataclass(frozen=True)
class RunCurve:
    """AUC by length of one run on its test documents, the detector picked on training documents at each length."""

    lengths: Int[np.ndarray, " lengths"]
    scored: ScoredCurve
    names: tuple[str, ...]
    """The test documents (units), in the order of the scores."""
    n_train: int


@dataclass(frozen=True)
class JointCurves:
    """Scores of several runs at the same lengths, with draws of the same resampled test documents."""

    lengths: Int[np.ndarray, " lengths"]
    scored: tuple[ScoredCurve, ...]
    draws: tuple[Float[np.ndarray, "resamples lengths"], ...]

    @classmethod
    def of(
        cls, lengths: Int[np.ndarray, " lengths"], scored: Sequence[ScoredCurve], rng: np.random.Generator
    ) -> JointCurves:
        """Resample the documents of all runs together."""
        return cls(lengths, tuple(scored), tuple(joint_draws(scored, rng=rng)))

    def horizon(self, run: int, level_auc: float = 0.75) -> HorizonResult:
        """The horizon of one run, detector as fitted."""
        scored, draws = self.scored[run], self.draws[run]
        whole = draws[np.isfinite(draws).all(axis=1)]
        return horizon_bootstrap(self.lengths, whole, scored.aucs, level_auc=level_auc, n_units=scored.documents.size)

    def difference(self, first: int, second: int, level_auc: float = 0.75) -> BootstrapDifference:
        """The horizon of the second run minus that of the first, held within the lengths measured."""
        scored, draws = (self.scored[first], self.scored[second]), (self.draws[first], self.draws[second])
        return horizon_difference(self.lengths, *scored, draws, level_auc=level_auc)

    def auc_difference(self, first: int, second: int) -> BootstrapDifference:
        """AUC at the last length."""
        a, b = self.scored[first], self.scored[second]
        n = min(a.documents.size, b.documents.size)
        draws = (self.draws[i][:, -1] for i in (first, second))
        return bootstrap_difference(float(a.aucs[-1]), float(b.aucs[-1]), *draws, n_documents=n)

    def auc_intervals(self, run: int) -> list[Interval]:
        """The AUC of one run at each length with its pointwise interval."""
        scored = self.scored[run]
        columns = zip(scored.aucs.tolist(), self.draws[run].T, strict=True)
        return [auc_interval(value, column, n_groups=scored.documents.size) for value, column in columns]


def pick_detectors(
    evidence: Evidence,
    lengths: Int[np.ndarray, " lengths"],
    train: Bool[np.ndarray, " pairs"],
    rows: Int[np.ndarray, " pairs"] | slice = slice(None),
) -> Iterator[PickedDetector]:
    """The detectors of the audit, fitted again with the same draws on some rows of its pairs, one a length."""
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        sides = {kind: (x.real[rows], x.free[rows]) for kind, x in features_at(evidence, int(n)).items()}
        fitted = {kind: detect(*texts, train=train, rng=rng) for kind, texts in sides.items()}
        best = best_kind(fitted)
        yield PickedDetector(best, fitted[best], *sides[best])


def scored_curve(detections: Sequence[Detection]) -> ScoredCurve:
    """The scores of the same test documents at each length, numbered from 0."""
    scores = tuple(d.scores_real for d in detections), tuple(d.scores_free for d in detections)
    return ScoredCurve(*scores, np.arange(detections[0].n_test))


def run_curve(evidence: Evidence, lengths: Int[np.ndarray, " lengths"] | None = None) -> RunCurve:
    """The curve of one run; its AUCs are those of the run's own report.

    `lengths`: fewer than its own, where runs of different lengths are compared.

    Raises:
        TooFewDocuments: fewer than 16 pairs reach the second token.
    """
    panel = evidence.panel
    if not panel.enough:
        raise TooFewDocuments(
            f"only {counted(panel.n_pairs, 'pair')} of {evidence.plan['model']} hold the last token on both sides; {MIN_PAIRS} are needed"
        )
    lengths = lengths_up_to(panel.length) if lengths is None else lengths
    detections = [picked.detection for picked in pick_detectors(evidence, lengths, panel.train)]
    names = tuple(str(u) for u in evidence.records.sequences["unit"][panel.real[~panel.train]])
    return RunCurve(lengths, scored_curve(detections), names, int(panel.train.sum()))


def join_curves(evidences: Sequence[Evidence]) -> JointCurves:
    """Every run's curve on the lengths that all have, with documents resampled together.

    Raises:
        TooFewDocuments: a run has fewer than 16 pairs at every length.
    """
    lengths = lengths_up_to(min(e.panel.length for e in evidences))
    curves = [run_curve(e, lengths) for e in evidences]
    numbers = {name: i for i, name in enumerate(sorted({name for c in curves for name in c.names}))}
    scored = [replace(c.scored, documents=np.array([numbers[name] for name in c.names])) for c in curves]
    return JointCurves.of(lengths, scored, statistics_rng(evidences[0], "compare/horizon"))
