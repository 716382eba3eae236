"""Evidence while documents come in: each is bet on with a detector that was fitted on earlier documents alone.

The wealth starts at 1. If a document's real and generated texts may change places, it is a martingale whatever the detector has
learned, and it ever reaches 1/a with probability at most a (Ville): it may be watched, and acted on, at any time. Its value is an
e-value against "generated text cannot be told from real text" (Shekhar & Ramdas 2023; Podkopaev & Ramdas 2023).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError
from freerun.stats.detection.betting import Bets, payoff
from freerun.stats.detection.logistic import LogisticFit, Standardizer
from freerun.stats.detection.two_sample import Detector

LEAST_TO_FIT = 8
"""Documents before the first bet."""
_GROWTH = 1.125
"""A detector is fitted again when there are so many times as many documents: the work then grows hardly faster than the run."""


class WatchedBets:
    """Bets on documents in an order that is fixed before any of their texts is seen.

    The order must not depend on the texts: a document that is bet on because its generated text ended early has told something
    about that text and nothing about the real one, and they may no longer change places.
    """

    def __init__(self) -> None:
        self.n_documents = 0
        """Documents that were bet on."""
        self.bets = Bets()
        self.best_log_wealth = 0.0
        self._real: list[Float[np.ndarray, " d"]] = []
        self._free: list[Float[np.ndarray, "reps d"]] = []
        self._detector: tuple[Standardizer, LogisticFit] | None = None
        self._fitted_on = 0

    @property
    def log_wealth(self) -> float:
        """Log wealth now, nats."""
        return self.bets.log_wealth

    def add(self, real: Float[np.ndarray, " d"], free: Float[np.ndarray, "reps d"]) -> None:
        """Bet on the next document by its features, then learn from it.

        Raises DataError for features that are not finite, or not those of the documents before.
        """
        if self._real and (real.shape != self._real[0].shape or free.shape != self._free[0].shape):
            raise DataError(f"features of shapes {real.shape} and {free.shape} are not those of the documents before")
        if not (np.isfinite(real).all() and np.isfinite(free).all()):
            raise DataError("features hold values that are not finite; a bet needs numbers")
        detector = self._fitted()
        if detector is not None:
            standardizer, line = detector
            scores = line.scores(standardizer.apply(np.vstack([real[None], free])))[0]
            self.bets.settle(payoff(float(scores[0]), scores[1:]))
            self.best_log_wealth = max(self.best_log_wealth, self.log_wealth)
            self.n_documents += 1
        self._real.append(real)
        self._free.append(free)

    def _fitted(self) -> tuple[Standardizer, LogisticFit] | None:
        """The detector of the documents so far, which may be a little behind; None where they are too few."""
        n = len(self._real)
        if n >= LEAST_TO_FIT and n >= math.ceil(_GROWTH * self._fitted_on):
            fitted = Detector.train(np.stack(self._real), np.stack(self._free))
            self._detector, self._fitted_on = (fitted.standardizer, fitted.line()), n
        return self._detector
