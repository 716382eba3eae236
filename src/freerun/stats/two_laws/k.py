"""K = KL(P_T‖Q_T): how many nats the first T tokens of P's own text hold against Q, on average.

On texts that p wrote, Σ kl(p_t‖q_t) and L_T = Σ ln p/q both have the mean K (chain rule). Neither always varies less, and their
difference has mean 0: a control variate. Its coefficient is fitted on the other units, so that the estimate stays unbiased.

K has no upper confidence limit: it is unbounded, and a context too rare to be met can carry all of it. What stands here is an
estimate with an interval, never a certificate; that is `certificate.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import Interval, mean_limits, skewness
from freerun.stats.two_laws.texts import TwoLaws, gap_sums, sums_to, unit_means

LEAST_UNITS_FOR_COEFFICIENT = 96
"""Below, Σ kl stands alone: with a coefficient fitted on 24 to 64 units a limit missed up to 4.4% instead of 2.5%."""
_LARGEST_COEFFICIENT = 1.0


@dataclass(frozen=True)
class KEstimate:
    """K over the first `tokens` tokens, in nats a text; each unit (document, prompt) counts once.

    `interval` is None where K is infinite: q gives a token no mass that p wrote, or none to a token that p could have written.
    `infinite_tokens` counts such places in the first `tokens` tokens, `infinite_texts` the texts that have one.
    `coefficient`: mean weight of the control variate; 0 is Σ kl alone, 1 is L_T alone.
    """

    tokens: int
    interval: Interval | None
    infinite_tokens: int
    infinite_texts: int
    coefficient: float

    @property
    def infinite(self) -> bool:
        """Whether K is infinite."""
        return self.infinite_tokens > 0


def k_by_length(laws: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95) -> tuple[KEstimate, ...]:
    """Return K at each length from texts that p wrote; give `laws.swapped` of q's texts for the reverse K.

    Limits are those of a mean over units, widened for skewness. K is never negative, and neither are they. Limits without a width
    (`has_no_width`) are not intervals: every unit says the same, as where no text met the contexts in which the laws differ.

    Raises TooFewDocuments for fewer than two units, DataError as `gap_sums` does.
    """
    exact = unit_means(sums_to(laws.kl_pq, laws, lengths), laws.unit)
    drawn = unit_means(gap_sums(laws, lengths), laws.unit)
    if len(exact) < 2:
        raise TooFewDocuments(f"K with an interval needs at least 2 documents, there is {len(exact)}")
    impossible = laws.inside & (np.isposinf(laws.kl_pq) | np.isneginf(laws.log_q))
    counts = sums_to(impossible.astype(np.float64), laws, lengths)
    tokens, texts = counts.sum(axis=0).astype(int), (counts > 0).sum(axis=0)
    return tuple(
        _estimate(int(n), exact[:, j], drawn[:, j], level)
        if bad == 0
        else KEstimate(int(n), None, int(bad), int(whose), 0.0)
        for j, (n, bad, whose) in enumerate(zip(lengths, tokens, texts, strict=True))
    )


def controlled(
    exact: Float[np.ndarray, " units"], drawn: Float[np.ndarray, " units"]
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """Return each unit's Σ kl + c (L − Σ kl), and its c as fitted on all other units.

    c = −Cov(Σ kl, L − Σ kl)/E(L − Σ kl)² has the least variance; L − Σ kl is known to have mean 0. It is kept within ±1.
    """
    noise = drawn - exact
    n = exact.size
    if n < LEAST_UNITS_FOR_COEFFICIENT:
        return exact, np.zeros(n)
    others = (exact.sum() - exact) / (n - 1)
    # Σ over the others of (S − mean of the others) · D, without the unit itself
    products = ((exact @ noise) - exact * noise) - others * (noise.sum() - noise)
    squares = np.square(noise).sum() - np.square(noise)
    floor = 1e-24 * max(float(np.square(exact).sum()), 1e-300)
    fitted = np.divide(-products, squares, out=np.zeros(n), where=squares > floor)
    coefficients = np.clip(fitted, -_LARGEST_COEFFICIENT, _LARGEST_COEFFICIENT)
    return exact + coefficients * noise, coefficients


def _estimate(
    tokens: int, exact: Float[np.ndarray, " units"], drawn: Float[np.ndarray, " units"], level: float
) -> KEstimate:
    values, coefficients = controlled(exact, drawn)
    value, n = float(values.mean()), values.size
    error = float(values.std(ddof=1)) / math.sqrt(n)
    low, high = mean_limits(value, error, skewness(values - value), n, level=level)
    interval = Interval(max(value, 0.0), max(low, 0.0), max(high, 0.0), level, n)
    return KEstimate(tokens, interval, 0, 0, float(coefficients.mean()))
