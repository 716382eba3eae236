"""From laws to their profiles, and what a sampling rule makes of a profile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import UsageError
from freerun.predictors.rules import MinP, Penalty, SamplingRule, Temperature, TopK, TopP
from freerun.stats.verification.profile import LUMP_NATS, N_LUMPS, SINGLES, Cut, Places, Profile, Weights

_FAR = -1e4
"""Where impossible ids are put; they have no mass."""
_CERTAIN = 1 - 1e-12
_JUST = 1e-9
"""The least mass by which an id is outside."""


def profile_of(
    log_probs: Float[np.ndarray, "rows vocabulary"], ids: Int[np.ndarray, " rows"], end_ids: tuple[int, ...]
) -> Profile:
    """The profile of some rows of normalised log-probabilities (nats), with the places of the ids written and of the end ids."""
    n_rows, n_tokens = log_probs.shape
    n_singles = min(n_tokens, SINGLES)
    table = np.maximum(log_probs, _FAR)
    n_lumps = 0 if n_singles == n_tokens else N_LUMPS
    atoms = np.zeros((n_rows, n_singles + n_lumps), np.float32)
    count = np.ones((n_rows, n_singles + n_lumps), np.float32)
    order = most_probable(table, n_singles)
    atoms[:, :n_singles] = np.take_along_axis(table, order, axis=1)
    lumps = np.minimum((table * (-1 / LUMP_NATS)).astype(np.int32), N_LUMPS - 1) if n_lumps else None
    if lumps is not None:
        mean, count[:, n_singles:] = _lumped(table, lumps, order)
        atoms[:, n_singles:] = np.minimum(mean, atoms[:, n_singles - 1 : n_singles])
    token = _places(table, ids[:, None], order, lumps, n_singles)
    ends = _places(table, np.broadcast_to(np.array(end_ids, np.int64), (n_rows, len(end_ids))), order, lumps, n_singles)
    return Profile(atoms, count, n_singles, token, ends)


def most_probable(table: Float[np.ndarray, "rows vocabulary"], n: int) -> Int[np.ndarray, "rows n"]:
    """The n most probable ids of each row, ties to the smaller id."""
    if n == table.shape[1]:
        return np.argsort(-table, axis=1, kind="stable")
    out = np.empty((len(table), n), np.int64)
    for i, row in enumerate(table):
        least = np.partition(row, -n)[-n]
        best = np.flatnonzero(row >= least)
        out[i] = best[np.argsort(-row[best], kind="stable")][:n]
    return out


def _lumped(
    table: Float[np.ndarray, "rows vocabulary"],
    lumps: Int[np.ndarray, "rows vocabulary"],
    order: Int[np.ndarray, "rows n"],
) -> tuple[Float[np.ndarray, "rows lumps"], Float[np.ndarray, "rows lumps"]]:
    """Log of the mean probability in each lump (its middle where it is empty) and its tokens; those that stand alone apart."""
    n_rows = len(table)
    flat = (lumps + N_LUMPS * np.arange(n_rows, dtype=np.int32)[:, None]).ravel()
    alone = (np.take_along_axis(lumps, order, axis=1) + N_LUMPS * np.arange(n_rows)[:, None]).ravel()
    probs = np.exp(table)
    size = n_rows * N_LUMPS
    count = np.bincount(flat, minlength=size) - np.bincount(alone, minlength=size)
    mass = np.bincount(flat, probs.ravel(), size) - np.bincount(
        alone, np.take_along_axis(probs, order, axis=1).ravel(), size
    )
    middle = np.tile(-LUMP_NATS * (np.arange(N_LUMPS) + 0.5), n_rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where((count > 0) & (mass > 0), np.log(mass / count), middle)
    low = middle - LUMP_NATS / 2
    mean = np.where(np.tile(np.arange(N_LUMPS) < N_LUMPS - 1, n_rows), np.clip(mean, low, low + LUMP_NATS), mean)
    return mean.reshape(n_rows, N_LUMPS), count.reshape(n_rows, N_LUMPS)


def _places(
    table: Float[np.ndarray, "rows vocabulary"],
    ids: Int[np.ndarray, "rows ids"],
    order: Int[np.ndarray, "rows n"],
    lumps: Int[np.ndarray, "rows vocabulary"] | None,
    n_singles: int,
) -> Places:
    log_prob = np.take_along_axis(table, ids, axis=1)
    atom, offset = np.zeros(ids.shape, np.int64), np.zeros(ids.shape)
    for i, j in np.ndindex(ids.shape):
        at = np.flatnonzero(order[i] == ids[i, j])
        if len(at):
            atom[i, j] = at[0]
            continue
        assert lumps is not None
        lump = lumps[i, ids[i, j]]
        inside = np.flatnonzero(lumps[i] == lump)
        inside = inside[~np.isin(inside, order[i])]
        ahead = table[i, inside] > log_prob[i, j]
        tied = (table[i, inside] == log_prob[i, j]) & (inside < ids[i, j])
        atom[i, j], offset[i, j] = n_singles + lump, (ahead | tied).sum() / len(inside)
    return Places(log_prob, atom, offset)


# ---- rules -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Limit:
    """Where one truncation cuts: the law that it acted on, and the mass `within` what the steps before it had left.

    `within_ties`: the same where every step kept all that are as probable as the last one it keeps, as many engines do.
    """

    step: TopK | TopP | MinP
    weights: Weights
    within: Float[np.ndarray, " rows"]
    within_ties: Float[np.ndarray, " rows"]

    def exceeded(self, token: Places) -> Float[np.ndarray, " rows"]:
        """By how much mass one id a row misses what is kept: of top-p, how much larger p would have to be; of top-k, the mass that
        stands between, or the probability that the id lacks to be the last one kept, whichever is more; of min-p, the probability
        that the id lacks. At most 0 for ids that are kept, and for those as probable as the last one kept: which of equals are
        kept, and whether all are, is every engine's own choice."""
        match self.step:
            case TopP(p):
                beyond = self.weights.before(token)[:, 0] - p * self.within_ties
                return np.where(self._as_probable(token, self.weights.top_p(p, self.within_ties)), 0.0, beyond)
            case TopK(k):
                cut = self.weights.top_k(k)
                between = self.weights.before(token)[:, 0] - self.weights.kept(cut)
                lacks = np.exp(self.weights.last_kept(cut)) - np.exp(self.weights.log_prob(token)[:, 0])
                beyond = np.where(cut.keeps(token)[:, 0], between, np.maximum(between, lacks))
                return np.where(self._as_probable(token, cut), 0.0, beyond)
            case MinP(share):
                highest = np.exp(self.weights.power * self.weights.profile.log_prob[:, 0] - self.weights.log_total)
                return np.asarray(share * highest - np.exp(self.weights.log_prob(token)[:, 0]))

    def _as_probable(self, token: Places, cut: Cut) -> Bool[np.ndarray, " rows"]:
        """Whether an id that is cut is as probable as the last one kept."""
        last = np.asarray(self.weights.profile.last_kept(cut), np.float32)
        return np.asarray(~cut.keeps(token)[:, 0] & (token.log_prob[:, 0].astype(np.float32) >= last))


@dataclass(frozen=True, eq=False)
class Shaped:
    """What a rule makes of a profile's laws: the power that they are raised to, and what is kept of them.

    `without_ends`: what is sampled is renormalised over ids that end no text.
    """

    weights: Weights
    cut: Cut
    without_ends: bool = False
    limits: tuple[Limit, ...] = ()

    def overshoot(self, token: Places) -> Float[np.ndarray, " rows"]:
        """By how much mass one id a row is outside what is kept; 0 inside."""
        outside = ~self.cut.keeps(token)[:, 0]
        exceeded = [limit.exceeded(token) for limit in self.limits]
        return np.where(outside, np.max([np.full(len(outside), _JUST), *exceeded], axis=0), 0.0)

    def overshoot_of_rank(self, token: Places) -> Float[np.ndarray, " rows"]:
        """The same of the cuts that go by rank or by share of the most probable id, not by mass; 0 where there are none."""
        exceeded = [limit.exceeded(token) for limit in self.limits if not isinstance(limit.step, TopP)]
        return np.asarray(np.max([np.zeros(self.weights.profile.n_rows), *exceeded], axis=0))

    def shortfall(self, token: Places) -> Float[np.ndarray, " rows"]:
        """By how many nats of the model's own law one id a row is less probable than any that is kept; 0 inside."""
        least = self.weights.profile.last_kept(self.cut)
        outside = ~self.cut.keeps(token)[:, 0]
        return np.where(outside, np.maximum(least - token.log_prob[:, 0], 0.0), 0.0)

    @cached_property
    def kept_mass(self) -> Float[np.ndarray, " rows"]:
        """Mass that truncations leave, of the law at the rule's temperature."""
        return self.weights.kept(self.cut)

    @cached_property
    def end_mass(self) -> Float[np.ndarray, " rows"]:
        """Mass of the law that truncations leave on ids that end a text."""
        return np.asarray(np.minimum(self.end_mass_within(self.cut) / self.kept_mass, _CERTAIN))

    @cached_property
    def sampled_mass(self) -> Float[np.ndarray, " rows"]:
        """Mass of the law at the rule's temperature on what can be sampled."""
        return self.kept_mass * (1.0 - self.end_mass) if self.without_ends else self.kept_mass

    def end_mass_within(self, cut: Cut) -> Float[np.ndarray, " rows"]:
        """Mass of the law at the rule's temperature on ends that a cut keeps."""
        ends = self.weights.profile.ends
        return np.asarray(np.where(cut.keeps(ends), np.exp(self.weights.log_prob(ends)), 0.0).sum(axis=1))

    def log_prob(self, token: Places) -> Float[np.ndarray, " rows"]:
        """Of one id a row under the law that is sampled; −inf outside what is kept."""
        told = self.weights.log_prob(token)[:, 0] - np.log(self.sampled_mass)
        return np.where(self.cut.keeps(token)[:, 0], told, -np.inf)

    def before(self, token: Places) -> Float[np.ndarray, " rows"]:
        """Mass of the law that is sampled on ids that stand before one, most probable first."""
        before = self.weights.before(token)[:, 0]
        if self.without_ends:
            ends = self.weights.profile.ends
            ahead = (ends.atom < token.atom) | ((ends.atom == token.atom) & (ends.offset < token.offset))
            before = before - np.where(ahead, np.exp(self.weights.log_prob(ends)), 0.0).sum(axis=1)
        return np.asarray(np.clip(before / np.maximum(self.sampled_mass, 1e-300), 0.0, 1.0))

    def surprisal_moments(self) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Mean and variance of the surprisal of a token drawn, nats and nats squared."""
        mean, variance = self.weights.surprisal_moments(self.cut)
        if not self.without_ends:
            return mean, variance
        ends = self.weights.profile.ends
        surprisal = np.log(self.kept_mass)[:, None] - self.weights.log_prob(ends)
        share = np.where(self.cut.keeps(ends), np.exp(-surprisal), 0.0)
        rest = 1.0 - self.end_mass
        first = (mean - (share * surprisal).sum(axis=1)) / rest
        second = (variance + np.square(mean) - (share * np.square(surprisal)).sum(axis=1)) / rest
        return first + np.log(rest), np.maximum(second - np.square(first), 0.0)


def shaped(rule: SamplingRule, profile: Profile, *, without_ends: bool = False, keep_ties: bool = False) -> Shaped:
    """The steps of a rule, one after another, each on what the step before it left.

    `keep_ties`: top-k and top-p keep all that are as probable as the last one that they keep.

    Raises:
        UsageError: penalties, which change the order: give them to the law before its profile is made; or temperature 0.
    """
    weights, cut = profile.weights(), profile.whole
    with_ties = cut
    limits: list[Limit] = []
    for step in rule.steps:
        if isinstance(step, TopK | TopP | MinP):
            limits.append(Limit(step, weights, weights.kept(cut), weights.kept(with_ties)))
        match step:
            case Temperature(temperature):
                if temperature == 0:
                    raise UsageError("temperature 0 leaves nothing to chance: there is no law to hold samples against")
                weights = profile.weights(weights.power / temperature)
            case TopK(top_k):
                cut = cut.shorter(weights.top_k(top_k))
                with_ties = with_ties.shorter(profile.with_ties(weights.top_k(top_k)))
            case TopP(top_p):
                cut = cut.shorter(weights.top_p(top_p, weights.kept(cut)))
                widest = weights.top_p(top_p, weights.kept(with_ties))
                with_ties = with_ties.shorter(profile.with_ties(widest))
            case MinP(min_p):
                cut = cut.shorter(weights.min_p(min_p))
                with_ties = with_ties.shorter(weights.min_p(min_p))
            case _ if isinstance(step, Penalty):
                raise UsageError(f"{step.describe()}: penalties come before temperature and truncations")
    return Shaped(weights, with_ties if keep_ties else cut, without_ends, tuple(limits))
