"""Laws without their ids, most probable token first: what every temperature and truncation makes of them can be had from this.

The first tokens stand alone, the rest in lumps of like log-probability (an eighth of a nat wide, so that a sum of powers of them is
off by less than a thousandth of the lump's own). Temperature and truncations keep the order, so a rule is a power and a place where
the order is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

SINGLES = 1024
"""Most probable tokens that stand alone."""
LUMP_NATS = 0.125
N_LUMPS = 320
"""Lumps up to 40 nats; the last one holds all beyond."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where ids stand in each row: their atom, and the share of the atom's tokens that stand before them."""

    log_prob: Float[np.ndarray, "rows ids"]
    atom: Int[np.ndarray, "rows ids"]
    offset: Float[np.ndarray, "rows ids"]


@dataclass(frozen=True, eq=False)
class Profile:
    """Laws of `rows` contexts: the mean log-probability of a token of each atom (nats, descending) and how many tokens it holds.

    `token`: the id that was written, one a row. `ends`: the ids that end a text. `n_singles` atoms hold one token each.
    """

    log_prob: Float[np.ndarray, "rows atoms"]
    count: Float[np.ndarray, "rows atoms"]
    n_singles: int
    token: Places
    ends: Places
    _made: dict[float, Weights] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_rows(self) -> int:
        return len(self.log_prob)

    def weights(self, power: float = 1.0) -> Weights:
        """The laws raised to a power (1/temperature) and normalised."""
        if power not in self._made:
            self._made[power] = Weights(self, power)
        return self._made[power]

    def forget(self) -> None:
        """Let the powers go that were made."""
        self._made.clear()

    def last_kept(self, cut: Cut) -> Float[np.ndarray, " rows"]:
        """Log-probability of the least probable atom that a cut keeps, nats."""
        last = np.clip(cut.atoms - (cut.part <= 0), 0, self.log_prob.shape[1] - 1)
        return np.asarray(self.log_prob[np.arange(self.n_rows), last], np.float64)

    def with_ties(self, cut: Cut) -> Cut:
        """The cut that also keeps every id as probable as the last one kept, of those that stand alone."""
        alone = cut.atoms < self.n_singles
        if not alone.any():
            return cut
        tied = (self.log_prob[:, : self.n_singles] >= self.last_kept(cut)[:, None].astype(np.float32)).sum(axis=1)
        return Cut(np.where(alone, np.maximum(cut.atoms, tied), cut.atoms), cut.part)

    def n_kept(self, cut: Cut) -> Int[np.ndarray, " rows"]:
        """How many ids a cut keeps."""
        upto = np.cumsum(np.pad(self.count, ((0, 0), (1, 1))), axis=1, dtype=np.float64)
        rows = np.arange(self.n_rows)
        part = cut.part * np.pad(self.count, ((0, 0), (0, 1)))[rows, cut.atoms]
        return np.asarray(np.rint(upto[rows, cut.atoms] + part), np.int64)

    @property
    def whole(self) -> Cut:
        """Nothing is cut."""
        return Cut(np.full(self.n_rows, self.log_prob.shape[1]), np.zeros(self.n_rows))


@dataclass(frozen=True, eq=False)
class Cut:
    """What is kept: the first `atoms` atoms of each row, and a `part` (by tokens) of the next."""

    atoms: Int[np.ndarray, " rows"]
    part: Float[np.ndarray, " rows"]

    def keeps(self, places: Places) -> Bool[np.ndarray, "rows ids"]:
        """Whose ids are kept."""
        atoms, part = self.atoms[:, None], self.part[:, None]
        return np.asarray((places.atom < atoms) | ((places.atom == atoms) & (places.offset < part)))

    def shorter(self, other: Cut) -> Cut:
        """What both keep."""
        mine = (self.atoms < other.atoms) | ((self.atoms == other.atoms) & (self.part <= other.part))
        return Cut(np.where(mine, self.atoms, other.atoms), np.where(mine, self.part, other.part))


class Weights:
    """The laws of a profile at one power, and where truncations cut them."""

    def __init__(self, profile: Profile, power: float) -> None:
        self.profile, self.power = profile, power
        highest = power * np.asarray(profile.log_prob[:, :1], np.float64)
        raised = profile.count * np.exp(power * profile.log_prob - highest)
        total = raised.sum(axis=1, keepdims=True)
        self.mass: Float[np.ndarray, "rows atoms"] = raised / total
        self.left: Float[np.ndarray, "rows atoms"] = np.cumsum(self.mass, axis=1) - self.mass
        self.log_total: Float[np.ndarray, " rows"] = (np.log(total) + highest)[:, 0]

    # ---- of single ids ---------------------------------------------------------------------------------------------

    def log_prob(self, places: Places) -> Float[np.ndarray, "rows ids"]:
        return np.asarray(self.power * places.log_prob - self.log_total[:, None])

    def before(self, places: Places) -> Float[np.ndarray, "rows ids"]:
        """Mass on the ids that stand before each."""
        rows = np.arange(self.profile.n_rows)[:, None]
        return np.asarray(self.left[rows, places.atom] + places.offset * self.mass[rows, places.atom])

    def last_kept(self, cut: Cut) -> Float[np.ndarray, " rows"]:
        """Log-probability of the least probable atom that a cut keeps, nats."""
        return np.asarray(self.power * self.profile.last_kept(cut) - self.log_total)

    # ---- of what is kept -------------------------------------------------------------------------------------------

    def kept(self, cut: Cut) -> Float[np.ndarray, " rows"]:
        """Mass on what a cut keeps."""
        last = self.mass.shape[1] - 1
        rows, at = np.arange(self.profile.n_rows), np.minimum(cut.atoms, last)
        whole = np.where(cut.atoms > last, 1.0, self.left[rows, at])
        return np.asarray(whole + np.where(cut.atoms > last, 0.0, cut.part * self.mass[rows, at]))

    def surprisal_moments(self, cut: Cut) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Mean and variance of the surprisal of a token drawn from what a cut keeps, nats and nats squared."""
        atoms = np.arange(self.mass.shape[1])[None, :]
        share = np.where(atoms < cut.atoms[:, None], 1.0, np.where(atoms == cut.atoms[:, None], cut.part[:, None], 0.0))
        p = self.mass * share
        p /= p.sum(axis=1, keepdims=True)
        surprisal = self.log_total[:, None] + np.log(self.kept(cut))[:, None] - self.power * self.profile.log_prob
        mean = (p * surprisal).sum(axis=1)
        return mean, np.maximum((p * np.square(surprisal)).sum(axis=1) - np.square(mean), 0.0)

    # ---- where truncations cut -------------------------------------------------------------------------------------

    def top_p(self, p: float, within: Float[np.ndarray, " rows"] | float = 1.0) -> Cut:
        """The fewest tokens that have a share p of the mass `within`."""
        return self._cut(self.left, self.mass, p * np.asarray(within, np.float64))

    def top_k(self, k: int) -> Cut:
        """The k most probable tokens."""
        return self._cut(self._tokens_left, self.profile.count, np.asarray(float(k)))

    def min_p(self, share: float) -> Cut:
        """The tokens with at least this share of the most probable one's mass."""
        singles = self.profile.log_prob[:, : self.profile.n_singles]
        least = singles[:, 0] + np.log(share) / self.power
        alone = (singles >= least[:, None] - 1e-7).sum(axis=1)
        if self.profile.n_singles == self.mass.shape[1]:
            return Cut(alone, np.zeros(len(alone)))
        reach = np.clip(-least / LUMP_NATS, 0.0, N_LUMPS)  # of the lumps, in lumps; tokens lie evenly in theirs
        beyond = alone == self.profile.n_singles
        whole = np.floor(reach)
        return Cut(alone + np.where(beyond, whole, 0).astype(np.int64), np.where(beyond, reach - whole, 0.0))

    @cached_property
    def _tokens_left(self) -> Float[np.ndarray, "rows atoms"]:
        return np.asarray(np.cumsum(self.profile.count, axis=1, dtype=np.float64) - self.profile.count)

    def _cut(
        self,
        left: Float[np.ndarray, "rows atoms"],
        size: Float[np.ndarray, "rows atoms"],
        upto: Float[np.ndarray, "*rows"],
    ) -> Cut:
        """Tokens are kept as long as less than `upto` stands before them."""
        limit = np.broadcast_to(upto, (self.profile.n_rows,))
        last = np.maximum((left < limit[:, None]).sum(axis=1) - 1, 0)
        rows = np.arange(self.profile.n_rows)
        n = self.profile.count[rows, last]
        share = np.divide(
            limit - left[rows, last], size[rows, last], out=np.ones(len(rows)), where=size[rows, last] > 0
        )
        part = np.divide(np.ceil(np.clip(share, 0.0, 1.0) * n - 1e-6), n, out=np.ones(len(rows)), where=n > 0)
        alone = (last < self.profile.n_singles) | (part >= 1.0)
        return Cut(np.where(alone, last + 1, last), np.where(alone, 0.0, part))
