"""Where drawn tokens stand in kept laws: computed law by law for all sheets at once, since sorting a law is what costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.predictors.candidate_rules import PENALTIES
from freerun.predictors.law import Dense
from freerun.predictors.profiles import profile_of
from freerun.predictors.rules import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from freerun.stats.verification.profile import LUMP_NATS, N_LUMPS, Places, Profile

_ROWS = 16
"""Laws whose profiles are made at once."""
_FAR = -1e4


@dataclass(frozen=True, eq=False)
class Kept:
    """Laws with all that does not depend on which tokens were drawn: profiles, and laws by id as logits."""

    logits: Float[np.ndarray, "laws vocabulary"]
    profile: Profile
    """Without tokens: `token` is the first id everywhere."""


def kept_laws(logits: Float[np.ndarray, "laws vocabulary"], end_ids: tuple[int, ...]) -> Kept:
    parts = []
    for a in range(0, len(logits), _ROWS):
        table = Dense(np.asarray(logits[a : a + _ROWS])).log_probs()
        parts.append(profile_of(table, np.zeros(len(table), np.int64), end_ids))
    return Kept(logits, joined(parts))


def joined(parts: Sequence[Profile]) -> Profile:
    """Profiles one after another."""
    token, ends = (
        Places(
            *(np.concatenate([getattr(getattr(p, which), c) for p in parts]) for c in ("log_prob", "atom", "offset"))
        )
        for which in ("token", "ends")
    )
    log_prob, count = (np.concatenate([getattr(p, c) for p in parts]) for c in ("log_prob", "count"))
    return Profile(log_prob, count, parts[0].n_singles, token, ends)


def profile_rows(p: Profile, rows: Int[np.ndarray, " taken"]) -> Profile:
    """Some laws of a profile."""
    token, ends = (Places(x.log_prob[rows], x.atom[rows], x.offset[rows]) for x in (p.token, p.ends))
    return Profile(p.log_prob[rows], p.count[rows], p.n_singles, token, ends)


@dataclass(frozen=True, eq=False)
class Stand:
    """Where the tokens of all sheets stand in one set of laws."""

    log_prob: Float[np.ndarray, "sheets laws"]
    atom: Int[np.ndarray, "sheets laws"]
    offset: Float[np.ndarray, "sheets laws"]
    rank: Int[np.ndarray, "sheets laws"]
    first: int = 0
    """The number of the first of these sheets among all."""

    def places(self, sheet: int) -> Places:
        log_prob, atom, offset = (x[sheet - self.first][:, None] for x in (self.log_prob, self.atom, self.offset))
        return Places(log_prob, atom.astype(np.int64), offset)


def stand_in(kept: Kept, ids: Int[np.ndarray, "sheets laws"], first: int = 0) -> Stand:
    """As `profile_of` places them one at a time (a test holds the two together)."""
    shape = ids.shape
    out = Stand(np.empty(shape), np.empty(shape, np.int16), np.empty(shape), np.empty(shape, np.int32), first)
    n_singles = kept.profile.n_singles
    for row in range(shape[1]):
        table = np.maximum(Dense(np.asarray(kept.logits[row : row + 1])).log_probs()[0], _FAR)
        at = np.empty(len(table), np.int64)
        order = np.argsort(-table, kind="stable")
        at[order] = np.arange(len(table))
        x = ids[:, row]
        place, log_prob = at[x], table[x]
        out.log_prob[:, row] = log_prob
        out.rank[:, row] = np.searchsorted(-table[order], -log_prob, side="left") + 1
        out.atom[:, row], out.offset[:, row] = place, 0.0
        lumped = np.flatnonzero(place >= n_singles)
        if lumped.size:
            lump = np.minimum((log_prob[lumped] * (-1 / LUMP_NATS)).astype(np.int32), N_LUMPS - 1)
            count = kept.profile.count[row, n_singles:].astype(np.float64)
            start = n_singles + np.cumsum(count) - count
            out.atom[lumped, row] = n_singles + lump
            out.offset[lumped, row] = (place[lumped] - start[lump]) / count[lump]
    return out


# ---- what depends on the ids of the context --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recurrence:
    """Which tokens of every text of some sheets were there before."""

    first: Bool[np.ndarray, "sheets laws"]
    """The first among the tokens written of this text."""
    in_prompt: Bool[np.ndarray, "sheets laws"]
    time: Int[np.ndarray, "sheets laws"]
    """The how-many-eth of its kind it is among those written, from 1."""


def recurrence(prompts: Int[np.ndarray, "texts prompt"], ids: Int[np.ndarray, "sheets laws"]) -> Recurrence:
    n_texts = len(prompts)
    written = ids.reshape(len(ids), n_texts, -1)
    time = np.ones(written.shape, np.int16)
    for t in range(1, written.shape[2]):
        time[:, :, t] += (written[:, :, :t] == written[:, :, t : t + 1]).sum(axis=2, dtype=np.int16)
    in_prompt = (written[..., None] == prompts[None, :, None, :]).any(axis=3)
    return Recurrence((time == 1).reshape(ids.shape), in_prompt.reshape(ids.shape), time.reshape(ids.shape))


@dataclass(frozen=True, eq=False)
class OfContexts:
    """What a model's laws give ids of the contexts."""

    below: Float[np.ndarray, "sheets laws"]
    repeat_mass: Float[np.ndarray, "sheets laws"]
    penalised: Float[np.ndarray, "sheets laws penalties"]
    """Log-probability of the token under each of `PENALTIES`, temperature 1."""


def of_contexts(
    logits: Float[np.ndarray, "laws vocabulary"],
    prompts: Int[np.ndarray, "texts prompt"],
    ids: Int[np.ndarray, "sheets laws"],
    again: Recurrence,
) -> OfContexts:
    n = ids.shape[1] // len(prompts)
    repetitions, presences, frequencies = _sizes()
    out = OfContexts(np.empty(ids.shape), np.empty(ids.shape), np.empty((*ids.shape, len(PENALTIES)), np.float32))
    weights = _weights(again, presences, frequencies)
    for row in range(ids.shape[1]):
        text, t = divmod(row, n)
        table = np.asarray(logits[row], np.float64)
        table = table - table.max()  # the sign is of the logit itself
        highest = float(np.asarray(logits[row]).max())
        raw = table + highest
        mass = np.exp(table)
        total = float(mass.sum())
        changed = [np.where(raw > 0, raw / r, raw * r) - highest for r in repetitions]
        columns = np.stack([mass, *(np.exp(c) - mass for c in changed)], axis=1)
        said = np.unique(prompts[text])
        past = slice(text * n, text * n + t)
        gathered = columns[ids[:, past]]
        new = weights.new[:, past, None] * gathered
        seen = columns[said].sum(axis=0) + new.sum(axis=1)
        x = ids[:, row]
        out.below[:, row] = (np.cumsum(mass) - mass)[x] / total
        out.repeat_mass[:, row] = seen[:, 0] / total
        known = again.in_prompt[:, row] | ~again.first[:, row]
        for j, c in enumerate(changed):
            own = np.where(known, c[x], table[x])
            out.penalised[:, row, j] = own - np.log(total + seen[:, 1 + j])
        j = len(repetitions)
        for k, size in enumerate(presences):
            more = (weights.presence[k][:, past] * gathered[:, :, 0]).sum(axis=1)
            out.penalised[:, row, j + k] = table[x] - size * ~again.first[:, row] - np.log(total + more)
        j += len(presences)
        for k, size in enumerate(frequencies):
            more = (weights.frequency[k][:, past] * gathered[:, :, 0]).sum(axis=1)
            out.penalised[:, row, j + k] = table[x] - size * (again.time[:, row] - 1) - np.log(total + more)
    return out


def _sizes() -> tuple[list[float], list[float], list[float]]:
    """Of `PENALTIES`, which stand in this order."""
    repetitions = [p.repetition_penalty for p in PENALTIES if isinstance(p, RepetitionPenalty)]
    presences = [p.presence_penalty for p in PENALTIES if isinstance(p, PresencePenalty)]
    frequencies = [p.frequency_penalty for p in PENALTIES if isinstance(p, FrequencyPenalty)]
    order = [RepetitionPenalty] * len(repetitions) + [PresencePenalty] * len(presences)
    assert [type(p) for p in PENALTIES] == order + [FrequencyPenalty] * len(frequencies)
    return repetitions, presences, frequencies


@dataclass(frozen=True, eq=False)
class _Weights:
    """What a token of the past counts in a sum over the ids of the context, each id once or by its times."""

    new: Bool[np.ndarray, "sheets laws"]
    presence: list[Float[np.ndarray, "sheets laws"]]
    frequency: list[Float[np.ndarray, "sheets laws"]]


def _weights(again: Recurrence, presences: list[float], frequencies: list[float]) -> _Weights:
    time = again.time.astype(np.float32)
    return _Weights(
        again.first & ~again.in_prompt,
        [again.first * np.float32(np.expm1(-size)) for size in presences],
        [np.exp(-size * time) - np.exp(-size * (time - 1)) for size in frequencies],
    )
