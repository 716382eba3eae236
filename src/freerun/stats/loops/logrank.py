"""Do two kinds of text meet an event at the same rate? The log-rank test within strata (Mantel 1966)."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from freerun.errors import DataError
from freerun.stats.loops.survival import LOOP


@dataclass(frozen=True)
class LogRank:
    """Events of the first kind against what equal hazards within each stratum would give.

    `p_value` is the usual chi-square one, with one degree of freedom; `p_exact` sums the hypergeometric laws of the same
    tables (risk sets taken as given), two-sided, and is the one to read where events are few. Both are 1 where no table
    can tell (`variance` 0; `chi_square` is then None). `n_informative` counts strata with a table that can.
    """

    observed: int
    expected: float
    variance: float
    chi_square: float | None
    p_value: float
    p_exact: float
    n_events: int
    n_strata: int
    n_informative: int


def stratified_log_rank(
    time_tokens: Int[np.ndarray, " sequences"],
    cause: Int[np.ndarray, " sequences"],
    first: Bool[np.ndarray, " sequences"],
    strata: Int[np.ndarray, " sequences"],
    *,
    event: int = LOOP,
) -> LogRank:
    """Compare the cause-specific hazards of the `first` sequences with those of the others, within strata.

    Times and causes are those of `survival.cumulative_incidence`; every cause but `event` ends the following of a
    sequence. A stratum is a document: under the null all continuations of one prefix have the same hazard at every
    token, whatever it is, so that neither the differences between documents nor their dependence matter. Against an
    alternative where the sign changes with position it has little power.

    Raises DataError for columns of different length, or none.
    Source: Mantel 1966; Kalbfleisch & Prentice 2002, section 1.4; exact form: Thomas 1975.

    >>> kind = np.array([True, True, False, False])
    >>> found = stratified_log_rank(np.array([1, 2, 3, 4]), np.ones(4, int), kind, np.zeros(4, int))
    >>> found.observed, round(found.expected, 3), round(found.p_value, 3)
    (2, 0.833, 0.09)
    """
    time, cause, first = np.asarray(time_tokens), np.asarray(cause), np.asarray(first, bool)
    strata = np.asarray(strata)
    if not time.size or not time.shape == cause.shape == first.shape == strata.shape:
        raise DataError(f"{time.size} times, {cause.size} causes, {first.size} kinds, {strata.size} strata; one each")
    came = cause == event
    observed, expected, variance, informative = int((came & first).sum()), 0.0, 0.0, 0
    law = np.ones(1)
    for stratum in np.unique(strata[came]).tolist():
        mine = np.flatnonzero(strata == stratum)
        when, event_here, first_here, told = time[mine], came[mine], first[mine], False
        for t in np.unique(when[event_here]).tolist():
            at_risk = when >= t
            n, n_first = int(at_risk.sum()), int((at_risk & first_here).sum())
            d = int((event_here & (when == t)).sum())
            share = n_first / n
            expected += d * share
            if n > 1 and 0 < n_first < n:
                here = d * share * (1.0 - share) * (n - d) / (n - 1)
                variance += here
                told |= here > 0
            law = np.convolve(law, _hypergeometric(n, n_first, d))
        informative += told
    chi_square = (observed - expected) ** 2 / variance if variance > 0 else None
    return LogRank(
        observed=observed,
        expected=expected,
        variance=variance,
        chi_square=chi_square,
        p_value=1.0 if chi_square is None else float(special.chdtrc(1, chi_square)),
        p_exact=_two_sided(law, observed),
        n_events=int(came.sum()),
        n_strata=int(np.unique(strata).size),
        n_informative=informative,
    )


def _hypergeometric(n: int, n_first: int, d: int) -> Float[np.ndarray, " counts"]:
    """The law of how many of d events fall on the first n_first of n texts at risk."""
    return np.array([comb(n_first, k) * comb(n - n_first, d - k) / comb(n, d) for k in range(d + 1)])


def _two_sided(law: Float[np.ndarray, " counts"], observed: int) -> float:
    """Sum the probabilities of counts no more probable than the one observed."""
    return float(min(1.0, law[law <= law[observed] * (1.0 + 1e-9)].sum()))
