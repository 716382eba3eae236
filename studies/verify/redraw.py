"""Tokens drawn again from the laws of a scored pool: files of any sampler, cheaply, as far as contexts stay those of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.profiles import Shaped, shaped
from freerun.predictors.rules import SamplingRule
from freerun.predictors.token_laws import FromIds, Standing
from freerun.stats.verification.profile import Cut, Places, Profile
from freerun.stats.verification.tokens import Alternatives, TokenLaws


@dataclass(frozen=True, eq=False)
class Pool:
    """Profiles of laws along texts, and the sequence and position of each."""

    profile: Profile
    sequence: Int[np.ndarray, " rows"]
    position: Int[np.ndarray, " rows"]


def draw(law: Shaped, rng: np.random.Generator) -> Places:
    """One token a row by inverse CDF, most probable first; in a lump any token of it."""
    at_mass = rng.random(law.weights.profile.n_rows) * law.kept_mass
    atom = (law.weights.left <= at_mass[:, None]).sum(axis=1) - 1
    rows, profile = np.arange(len(atom)), law.weights.profile
    mass = law.weights.mass[rows, atom]
    inside = np.clip((at_mass - law.weights.left[rows, atom]) / np.maximum(mass, 1e-300), 0.0, 1 - 1e-9)
    n = np.maximum(profile.count[rows, atom], 1.0)
    offset = np.floor(inside * n) / n
    return Places(np.asarray(profile.log_prob[rows, atom], np.float64)[:, None], atom[:, None], offset[:, None])


class Held:
    """A pool's laws under a declared rule; ids stand in the order of their probability, the least probable first."""

    def __init__(self, pool: Pool, rule: SamplingRule, *, without_ends: bool = False) -> None:
        self.pool = pool
        self.standing = Standing(shaped(rule, pool.profile, without_ends=without_ends))

    def token_laws(self, token: Places) -> tuple[TokenLaws, Alternatives]:
        ends, n = self.pool.profile.ends, self.pool.profile.n_rows
        ids = FromIds(
            sequence=self.pool.sequence,
            position=self.pool.position,
            model_log_prob_nats=token.log_prob[:, 0],
            rank=token.atom[:, 0] + 1,
            below=np.zeros(n),
            repeat_mass=np.zeros(n),
            repeats=np.zeros(n, bool),
            is_end=((ends.atom == token.atom) & (ends.offset == token.offset)).any(axis=1),
        )
        made, other = self.standing.of(token, ids)
        return replace(made, below=np.clip(1.0 - made.above - np.exp(made.log_prob_nats), 0.0, 1.0)), other


class Tried:
    """A pool's laws under many rules, kept as what a token's log-probability needs of each."""

    def __init__(self, pool: Pool, rules: Sequence[SamplingRule], *, step: int = 500) -> None:
        n = pool.profile.n_rows
        self.powers = np.zeros(len(rules), np.float32)
        self.log_norm = np.zeros((n, len(rules)), np.float32)
        self.atoms = np.zeros((n, len(rules)), np.int16)
        self.part = np.zeros((n, len(rules)), np.float32)
        for a in range(0, n, step):
            rows = slice(a, a + step)
            piece = _rows(pool.profile, rows)
            for j, rule in enumerate(rules):
                law = shaped(rule, piece)
                self.powers[j] = law.weights.power
                self.log_norm[rows, j] = law.weights.log_total + np.log(law.kept_mass)
                self.atoms[rows, j], self.part[rows, j] = law.cut.atoms, law.cut.part

    def log_probs(self, token: Places, rows: Int[np.ndarray, " taken"]) -> Float[np.ndarray, "taken rules"]:
        atom, offset = token.atom[rows], token.offset[rows]
        keeps = (atom < self.atoms[rows]) | ((atom == self.atoms[rows]) & (offset < self.part[rows]))
        told = self.powers * token.log_prob[rows].astype(np.float32) - self.log_norm[rows]
        return np.where(keeps, told, -np.inf)

    def cut(self, rule: int) -> Cut:
        return Cut(self.atoms[:, rule].astype(np.int64), self.part[:, rule].astype(np.float64))


def _rows(p: Profile, rows: slice) -> Profile:
    token, ends = (Places(x.log_prob[rows], x.atom[rows], x.offset[rows]) for x in (p.token, p.ends))
    return Profile(p.log_prob[rows], p.count[rows], p.n_singles, token, ends)
