"""Detectability by length of several runs on the same documents: as each run's own report has it, and its paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.comparison import KINDS, features_at
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.findings.plain_text import PlainText
from freerun.stats.detection.horizon import HorizonResult, horizon_bootstrap
from freerun.stats.detection.paired_horizon import (
    BootstrapDifference,
    ScoredCurve,
    bootstrap_difference,
    horizon_difference,
    joint_draws,
)
from freerun.stats.detection.two_sample import detect

LEVELS = (0.60, 0.75, 0.90)


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
    """Curves of several runs with draws of the same resampled documents."""

    lengths: Int[np.ndarray, " lengths"]
    curves: tuple[RunCurve, ...]
    draws: tuple[Float[np.ndarray, "resamples lengths"], ...]
    n_shared: int

    def horizon(self, run: int, level_auc: float) -> HorizonResult:
        """The horizon of one run."""
        scored, draws = self.curves[run].scored, self.draws[run]
        whole = draws[np.isfinite(draws).all(axis=1)]
        return horizon_bootstrap(self.lengths, whole, scored.aucs, level_auc=level_auc, n_units=scored.documents.size)

    def difference(self, first: int, second: int) -> dict[float, BootstrapDifference]:
        """Horizons of the second run minus those of the first, held within the lengths measured."""
        pair = self.draws[first], self.draws[second]
        curves = self.curves[first].scored, self.curves[second].scored
        return dict(horizon_difference(self.lengths, *curves, pair, levels_auc=LEVELS))

    def auc_difference(self, first: int, second: int) -> BootstrapDifference:
        """AUC at the last length."""
        a, b = (self.curves[i].scored for i in (first, second))
        n = min(a.documents.size, b.documents.size)
        draws = (self.draws[i][:, -1] for i in (first, second))
        return bootstrap_difference(float(a.aucs[-1]), float(b.aucs[-1]), *draws, n_documents=n)


def run_curve(evidence: Evidence, lengths: Int[np.ndarray, " lengths"] | None = None) -> RunCurve:
    """The detectors of the audit, fitted again with the same draws: its AUCs are those of the run's own report.

    `lengths`: fewer than its own, where runs of different lengths are compared.

    Raises:
        TooFewDocuments: fewer than 16 pairs reach the second token.
    """
    panel = evidence.panel
    if not panel.enough:
        raise TooFewDocuments(
            f"only {counted(panel.n_pairs, 'pair')} of {evidence.plan['model']} hold the last token on both sides; {MIN_PAIRS} are needed"
        )
    own = lengths_up_to(panel.length)
    lengths = own if lengths is None else lengths
    words = PlainText(evidence)
    real, free = [], []
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        features = features_at(evidence, words, int(n), None)
        found = {
            kind: detect(x.real, x.free, train=panel.train, rng=rng, tv_level=1 - 0.05 / len(own))
            for kind, x in features.items()
        }
        best = max(KINDS, key=lambda kind: (found[kind].auc_train, kind == "laws"))
        real.append(found[best].scores_real)
        free.append(found[best].scores_free)
    names = tuple(str(u) for u in evidence.records.sequences["unit"][panel.real[~panel.train]])
    scored = ScoredCurve(tuple(real), tuple(free), np.arange(len(names)))
    return RunCurve(lengths, scored, names, int(panel.train.sum()))


def join_curves(evidences: list[Evidence]) -> JointCurves:
    """Every run's curve on the lengths that all have, with documents resampled together.

    Raises:
        TooFewDocuments: a run has fewer than 16 pairs at every length.
    """
    shortest = min(e.panel.length for e in evidences)
    lengths = lengths_up_to(shortest)
    found = [run_curve(e, lengths) for e in evidences]
    known = {name: i for i, name in enumerate(sorted({n for c in found for n in c.names}))}
    curves = tuple(
        RunCurve(
            c.lengths,
            ScoredCurve(c.scored.scores_real, c.scored.scores_free, np.array([known[n] for n in c.names])),
            c.names,
            c.n_train,
        )
        for c in found
    )
    draws = joint_draws([c.scored for c in curves], rng=statistics_rng(evidences[0], "compare/horizon"))
    shared = set.intersection(*(set(c.names) for c in curves))
    return JointCurves(lengths, curves, tuple(draws), len(shared))
