"""AUC by length with its covariance: what test documents and what training documents contribute.

The test documents' part is that of their influence on the AUC (Obuchowski 1997). The training documents' part is a jackknife over
groups of them: how the AUC on the same test documents moves when a group is left out of training, less what the finite test set
adds to such a difference. So the interval is one for the model at this number of documents, not for the detector that happened
to be fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.stats.detection.auc import UnitAucs, auc_interval
from freerun.stats.detection.horizon import HorizonResult, horizon_interval
from freerun.stats.intervals import Interval


@dataclass(frozen=True, eq=False)
class AucSpread:
    """An AUC on test units, with what moves it.

    `influence`: of each test unit, summing to zero. `moves`: how far the AUC moves when each group of training units is left out,
    less the mean of that; `move_influence`: the influence of each test unit on it.
    """

    auc: float
    influence: Float[np.ndarray, " test"]
    moves: Float[np.ndarray, " groups"]
    move_influence: Float[np.ndarray, "groups test"]
    replicates: float

    @classmethod
    def of(cls, whole: UnitAucs, without: UnitAucs) -> AucSpread:
        """From the detector fitted on all training units, and those fitted without each group."""
        return cls(
            float(whole.auc[0]),
            whole.influence[0],
            without.auc - without.auc.mean(),
            without.influence - without.influence.mean(axis=0),
            float(whole.replicates[0]),
        )

    @property
    def variance(self) -> float:
        """Over test and training units."""
        return float(_over_units(self.influence[None], self.influence.size)[0, 0]) + self.variance_of_training

    @property
    def variance_of_training(self) -> float:
        """The part that other training units would change."""
        return float(_training([self])[0, 0])

    def interval(self, *, level: float = 0.95) -> Interval:
        """The AUC with its limits.

        Raises TooFewDocuments for fewer than two test units.
        """
        n = self.influence.size
        return auc_interval(self.auc, self.variance, n_units=n, replicates=self.replicates, level=level)


@dataclass(frozen=True, eq=False)
class AucCurve:
    """AUC by length on the same test units; `units` and `trained_on` name test and training documents."""

    lengths: Int[np.ndarray, " lengths"]
    spreads: tuple[AucSpread, ...]
    units: tuple[str, ...]
    trained_on: tuple[str, ...]

    @property
    def aucs(self) -> Float[np.ndarray, " lengths"]:
        """AUC at each length."""
        return np.array([s.auc for s in self.spreads])

    @property
    def n_documents(self) -> int:
        """The smaller of the numbers of test and training documents."""
        return min(len(self.units), len(self.trained_on))

    def intervals(self, *, level: float = 0.95) -> list[Interval]:
        """The AUC at each length with its pointwise interval."""
        return [s.interval(level=level) for s in self.spreads]

    def horizon(self, level_auc: float = 0.75, *, level: float = 0.95) -> HorizonResult:
        """Where the curve reaches an AUC."""
        limits = self.intervals(level=level)
        lows, highs = np.array([i.low for i in limits]), np.array([i.high for i in limits])
        return horizon_interval(self.lengths, self.aucs, lows, highs, level_auc=level_auc, level=level)


def covariance(spreads: Sequence[AucSpread]) -> Float[np.ndarray, "aucs aucs"]:
    """Return the covariance of AUCs on the same test units, of detectors with the same training units.

    The jackknife's part is taken where it is above zero in every direction: its correction for the test set is itself uncertain.
    """
    test = _over_units(np.stack([s.influence for s in spreads]), spreads[0].influence.size)
    return np.asarray(test + _training(spreads))


def _training(spreads: Sequence[AucSpread]) -> Float[np.ndarray, "aucs aucs"]:
    groups = spreads[0].moves.size
    moves = np.stack([s.moves for s in spreads])
    noise = _over_units(np.stack([s.move_influence.ravel() for s in spreads]), spreads[0].influence.size)
    values, vectors = np.linalg.eigh((groups - 1) / groups * (moves @ moves.T - noise))
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def joint_covariance(curves: Sequence[AucCurve]) -> Float[np.ndarray, "aucs aucs"]:
    """Return the covariance of the AUCs of several runs, run by run and length by length; what a document does in all stays
    together.

    Test documents that only some of the runs have count as independent, and so does the training of runs whose training documents
    differ.
    """
    everyone = sorted({u for c in curves for u in c.units})
    place = {u: i for i, u in enumerate(everyone)}
    spreads = [_among(s, np.array([place[u] for u in c.units]), len(everyone)) for c in curves for s in c.spreads]
    if len({c.trained_on for c in curves}) == 1:
        return covariance(spreads)
    whole = _over_units(np.stack([s.influence for s in spreads]), len(everyone))
    start = 0
    for c in curves:
        own = slice(start, start + len(c.spreads))
        whole[own, own] = covariance(spreads[own])
        start = own.stop
    return whole


def _over_units(influence: Float[np.ndarray, "aucs n"], n_units: int) -> Float[np.ndarray, "aucs aucs"]:
    return np.asarray(influence @ influence.T / (n_units * (n_units - 1)))


def _among(s: AucSpread, at: Int[np.ndarray, " test"], n_units: int) -> AucSpread:
    """The same spread among more units, scaled so that its variance stays what it is."""
    scale = np.sqrt(n_units * (n_units - 1) / (at.size * (at.size - 1)))
    influence, moved = np.zeros(n_units), np.zeros((s.moves.size, n_units))
    influence[at], moved[:, at] = scale * s.influence, scale * s.move_influence
    return AucSpread(s.auc, influence, s.moves, moved, s.replicates)
