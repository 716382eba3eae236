"""From whole laws along somebody else's samples to what the statistics need of each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.predictors.base import Laws
from freerun.predictors.observation import host
from freerun.predictors.profiles import Shaped, most_probable, profile_of, shaped
from freerun.predictors.reshaped import Said
from freerun.predictors.rules import SamplingRule
from freerun.stats.verification.profile import Cut, Places, Weights
from freerun.stats.verification.tokens import TEMPERATURES, TRUNCATIONS, Alternatives, Family, TokenLaws

_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Scored:
    """A piece of a scoring pass: what the declared law says of some tokens, and what alternatives to it say."""

    tokens: TokenLaws
    other: Alternatives


@dataclass(frozen=True)
class Declared:
    """What the samples are held against: a rule, the ids that end a text, and whether those are missing from the samples."""

    rule: SamplingRule
    end_ids: tuple[int, ...]
    without_ends: bool = False

    @property
    def after_penalties(self) -> SamplingRule:
        return SamplingRule(self.rule.steps[len(self.rule.penalties) :])

    @property
    def penalties(self) -> SamplingRule:
        return SamplingRule(self.rule.penalties)


def scored(
    chunk: Laws, texts: Sequence[Int[np.ndarray, " text"]], prompts: Sequence[int], declared: Declared
) -> Iterator[Scored]:
    """The laws of a chunk, a block of rows at a time; `texts` are prompts with completions, `prompts` the lengths of the prompts.

    Tokens of prompts are left out.
    """
    contexts = [
        Said(texts[r][: prompts[r]], texts[r][prompts[r] : t]) for r, t in zip(chunk.row, chunk.position, strict=True)
    ]
    written = chunk.ids(texts)
    drawn = chunk.position >= np.array([prompts[r] for r in chunk.row])
    law = declared.penalties.apply(chunk.law, contexts)
    step = max(1, _BLOCK_ELEMENTS // chunk.law.n_tokens)
    for start in range(0, law.n_rows, step):
        rows = slice(start, min(start + step, law.n_rows))
        kept = drawn[rows]
        if not kept.any():
            continue
        ids = written[rows][kept]
        table = host(law.block(rows.start, rows.stop).log_probs)[kept]
        plain = table if law is chunk.law else host(chunk.law.block(rows.start, rows.stop).log_probs)[kept]
        at = chunk.row[rows][kept]
        position = chunk.position[rows][kept] - np.array([prompts[r] for r in at])
        said = [c.seen for c, k in zip(contexts[rows], kept, strict=True) if k]
        yield _scored(table, plain, ids, at, position, said, declared)


def _scored(
    table: Float[np.ndarray, "rows vocabulary"],
    plain: Float[np.ndarray, "rows vocabulary"],
    ids: Int[np.ndarray, " rows"],
    sequence: Int[np.ndarray, " rows"],
    position: Int[np.ndarray, " rows"],
    said: Sequence[Int[np.ndarray, " distinct"]],
    declared: Declared,
) -> Scored:
    profile = profile_of(table, ids, declared.end_ids)
    law = shaped(declared.after_penalties, profile, without_ends=declared.without_ends)
    told = plain[np.arange(len(ids)), ids]
    probs = by_id(law, table, declared)
    tokens, other = Standing(law).of(
        profile.token,
        FromIds(
            sequence=sequence,
            position=position,
            model_log_prob_nats=told,
            rank=1 + (plain > told[:, None]).sum(axis=1),
            below=np.array([row[:x].sum() for row, x in zip(probs, ids, strict=True)]),
            repeat_mass=np.array([row[seen].sum() for row, seen in zip(probs, said, strict=True)]),
            repeats=np.array([x in seen for x, seen in zip(ids, said, strict=True)], bool),
            is_end=np.isin(ids, declared.end_ids),
        ),
    )
    return Scored(tokens, other)


@dataclass(frozen=True, eq=False)
class FromIds:
    """What a profile does not know of the tokens, since it has no ids: columns of `TokenLaws`."""

    sequence: Int[np.ndarray, " rows"]
    position: Int[np.ndarray, " rows"]
    model_log_prob_nats: Float[np.ndarray, " rows"]
    rank: Int[np.ndarray, " rows"]
    below: Float[np.ndarray, " rows"]
    repeat_mass: Float[np.ndarray, " rows"]
    repeats: Bool[np.ndarray, " rows"]
    is_end: Bool[np.ndarray, " rows"]


class Standing:
    """What a law that is sampled says of any token: all that does not depend on which one was written."""

    def __init__(self, law: Shaped) -> None:
        self.law = law
        self.entropy, self.varentropy = law.surprisal_moments()
        first = np.zeros((law.weights.profile.n_rows, 1))
        top = Places(np.asarray(law.weights.profile.log_prob[:, :1], np.float64), first.astype(np.int64), first)
        self.top_surprisal = np.log(law.sampled_mass) - law.weights.log_prob(top)[:, 0]
        self.cuts = [_cut(law, *truncation) for truncation in TRUNCATIONS]
        self.cut_mass = np.stack([self._mass(cut) for cut in self.cuts], axis=1)
        self.heated = [_heated(law, law.weights.power / t) for t in TEMPERATURES]

    def _mass(self, cut: Cut) -> Float[np.ndarray, " rows"]:
        """Mass of the law on what a further cut would leave."""
        inside = self.law.weights.kept(cut)
        if self.law.without_ends:
            inside = inside - self.law.end_mass_within(cut)
        return np.asarray(np.clip(inside / np.maximum(self.law.sampled_mass, 1e-300), 1e-12, 1.0))

    def of(self, token: Places, from_ids: FromIds) -> tuple[TokenLaws, Alternatives]:
        """The columns of one token a row."""
        law = self.law
        log_prob = law.log_prob(token)
        inside = np.where(np.isfinite(log_prob), log_prob, 0.0)
        tokens = TokenLaws(
            **vars(from_ids),
            heated_log_prob_nats=law.weights.log_prob(token)[:, 0],
            log_prob_nats=log_prob,
            overshoot=law.overshoot(token),
            overshoot_of_rank=law.overshoot_of_rank(token),
            shortfall_nats=law.shortfall(token),
            above=law.before(token),
            kept_mass=law.kept_mass,
            entropy_nats=self.entropy,
            varentropy_nats2=self.varentropy,
            top_surprisal_nats=self.top_surprisal,
            end_mass=law.end_mass,
        )
        return tokens, Alternatives(
            cut_mass=self.cut_mass,
            cut_keeps=np.stack([cut.keeps(token)[:, 0] for cut in self.cuts], axis=1),
            gain_nats=np.stack([self._gain(other, token, inside) for other in self.heated], axis=1),
        )

    def _gain(self, other: _Heated, token: Places, log_prob: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        told = other.power * token.log_prob[:, 0] - other.log_total
        return np.asarray(np.where(self.law.cut.keeps(token)[:, 0], told, -np.inf) - log_prob)


@dataclass(frozen=True, eq=False)
class _Heated:
    """The law at another temperature, cut at the same places: what its log-probabilities are made of."""

    power: float
    log_total: Float[np.ndarray, " rows"]


def _heated(law: Shaped, power: float) -> _Heated:
    other = Shaped(Weights(law.weights.profile, power), law.cut, law.without_ends)
    return _Heated(power, other.weights.log_total + np.log(other.sampled_mass))


def _cut(law: Shaped, family: Family, value: float) -> Cut:
    """Where a further truncation would cut."""
    w = law.weights
    match family:
        case "top_p":
            cut = w.top_p(value, law.kept_mass)
        case "top_k":
            cut = w.top_k(int(value))
        case "min_p":
            cut = w.min_p(value)
    return cut.shorter(law.cut)


def by_id(
    law: Shaped, table: Float[np.ndarray, "rows vocabulary"], declared: Declared
) -> Float[np.ndarray, "rows vocabulary"]:
    """The law that is sampled over ids in their order."""
    steps = declared.after_penalties.steps
    if not steps:
        probs = np.exp(table)
    else:
        probs = np.where(_kept_ids(law, table), np.exp(law.weights.power * table - law.weights.log_total[:, None]), 0.0)
    if declared.without_ends:
        probs[:, list(declared.end_ids)] = 0.0
    if steps or declared.without_ends:
        probs /= np.maximum(probs.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(probs)


def _kept_ids(law: Shaped, table: Float[np.ndarray, "rows vocabulary"]) -> Bool[np.ndarray, "rows vocabulary"]:
    """Which ids the law keeps: the first so many by probability, ties to the smaller id, as it is sampled."""
    profile = law.weights.profile
    n = profile.n_kept(law.cut)
    least = np.where(n >= table.shape[1], -np.inf, profile.last_kept(law.cut))
    kept = table.astype(np.float32) >= least[:, None].astype(np.float32)
    for i in np.flatnonzero(kept.sum(axis=1) != n):  # ties at the cut, or a cut through a lump
        kept[i] = False
        kept[i, most_probable(table[i : i + 1], int(n[i]))[0]] = True
    return kept
