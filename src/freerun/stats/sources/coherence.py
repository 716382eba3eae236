"""Is a predictor's belief about its source coherent? The posterior along its own text against the martingale that it would be.

q is the law that is sampled, q_s the laws that it gives when told the source, π_t the posterior that Bayes makes of them, and
q̄_t = Σ π_t(s) q_s. If q = q̄, then π_t is a martingale along text sampled from q. What is wrong shows in one step:
δ_t(s) = E_q π_{t+1}(s) − π_t(s) = Σ_v (q(v) − q̄_t(v)) π_t(s) q_s(v) / q̄_t(v), and |δ_t(s)| ≤ TV(q, q̄_t). Their sum
along a path is what the posterior drifts by without any evidence (Doob's compensator). δ = 0 says nothing of another mixture:
the conclusion of δ ≠ 0 is "not this mixture".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from freerun.errors import DataError
from freerun.stats.intervals import checked_level


@dataclass(frozen=True)
class OneStep:
    """What one law q does to the posterior of the next step, in expectation.

    `drift`: δ_t(s). `tv`: TV(q, q̄), which no |δ| exceeds. `lost`: mass of q where q̄ has none (no posterior follows there; such
    tokens keep π). `variance`: Var of π_{t+1}(s) under q̄. `expected_information_nats`: mutual information of token and source
    under q̄. `kl_nats`: KL(q ‖ q̄), infinite where mass is lost.
    """

    drift: Float[np.ndarray, " sources"]
    tv: float
    lost: float
    variance: Float[np.ndarray, " sources"]
    expected_information_nats: float
    kl_nats: float


def one_step(
    own: Float[np.ndarray, " vocabulary"],
    laws: Float[np.ndarray, "sources vocabulary"],
    posterior: Float[np.ndarray, " sources"],
) -> OneStep:
    """Return the drift of the posterior when the next token is drawn from `own` and judged by the sources' `laws`.

    All are probabilities that sum to 1 along the vocabulary, which is gone through whole: nothing is sampled.

    Raises DataError for shapes that do not fit.
    """
    if laws.shape != (len(posterior), len(own)):
        raise DataError(f"laws of shape {laws.shape} do not fit {len(posterior)} sources and {len(own)} tokens")
    mixed = posterior @ laws
    held = mixed > 0
    ratio = np.zeros_like(mixed)
    np.divide(own, mixed, out=ratio, where=held)
    lost = float(own[~held].sum())
    # Σ_v q(v)·π(s)q_s(v)/q̄(v) over what q̄ can write; Σ_v q̄(v)·(…) is π(s)
    drift = posterior * (laws @ ratio) - posterior * (1.0 - lost)
    squares = np.zeros_like(mixed)
    np.divide(1.0, mixed, out=squares, where=held)
    second = np.square(posterior) * (np.square(laws) @ squares)
    kl = float("inf") if lost > 0 else float(special.rel_entr(own, mixed).sum())
    information = float(special.entr(mixed).sum() - posterior @ special.entr(laws).sum(axis=1))
    return OneStep(
        drift=np.asarray(drift),
        tv=float(0.5 * np.abs(own - mixed).sum()),
        lost=lost,
        variance=np.maximum(second - np.square(posterior), 0.0),
        expected_information_nats=max(information, 0.0),
        kl_nats=kl,
    )


@dataclass(frozen=True)
class MartingaleBand:
    """Mean posterior of one source over paths, and where it would lie if the posterior were a martingale.

    `mean[t]` after t sampled tokens; `low`, `high`: π_0 ± t·√(Σ predicted variance)/n, cut to [0, 1], pointwise. `z_score[t]` is
    the mean's distance in those units (0 before the first token). `rise_p`: an exact p-value, valid whenever one looks, against
    "it does not drift up": the mean of π_t/π_0 is a non-negative martingale that starts at 1, so it reaches c with
    probability at most 1/c (Ville 1939). `fall_p` is the same for 1 − π_t.
    """

    mean: Float[np.ndarray, " steps_1"]
    low: Float[np.ndarray, " steps_1"]
    high: Float[np.ndarray, " steps_1"]
    z_score: Float[np.ndarray, " steps_1"]
    rise_p: float
    fall_p: float
    level: float
    n_paths: int


def martingale_band(
    paths: Float[np.ndarray, "paths steps_1"],
    variances: Float[np.ndarray, "paths steps"],
    *,
    level: float = 0.95,
) -> MartingaleBand:
    """Return the band of one source from its posterior along paths that were sampled independently after one beginning.

    `variances[i, t]` is Var(π_{t+1} | path) under q̄ (`OneStep.variance`): the predicted spread of what is added at that step, so
    the band needs no estimate of variance from the few paths. It is approximate (martingale central limit theorem, Hall & Heyde
    1980, theorem 3.2), and the normal quantile is too small where few paths come near 0 or 1: Student's with two degrees of
    freedom a path takes its place, whose miss rates are simulated. The two p-values are exact.

    Raises DataError for shapes that do not fit or paths that do not start at one value.
    """
    paths, variances = np.asarray(paths, np.float64), np.asarray(variances, np.float64)
    n, steps = variances.shape if variances.ndim == 2 else (0, 0)
    if n < 1 or paths.shape != (n, steps + 1) or not np.allclose(paths[:, 0], paths[0, 0], atol=1e-9):
        raise DataError(
            "a band needs posteriors of paths × (steps + 1) from one beginning and variances of paths × steps"
        )
    start = float(paths[0, 0])
    mean = paths.mean(axis=0)
    spread = np.sqrt(np.concatenate([[0.0], np.cumsum(variances.sum(axis=0))])) / n
    half = float(special.stdtrit(2 * n, 0.5 + checked_level(level) / 2)) * spread
    z_score = np.divide(mean - start, spread, out=np.zeros(steps + 1), where=spread > 0)
    return MartingaleBand(
        mean=mean,
        low=np.maximum(start - half, 0.0),
        high=np.minimum(start + half, 1.0),
        z_score=z_score,
        rise_p=_ville(mean, start),
        fall_p=_ville(1.0 - mean, 1.0 - start),
        level=level,
        n_paths=n,
    )


def _ville(mean: Float[np.ndarray, " steps_1"], start: float) -> float:
    """P(the mean of a non-negative martingale ever reaches so much) ≤ start / so much."""
    return 1.0 if start <= 0 else float(min(1.0, start / mean.max()))
