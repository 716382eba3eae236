"""From whole laws along somebody else's samples to what the statistics need of each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.predictors.base import LawChunk
from freerun.predictors.observation import host
from freerun.predictors.profiles import Shaped, profile_of, shaped
from freerun.predictors.reshaped import Said
from freerun.predictors.rules import SamplingRule
from freerun.stats.verification.profile import Cut, Places, Profile
from freerun.stats.verification.tokens import TEMPERATURES, TRUNCATIONS, TokenLaws

_BLOCK_ELEMENTS = 1 << 20
_CERTAIN = 1 - 1e-12


@dataclass(frozen=True, eq=False)
class Scored:
    """A piece of a scoring pass: what the tests need, and the profiles of the laws before temperature and truncations."""

    tokens: TokenLaws
    profile: Profile


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
    chunk: LawChunk, texts: Sequence[Int[np.ndarray, " text"]], prompts: Sequence[int], declared: Declared
) -> Iterator[Scored]:
    """The laws of a chunk, a block of rows at a time; `texts` are prompts with completions, `prompts` the lengths of the prompts.

    Tokens of prompts are left out.
    """
    contexts = [
        Said(texts[r][: prompts[r]], texts[r][prompts[r] : t]) for r, t in zip(chunk.row, chunk.position, strict=True)
    ]
    drawn = chunk.position >= np.array([prompts[r] for r in chunk.row])
    law = declared.penalties.apply(chunk.law, contexts)
    step = max(1, _BLOCK_ELEMENTS // chunk.law.n_tokens)
    for start in range(0, law.n_rows, step):
        rows = slice(start, min(start + step, law.n_rows))
        kept = drawn[rows]
        if not kept.any():
            continue
        ids = chunk.ids[rows][kept]
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
    law = shaped(declared.after_penalties, profile)
    told = plain[np.arange(len(ids)), ids]
    probs = _by_id(law, table, declared)
    tokens = laws_of_tokens(
        law,
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
        without_ends=declared.without_ends,
    )
    profile.forget()
    return Scored(tokens, profile)


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


def laws_of_tokens(law: Shaped, from_ids: FromIds, *, without_ends: bool) -> TokenLaws:
    """What the law that is sampled says of the tokens written."""
    token = law.weights.profile.token
    cut_mass, cut_keeps = _cuts(law, without_ends)
    entropy, varentropy, top = _moments(law, without_ends)
    log_prob = law.log_prob(without_ends=without_ends)
    inside = np.where(np.isfinite(log_prob), log_prob, 0.0)
    beyond = np.maximum(law.weights.before(token)[:, 0] - law.kept_mass, 1e-9)
    return TokenLaws(
        **vars(from_ids),
        heated_log_prob_nats=law.weights.log_prob(token)[:, 0],
        log_prob_nats=log_prob,
        overshoot=np.where(law.keeps_token, 0.0, beyond),
        above=mass_before(law, without_ends=without_ends),
        kept_mass=law.kept_mass,
        entropy_nats=entropy,
        varentropy_nats2=varentropy,
        top_surprisal_nats=top,
        end_mass=law.end_mass(),
        cut_mass=cut_mass,
        cut_keeps=cut_keeps,
        gain_nats=np.stack([_heated(law, t, without_ends) for t in TEMPERATURES], axis=1) - inside[:, None],
    )


def _by_id(
    law: Shaped, table: Float[np.ndarray, "rows vocabulary"], declared: Declared
) -> Float[np.ndarray, "rows vocabulary"]:
    """The law that is sampled over ids in their order."""
    steps = declared.after_penalties.steps
    if not steps:
        probs = np.exp(table)
    else:
        least = _least_kept(law)
        probs = np.where(
            table.astype(np.float32) >= least[:, None],
            np.exp(law.weights.power * table - law.weights.log_total[:, None]),
            0.0,
        )
    if declared.without_ends:
        probs[:, list(declared.end_ids)] = 0.0
    if steps or declared.without_ends:
        probs /= np.maximum(probs.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(probs)


def _least_kept(law: Shaped) -> Float[np.ndarray, " rows"]:
    """The log-probability from which on tokens are kept."""
    atoms, rows = law.weights.profile.log_prob, np.arange(law.weights.profile.n_rows)
    last = np.clip(law.cut.atoms - np.where(law.cut.part > 0, 0, 1), 0, atoms.shape[1] - 1)
    everything = law.cut.atoms >= atoms.shape[1]
    return np.where(everything, -np.inf, atoms[rows, last])


def _end_mass_kept(law: Shaped, cut: Cut) -> Float[np.ndarray, " rows"]:
    ends = law.weights.profile.ends
    return np.asarray(np.where(cut.keeps(ends), np.exp(law.weights.log_prob(ends)), 0.0).sum(axis=1))


def _cuts(law: Shaped, without_ends: bool) -> tuple[Float[np.ndarray, "rows cuts"], Bool[np.ndarray, "rows cuts"]]:
    """Mass of the law that each truncation would keep, and whether it keeps the token."""
    mass, keeps = [], []
    kept = law.kept_mass
    left_out = _end_mass_kept(law, law.cut) if without_ends else np.zeros(len(kept))
    for family, value in TRUNCATIONS:
        w = law.weights
        cut = (
            w.top_p(value, kept) if family == "top_p" else w.top_k(int(value)) if family == "top_k" else w.min_p(value)
        )
        cut = cut.shorter(law.cut)
        inside = w.kept(cut) - (_end_mass_kept(law, cut) if without_ends else 0.0)
        mass.append(np.clip(inside / np.maximum(kept - left_out, 1e-300), 1e-12, 1.0))
        keeps.append(cut.keeps(w.profile.token)[:, 0])
    return np.stack(mass, axis=1), np.stack(keeps, axis=1)


def _heated(law: Shaped, relative: float, without_ends: bool) -> Float[np.ndarray, " rows"]:
    """Log-probability of the token at another temperature, cut at the same place."""
    other = Shaped(law.weights.profile.weights(law.weights.power / relative), law.cut)
    return other.log_prob(without_ends=without_ends)


def mass_before(law: Shaped, *, without_ends: bool) -> Float[np.ndarray, " rows"]:
    """Mass of the law that is sampled on tokens that stand before the one written, most probable first."""
    profile, w, kept = law.weights.profile, law.weights, law.kept_mass
    before = w.before(profile.token)[:, 0]
    if without_ends:
        left_out = _end_mass_kept(law, law.cut)
        before = before - np.where(
            _stands_before(profile.ends, profile.token), np.exp(w.log_prob(profile.ends)), 0.0
        ).sum(1)
        kept = kept - left_out
    return np.asarray(np.clip(before / np.maximum(kept, 1e-300), 0.0, 1.0))


def _stands_before(ids: Places, token: Places) -> Bool[np.ndarray, "rows ids"]:
    return np.asarray((ids.atom < token.atom) | ((ids.atom == token.atom) & (ids.offset < token.offset)))


def _moments(
    law: Shaped, without_ends: bool
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Mean and variance of the surprisal of a token of the law, and the surprisal of the most probable one."""
    mean, variance = law.weights.surprisal_moments(law.cut)
    top = -(law.weights.log_prob(_first(law.weights.profile))[:, 0] - np.log(law.kept_mass))
    if not without_ends:
        return mean, variance, top
    ends, kept = law.weights.profile.ends, law.kept_mass
    surprisal = np.log(kept)[:, None] - law.weights.log_prob(ends)
    share = np.where(law.cut.keeps(ends), np.exp(-surprisal), 0.0)
    rest = 1.0 - np.minimum(share.sum(axis=1), _CERTAIN)
    first = (mean - (share * surprisal).sum(axis=1)) / rest
    second = (variance + np.square(mean) - (share * np.square(surprisal)).sum(axis=1)) / rest
    return first + np.log(rest), np.maximum(second - np.square(first), 0.0), top + np.log(rest)


def _first(profile: Profile) -> Places:
    zero = np.zeros((profile.n_rows, 1))
    return Places(np.asarray(profile.log_prob[:, :1], np.float64), zero.astype(np.int64), zero)
