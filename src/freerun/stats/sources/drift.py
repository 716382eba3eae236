"""Does belief about the source move along a model's own text without being told anything? Means over documents.

If free text is drawn from the mixture of the sources' laws, with the posterior at the cut as weights, then the posterior along
it is a martingale: whatever the prefix, the length, and whether a text stops at an end of its own, E π_T(s) = π_0(s). Documents are
the independent units. A mean change that is not 0 says "not this mixture", and nothing of another one. Real text has no such
null.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds.certificates import binary_kl
from freerun.stats.intervals import Interval, t_quantile
from freerun.stats.multiplicity import holm
from freerun.stats.sources.posterior import posterior_of

PSEUDO_DOCUMENTS = 4.0
"""Documents of the largest variance that a belief of this mean can have, counted beside those that were seen."""
LEAST_EXPECTED = 5.0
"""A source is judged where so many documents would be its own, and so many not; rarer ones are judged together."""


def held_posterior(
    prior: Float[np.ndarray, " sources"], log_likelihood_nats: Float[np.ndarray, "sources tokens_1"]
) -> Float[np.ndarray, "tokens_1 sources"]:
    """Return π after every number of tokens; after a token that no source with a prior can write, π stays what it was before.

    `log_likelihood_nats[s, t]` is ln q(x_≤t | s), with whatever was read before x_1 in column 0.

    Raises DataError as `posterior_of` does, and where no column can be written.

    >>> held_posterior(np.array([0.5, 0.5]), np.log([[1, 0.25], [1, 0.75]]))[:, 0].tolist()
    [0.5, 0.25]
    """
    values = np.asarray(log_likelihood_nats, np.float64)
    with np.errstate(divide="ignore"):
        possible = np.isfinite(special.logsumexp(np.log(prior)[:, None] + values, axis=0))
    if not possible[0]:
        raise DataError("no source with a prior can write what stands before the first token")
    last = np.maximum.accumulate(np.where(possible, np.arange(possible.size), 0))
    return posterior_of(prior, values.T[last])


@dataclass(frozen=True)
class BeliefChange:
    """Mean belief in each source at the cut and at the end, and its mean change with a t interval; `n` counts documents.

    `p_value`: two-sided, null of no change on average.
    """

    start: Float[np.ndarray, " sources"]
    change: Float[np.ndarray, " sources"]
    low: Float[np.ndarray, " sources"]
    high: Float[np.ndarray, " sources"]
    p_value: Float[np.ndarray, " sources"]
    level: float
    n: int

    @property
    def end(self) -> Float[np.ndarray, " sources"]:
        return np.asarray(self.start + self.change)

    def interval(self, at: int) -> Interval:
        """The mean change of one source."""
        change, low, high = (float(x[at]) for x in (self.change, self.low, self.high))
        return Interval(change, low, high, self.level, self.n)


def belief_change(
    start: Float[np.ndarray, "documents sources"], end: Float[np.ndarray, "documents sources"], *, level: float = 0.95
) -> BeliefChange:
    """Return the mean change of each column over documents.

    The variance counts `PSEUDO_DOCUMENTS` documents more, each with the largest variance that a belief of mean m can have, m(1 − m)
    (the idea of Agresti & Coull 1998): without them a rare jump that has not come yet makes the interval too short. Where beliefs
    move little it is therefore wide.

    Raises TooFewDocuments for fewer than two documents, DataError for shapes that do not fit or entries outside [0, 1].
    """
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if a.ndim != 2 or a.shape != b.shape or not ((a > -1e-9) & (a < 1 + 1e-9) & (b > -1e-9) & (b < 1 + 1e-9)).all():
        raise DataError(f"beliefs of shapes {a.shape} and {b.shape} must be documents × sources, from 0 to 1")
    n = len(a)
    if n < 2:
        raise TooFewDocuments(f"a mean change with interval needs at least 2 documents, there are {n}")
    mean, moved = np.clip(a.mean(axis=0), 0.0, 1.0), b - a
    change = moved.mean(axis=0)
    spread = np.square(moved - change).sum(axis=0) + PSEUDO_DOCUMENTS * mean * (1.0 - mean)
    error = np.sqrt(spread / (n - 1 + PSEUDO_DOCUMENTS) / n)
    half = t_quantile(n, level) * error
    z = np.divide(np.abs(change), error, out=np.zeros_like(change), where=error > 0)
    p = np.where((error == 0) & (change != 0), 0.0, 2.0 * stats.t.sf(z, n - 1))
    return BeliefChange(mean, change, change - half, change + half, np.asarray(p), level, n)


LEADING = (-1,)
"""The group of the source that each document itself puts first at the cut: what makes the rich richer may cancel by source."""


@dataclass(frozen=True)
class DriftTest:
    """What was judged, its mean change, and what it says of the null.

    A group is one source, several rare ones together, or `LEADING`. `p_holm`: over the groups; approximate, as t tests are.
    `exact_p` holds at any n for all groups together: the mean of independent beliefs with known means reaches m_T with probability
    at most exp(−n·kl(m_T‖m_0)) (Hoeffding 1963, theorem 1).
    """

    groups: tuple[tuple[int, ...], ...]
    change: BeliefChange
    p_holm: Float[np.ndarray, " groups"]
    exact_p: float


def drift_test(
    start: Float[np.ndarray, "documents sources"], end: Float[np.ndarray, "documents sources"], *, level: float = 0.95
) -> DriftTest | None:
    """Test that belief does not drift; None where n documents can judge nothing.

    Judged are the sources that at least `LEAST_EXPECTED` documents would be by, and as many not; the others together if they are
    that many; and the source that leads at the cut, whichever it is. All of them are martingales under the null.

    Raises as `belief_change` does.
    """
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    n, expected = len(a), a.sum(axis=0)

    def enough(column: Float[np.ndarray, " documents"]) -> bool:
        count = float(column.sum())
        return min(count, n - count) >= LEAST_EXPECTED

    groups: list[tuple[int, ...]] = [(s,) for s in range(a.shape[1]) if enough(a[:, s])]
    rare = tuple(s for s in range(a.shape[1]) if (s,) not in groups and expected[s] > 0)
    if len(rare) > 1 and enough(a[:, list(rare)].sum(axis=1)):
        groups.append(rare)
    lead = a.argmax(axis=1)
    if enough(a[np.arange(n), lead]) and len(set(lead.tolist())) > 1:
        groups.append(LEADING)
    if not groups:
        return None

    def columns(x: Float[np.ndarray, "documents sources"]) -> Float[np.ndarray, "documents groups"]:
        each = [x[np.arange(n), lead] if g == LEADING else x[:, list(g)].sum(axis=1) for g in groups]
        return np.asarray(np.clip(np.stack(each, axis=1), 0.0, 1.0))

    found = belief_change(columns(a), columns(b), level=level)
    kl = np.asarray(binary_kl(np.clip(found.end, 0.0, 1.0), found.start))
    exact = min(1.0, 2.0 * len(groups) * float(np.exp(-n * kl.max())))
    return DriftTest(tuple(groups), found, holm(np.minimum(found.p_value, 1.0)), exact)
