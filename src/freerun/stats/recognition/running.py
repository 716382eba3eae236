"""Is a text more, or less, surprising than the laws that stand before its tokens expect? Added up as the text goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from freerun.errors import DataError
from freerun.stats.intervals import checked_level


@dataclass(frozen=True)
class RunningExcess:
    """Σ D after each token, D = −ln q(x) − H, and the half-width of its band.

    If the tokens were drawn from the laws, Σ D is a martingale with variance ΣV (V the varentropy), so after each token it lies
    within 0 ± `half_width_nats` with about probability `level`. The band is pointwise: whoever watches until it is left will see it
    left. `z` is Σ D over its standard deviation, NaN where that is 0. A token that the model gives probability 0 makes all that
    follows +inf.
    """

    sum_nats: Float[np.ndarray, " tokens"]
    half_width_nats: Float[np.ndarray, " tokens"]
    z: Float[np.ndarray, " tokens"]
    level: float


def running_excess(
    log_prob_nats: Float[np.ndarray, " tokens"],
    entropy_nats: Float[np.ndarray, " tokens"],
    varentropy_nats2: Float[np.ndarray, " tokens"],
    *,
    level: float = 0.95,
) -> RunningExcess:
    """Return Σ D along one text with its band, after each token; its last z is that of `self_z`.

    Raises DataError for columns that hold NaN.

    >>> path = running_excess(np.array([-1.0, -3.0]), np.ones(2), np.ones(2))
    >>> path.sum_nats.tolist(), path.half_width_nats.round(2).tolist()
    ([0.0, 2.0], [1.96, 2.77])
    """
    columns = (log_prob_nats, entropy_nats, varentropy_nats2)
    if any(np.isnan(column).any() for column in columns):
        raise DataError("log-prob, entropy or varentropy holds NaN; the sum needs the whole law of every token")
    total = np.cumsum(-np.asarray(log_prob_nats) - entropy_nats)
    spread = np.sqrt(np.cumsum(varentropy_nats2))
    z = np.divide(total, spread, out=np.full(total.shape, np.nan), where=spread > 0)
    return RunningExcess(total, float(special.ndtri(0.5 + checked_level(level) / 2)) * spread, z, level)
