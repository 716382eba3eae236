"""How detection grows with length: AUC = Phi(sqrt(kappa T)) for a Gaussian likelihood ratio, and its test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy import special, stats

from freerun.errors import DataError
from freerun.stats.intervals import Interval, checked_level

_MIN_LENGTHS = 3
_RIDGE = 0.05
"""Share of the mean variance put on the diagonal: neighbouring lengths are all but copies of each other."""


@dataclass(frozen=True)
class DetectionLaw:
    """The law that fits best, and whether it fits.

    `kappa` is in nats a token only if the detector is the likelihood ratio and Gaussian. `exponent` is b of
    Phi^-1(AUC) = a T^b, fitted freely: 1/2 under the law. `p_value` small: the law does not hold. `used`: lengths whose AUC is
    not 0 or 1 within resolution.
    """

    kappa: Interval
    exponent: Interval
    p_value: float
    used: tuple[float, ...]

    def auc(self, lengths: Real[np.ndarray, " lengths"]) -> Float[np.ndarray, " lengths"]:
        """The fitted law at some lengths."""
        return np.asarray(special.ndtr(np.sqrt(self.kappa.value * np.asarray(lengths, np.float64))))

    @property
    def h75_tokens(self) -> float:
        """Where the law reaches 0.75: 0.455/kappa."""
        return float(special.ndtri(0.75) ** 2 / self.kappa.value) if self.kappa.value > 0 else float("inf")


def fit_detection_law(
    lengths: Real[np.ndarray, " lengths"],
    aucs: Float[np.ndarray, " lengths"],
    draws: Float[np.ndarray, "resamples lengths"],
    *,
    n_units: int,
    level: float = 0.95,
) -> DetectionLaw | None:
    """Fit z = Phi^-1(AUC) = sqrt(kappa T) by generalised least squares, covariance from joint bootstrap draws of documents.

    Lengths whose AUC lies within 1/n_units of 0 or 1, or whose draws do not vary, carry no probit and are left out. None with fewer
    than 3 lengths left. The test of fit is chi-square on one degree of freedom less than lengths; the covariance is estimated, so
    its size is approximate.

    Raises DataError for shapes that do not fit.
    """
    t, a = np.asarray(lengths, np.float64), np.asarray(aucs, np.float64)
    draws = np.asarray(draws, np.float64)
    if t.shape != a.shape or draws.ndim != 2 or draws.shape[1] != t.size:
        raise DataError(f"{t.size} lengths, {a.size} AUCs and draws of shape {draws.shape} do not fit")
    edge = 1.0 / n_units
    draws = draws[~np.isnan(draws).any(axis=1)]
    usable = (a > edge) & (a < 1 - edge) & (draws.std(axis=0) > 1e-9)
    if usable.sum() < _MIN_LENGTHS or len(draws) < 10:
        return None
    t, z = t[usable], special.ndtri(a[usable])
    spread = special.ndtri(np.clip(draws[:, usable], edge / 2, 1 - edge / 2))
    covariance = np.cov(spread, rowvar=False)
    covariance += _RIDGE * np.diag(covariance).mean() * np.eye(t.size)
    weight = np.linalg.inv(covariance)
    x = np.sqrt(t)
    precision = float(x @ weight @ x)
    root = float(x @ weight @ z) / precision
    residual = z - root * x
    half = special.ndtri(0.5 + checked_level(level) / 2) / np.sqrt(precision)
    low, high = max(0.0, root - half) ** 2, max(0.0, root + half) ** 2
    chi_square = float(residual @ weight @ residual)
    return DetectionLaw(
        kappa=Interval(max(0.0, root) ** 2, low, high, level, n_units),
        exponent=_exponent(t, z, spread, level, n_units),
        p_value=float(stats.chi2.sf(chi_square, t.size - 1)),
        used=tuple(t.tolist()),
    )


def _exponent(
    t: Float[np.ndarray, " used"],
    z: Float[np.ndarray, " used"],
    spread: Float[np.ndarray, "resamples used"],
    level: float,
    n: int,
) -> Interval:
    """Slope of ln z on ln T by least squares, percentile interval over the same resamples; z below 0.02 counts as that."""
    place = np.log(t) - np.log(t).mean()

    def slope(rows: Float[np.ndarray, "rows used"]) -> Float[np.ndarray, " rows"]:
        return np.asarray(np.log(np.maximum(rows, 0.02)) @ place / (place @ place))

    low, high = np.quantile(slope(spread), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(slope(z[None])[0]), float(low), float(high), level, n)
