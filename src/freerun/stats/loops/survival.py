"""When loops begin: cumulative incidence with end of text as a competing risk (Aalen & Johansen 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, checked_level, clopper_pearson, group_index
from freerun.stats.proportions import clustered_proportion, proportion_limits

CENSORED, LOOP, END_OF_TEXT = 0, 1, 2
_ROUNDING = 1e-12
"""Of sums of hazards: an incidence this near to 0 or 1 is that."""


@dataclass(frozen=True)
class CumulativeIncidence:
    """The chance that the event has come by each time, in tokens, while other causes compete.

    `incidence[t]`, `low[t]`, `high[t]` belong to `times[t]` = 1, 2, ... tokens, or the times asked for; `survival` is the chance
    that nothing has come yet. `at_risk` counts sequences still followed at that token.
    """

    times: Int[np.ndarray, " times"]
    incidence: Float[np.ndarray, " times"]
    low: Float[np.ndarray, " times"]
    high: Float[np.ndarray, " times"]
    survival: Float[np.ndarray, " times"]
    at_risk: Int[np.ndarray, " times"]
    level: float
    n_sequences: int
    n_groups: int
    n_events: int
    n_competing: int
    n_censored: int

    @property
    def at_end(self) -> Interval:
        """The incidence by the last token."""
        value, low, high = (float(v[-1]) for v in (self.incidence, self.low, self.high))
        return Interval(value, low, high, self.level, self.n_groups)


def cumulative_incidence(
    time_tokens: Int[np.ndarray, " sequences"],
    cause: Int[np.ndarray, " sequences"],
    *,
    groups: Int[np.ndarray, " sequences"] | None = None,
    event: int = LOOP,
    at: Int[np.ndarray, " times"] | None = None,
    level: float = 0.95,
) -> CumulativeIncidence:
    """Return the Aalen-Johansen estimate with pointwise intervals clustered by group (document), at every token or at some.

    `time_tokens` is the number of tokens after which the event came or following stopped; a sequence is at risk at
    tokens 1 .. time. `cause` is 0 censored (the cap), 1 loop, 2 end of text. Censoring must not depend on what would
    have come. Intervals: influence functions summed within groups, then Clopper-Pearson limits at the number of trials that has
    this error (Korn & Graubard 1998), at most the sequences. Where the estimate is 0 or 1 there is no error, and the trials are
    all groups while no sequence has been censored. After that they are the groups still at risk for 0; for 1, those that were
    censored count as if the event never came to them.

    `at`: the times to give, ascending, of those that some sequence reaches; memory is sequences times these.

    Raises TooFewDocuments for fewer than two groups, DataError for times below 1 or unknown causes.
    Source: Aalen & Johansen 1978; Andersen et al. 1993, section IV.4.

    >>> found = cumulative_incidence(np.array([2, 3, 3, 4]), np.array([1, 2, 1, 0]))
    >>> found.incidence.tolist()
    [0.0, 0.25, 0.5, 0.5]
    """
    time, cause, index, n_groups = _checked(time_tokens, cause, groups)
    last = int(time.max())
    at_risk = time.size - np.cumsum(np.bincount(time, minlength=last + 1))[:-1]
    came = cause == event
    ended = cause != CENSORED
    hazard = np.bincount(time[came], minlength=last + 1)[1:] / at_risk
    hazard_any = np.bincount(time[ended], minlength=last + 1)[1:] / at_risk
    survival = np.cumprod(1.0 - hazard_any)
    before = np.concatenate(([1.0], survival[:-1]))
    incidence = np.minimum(np.cumsum(before * hazard), 1.0)  # sums round
    columns = np.arange(last) if at is None else np.asarray(at)[np.asarray(at) <= last] - 1
    influence = _influence(time, came, ended, at_risk, hazard, hazard_any, before, incidence, columns)
    sums = np.zeros((n_groups, columns.size))
    np.add.at(sums, index, influence)
    error = np.sqrt(n_groups / (n_groups - 1) * np.square(sums).sum(axis=0))
    incidence, survival, at_risk = incidence[columns], survival[columns], at_risk[columns]
    low, high = np.array(
        [
            proportion_limits(float(v), float(e), time.size, n_groups, level=level)
            for v, e in zip(incidence, error, strict=True)
        ]
    ).T
    none, all_of_them = incidence <= _ROUNDING, incidence >= 1.0 - _ROUNDING
    followed, lost = _groups_followed(time, cause == CENSORED, index, n_groups, columns)
    trials = np.where(lost == 0, n_groups, np.maximum(followed, 1))
    low[none], high[none] = 0.0, [clopper_pearson(0, int(n), level=level).high for n in trials[none]]
    low[all_of_them] = [clopper_pearson(n_groups - int(n), n_groups, level=level).low for n in lost[all_of_them]]
    high[all_of_them] = 1.0
    return CumulativeIncidence(
        times=columns + 1,
        incidence=incidence,
        low=low,
        high=high,
        survival=survival,
        at_risk=at_risk,
        level=level,
        n_sequences=time.size,
        n_groups=n_groups,
        n_events=int(came.sum()),
        n_competing=int((ended & ~came).sum()),
        n_censored=int((~ended).sum()),
    )


def _groups_followed(
    time: Int[np.ndarray, " sequences"],
    censored: Bool[np.ndarray, " sequences"],
    index: Int[np.ndarray, " sequences"],
    n_groups: int,
    columns: Int[np.ndarray, " chosen"],
) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " chosen"]]:
    """Groups with a sequence at risk after each chosen token, and those that have lost one to censoring by then."""
    last = int(time.max())
    latest, first_lost = np.zeros(n_groups, dtype=np.int64), np.full(n_groups, last + 1)
    np.maximum.at(latest, index, time)
    np.minimum.at(first_lost, index[censored], time[censored])
    gone, lost = (np.cumsum(np.bincount(t, minlength=last + 2))[columns] for t in (latest, first_lost))
    return n_groups - gone, lost


def hazard_per_token(
    time_tokens: Int[np.ndarray, " sequences"],
    cause: Int[np.ndarray, " sequences"],
    *,
    groups: Int[np.ndarray, " sequences"] | None = None,
    event: int = LOOP,
    level: float = 0.95,
) -> Interval:
    """Return events per token at risk, with Korn & Graubard's document-clustered interval (`clustered_proportion`).

    Raises as `cumulative_incidence` does.
    """
    time, cause, index, _ = _checked(time_tokens, cause, groups)
    return clustered_proportion(cause == event, time, index, level=level)


@dataclass(frozen=True)
class HazardCurve:
    """Events per token at risk in bins of positions [left, right), counted from 0, with document-clustered intervals.

    `hazard` is NaN where no token is at risk, `low` and `high` where fewer than two documents are. `events` holds counts,
    or sums of masses.
    """

    left: Int[np.ndarray, " bins"]
    right: Int[np.ndarray, " bins"]
    hazard: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    events: Float[np.ndarray, " bins"]
    tokens_at_risk: Int[np.ndarray, " bins"]
    n_groups: Int[np.ndarray, " bins"]
    level: float


def hazard_by_position(
    time_tokens: Int[np.ndarray, " sequences"],
    cause: Int[np.ndarray, " sequences"],
    *,
    edges: Int[np.ndarray, " edges"],
    mass: Float[np.ndarray, "sequences tokens"] | None = None,
    groups: Int[np.ndarray, " sequences"] | None = None,
    event: int = LOOP,
    level: float = 0.95,
) -> HazardCurve:
    """Return the hazard per bin of positions, from counts or from `mass` (Rao-Blackwell).

    `mass[i, t]` is the mass that the sampled law put, at position t of sequence i, on the tokens that bring the event
    (what stands after the sequence's time does not count). Given the past its mean is that of the count, so both
    estimate the same hazard and the mass varies less. Intervals as in `clustered_proportion`, pointwise.

    Raises as `cumulative_incidence` does, and DataError for edges that do not ascend or masses outside [0, 1].
    """
    time, cause, index, _ = _checked(time_tokens, cause, groups)
    edges = np.asarray(edges)
    if edges.size < 2 or (np.diff(edges) <= 0).any():
        raise DataError(f"edges are {edges.tolist()}; they must ascend and be at least two")
    at_risk = np.diff(np.minimum(time[:, None], edges[None, :]), axis=1)
    if mass is None:
        came = (cause == event)[:, None]
        events = (came & (time[:, None] > edges[:-1]) & (time[:, None] <= edges[1:])).astype(np.float64)
    else:
        risky = np.where(np.arange(mass.shape[1])[None, :] < time[:, None], mass, 0.0)
        sums = np.concatenate([np.zeros((time.size, 1)), np.cumsum(risky, axis=1)], axis=1)
        events = np.maximum(np.diff(sums[:, np.minimum(edges, mass.shape[1])], axis=1), 0.0)
    n_bins = edges.size - 1
    hazard, low, high = np.full((3, n_bins), np.nan)
    documents = np.zeros(n_bins, np.int64)
    for b in range(n_bins):
        followed = at_risk[:, b] > 0
        documents[b] = np.unique(index[followed]).size
        if documents[b] >= 1:
            hazard[b] = events[followed, b].sum() / at_risk[followed, b].sum()
        if documents[b] >= 2:
            here = clustered_proportion(
                events[followed, b], at_risk[followed, b], index[followed], level=level, masses=mass is not None
            )
            low[b], high[b] = here.low, here.high
    return HazardCurve(
        left=edges[:-1],
        right=edges[1:],
        hazard=hazard,
        low=low,
        high=high,
        events=events.sum(axis=0),
        tokens_at_risk=at_risk.sum(axis=0),
        n_groups=documents,
        level=checked_level(level),
    )


def _influence(
    time: Int[np.ndarray, " n"],
    came: Bool[np.ndarray, " n"],
    ended: Bool[np.ndarray, " n"],
    at_risk: Int[np.ndarray, " times"],
    hazard: Float[np.ndarray, " times"],
    hazard_any: Float[np.ndarray, " times"],
    before: Float[np.ndarray, " times"],
    incidence: Float[np.ndarray, " times"],
    columns: Int[np.ndarray, " chosen"],
) -> Float[np.ndarray, "n chosen"]:
    """Return each sequence's first-order share of F(t) at the chosen times.

    dF(t)/dh(s) = S(s-1) for the event's own hazard and -(F(t) - F(s))/(1 - h(s)) for any hazard, s <= t; a sequence
    moves the hazards of the tokens at which it is at risk by (event - hazard)/at_risk.
    """
    staying = 1.0 - hazard_any
    per_loss = np.divide(1.0, staying * at_risk, out=np.zeros_like(staying), where=staying > 0)
    own = np.cumsum(before * hazard / at_risk)
    loss = np.cumsum(hazard_any * per_loss)
    loss_f = np.cumsum(incidence * hazard_any * per_loss)
    here = time - 1
    until = np.minimum(here[:, None], columns[None, :])
    reached = columns[None, :] >= here[:, None]
    then = incidence[columns]
    direct = (came * before[here] / at_risk[here])[:, None]
    indirect = (ended * per_loss[here])[:, None] * (then[None, :] - incidence[here][:, None])
    return np.asarray(reached * (direct - indirect) - own[until] + then * loss[until] - loss_f[until])


def _checked(
    time_tokens: Int[np.ndarray, " n"], cause: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"] | None
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"], int]:
    time, cause = np.asarray(time_tokens), np.asarray(cause)
    index, n_groups = group_index(np.arange(time.size) if groups is None else groups)
    if n_groups < 2:
        raise TooFewDocuments(f"an incidence with interval needs at least 2 documents, there are {n_groups}")
    if time.shape != cause.shape or index.shape != time.shape:
        raise DataError(f"{time.size} times, {cause.size} causes and {index.size} groups; one each per sequence")
    if time.min() < 1 or not np.isin(cause, (CENSORED, LOOP, END_OF_TEXT)).all():
        raise DataError("times must be at least 1 token and causes 0 (censored), 1 (loop) or 2 (end of text)")
    return time, cause, index, n_groups
