"""If samples are not draws from the declared law, from which are they? Searched on a stated subsample by further passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import TooFewDocuments
from freerun.jobs.verify.scoring import UnitScores, law_chunks, score_unit
from freerun.jobs.verify.texts import Survey, Text
from freerun.predictors.base import Predictor
from freerun.predictors.candidate_rules import PENALTIES, RULES, log_probs_penalised, log_probs_under
from freerun.predictors.law import Dense
from freerun.predictors.observation import host
from freerun.predictors.profiles import profile_of
from freerun.predictors.reshaped import Said, logits_of
from freerun.predictors.rules import SamplingRule, Temperature
from freerun.predictors.token_laws import Declared
from freerun.results.verify import Candidate, Cause, LawName, RuleStep
from freerun.stats.recognition.tilting import events_p
from freerun.stats.verification.battery import ALPHA, NOWHERE_ELSE, Elsewhere, held_against_laws, in_chance_order
from freerun.stats.verification.likelihood import MIXED_IN, Fit, fit_and_test, halves, smoothed
from freerun.stats.verification.tokens import Bets, TokenLaws

_OF_OTHER_LAWS = RULES[: next(i for i, rule in enumerate(RULES) if len(rule.steps) > 1)]
"""Rules of one step at most: what other contexts and models are tried with."""
LEAST_FOR_BEGINNINGS = 20
"""Fewer completions that begin alike may do so by chance."""
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Variant:
    """A law that is tried: the texts as it reads them."""

    name: LawName
    predictor: Predictor
    texts: Sequence[Text]


@dataclass(frozen=True, eq=False)
class Columns:
    """Drawn tokens of a variant's texts under rules, then under penalties where wanted, in order."""

    sequence: Int[np.ndarray, " tokens"]
    """Their text's place in the variant."""
    candidates: Float[np.ndarray, "tokens candidates"]
    plain: Float[np.ndarray, " tokens"]
    """Log-probability under the variant's own law, temperature 1."""


class Passes(Protocol):
    """Further passes over the texts that are searched."""

    def columns(self, variant: Variant, rules: Sequence[SamplingRule], *, penalties_at: float | None) -> Columns:
        """Log-probabilities under rules, and under `PENALTIES` at one temperature."""

    def scores(self, variant: Variant, declared: Declared, numbers: Sequence[int]) -> UnitScores:
        """What a law says of the drawn tokens of some of the variant's texts."""


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched, and with what."""

    declared: Declared
    variants: tuple[Variant, ...]
    """The model itself first, on texts as they are."""
    passes: Passes
    recorded_nats: Float[np.ndarray, " tokens"]
    """Log-probability of the drawn tokens of these texts under the declared law, in order."""
    seed: int
    floor_nats: float
    say: Callable[[str], None]
    mixed_in: float = MIXED_IN
    """Share of the model's own law in every candidate."""
    n_elsewhere: int = 0
    """Tokens of a long file of which the bets are held alone."""


def find_cause(tokens: TokenLaws, bets: Bets, found: Survey, search: Search) -> Cause:
    """The first of these that explains the samples: beginnings that were not drawn, ends of another kind, another law."""
    beginning = found.n_same_beginning if found.n_texts >= LEAST_FOR_BEGINNINGS else 0
    if beginning:
        later = tokens.take(tokens.position >= beginning)
        elsewhere = Elsewhere(search.n_elsewhere)  # what cannot be drawn there may stand at the beginning
        if _agrees(later, bets.after(beginning), search, elsewhere):
            return Cause("beginning_not_drawn", beginning_tokens=beginning)
    own = search.variants[0]
    if not search.declared.without_ends and _ends_are_off(tokens):
        search.say("are the texts draws apart from where they end?")
        everything = range(len(own.texts))
        without = search.passes.scores(own, replace(search.declared, without_ends=True), everything)
        again = search.passes.scores(own, search.declared, everything)
        if _agrees(*_tested(without), search) and not _agrees(*_tested(again), search):
            return Cause("ends_chosen", n_test_tokens=without.tokens.n_tokens)
    return _fitted(search)


def _ends_are_off(tokens: TokenLaws) -> bool:
    """Whether texts end more or less often than the law says."""
    mass = np.clip(tokens.end_mass, 0.0, 1.0)
    order = in_chance_order(tokens.sequence, 0)
    return events_p(tokens.is_end[order], mass[order], n_tokens=tokens.n_tokens) < ALPHA


def _tested(scores: UnitScores) -> tuple[TokenLaws, Bets]:
    tested = scores.tokens.is_tested
    other = type(scores.other)(*(value[tested] for value in vars(scores.other).values()))
    return scores.tokens, Bets.of(other, scores.tokens.position[tested])


def _agrees(tokens: TokenLaws, bets: Bets, search: Search, elsewhere: Elsewhere = NOWHERE_ELSE) -> bool:
    found = held_against_laws(tokens, bets, seed=search.seed, floor_nats=search.floor_nats, elsewhere=elsewhere)
    return found.p_beyond_floor >= ALPHA


# ---- other laws ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tried:
    """The subsample's drawn tokens under every candidate of every variant."""

    sequence: Int[np.ndarray, " tokens"]
    candidates: Float[np.ndarray, "tokens candidates"]
    declared: Float[np.ndarray, " tokens"]
    names: tuple[Candidate, ...]
    rules: tuple[tuple[Variant, SamplingRule], ...]


def _fitted(search: Search) -> Cause:
    tried = try_all(search)
    steps = np.array([len(c.steps) + (c.law != "model") for c in tried.names])
    fit = halves(tried.sequence, search.seed)
    try:
        best = fit_and_test(tried.candidates, tried.declared, steps, tried.sequence, fit)
    except TooFewDocuments:
        return Cause("not_searched")
    variant, rule = tried.rules[best.candidate]
    test = np.unique(tried.sequence[~fit]).tolist()
    search.say(f"holding the other half against {tried.names[best.candidate].words}")
    scores = search.passes.scores(variant, replace(search.declared, rule=rule), test)
    fit_p = held_against_laws(*_tested(scores), seed=search.seed, floor_nats=search.floor_nats).p_beyond_floor
    gap = np.abs(scores.tokens.log_prob_nats - scores.reported_nats)
    gap = gap[np.isfinite(gap)]
    reported = float(np.quantile(gap, 0.9, method="higher")) if gap.size else None
    return _cause(tried, best, fit_p, reported)


def _cause(tried: Tried, best: Fit, fit_p: float, reported_gap_nats: float | None) -> Cause:
    name = tried.names[best.candidate]
    kind = "other_law" if name.law != "model" else "rule"
    gain = best.gain_nats
    helps = best.log_e > -np.log(ALPHA)
    return Cause(
        kind if helps and fit_p >= ALPHA else "none_of_these",  # type: ignore[arg-type]
        candidate=name if helps else None,
        also=tuple(tried.names[j] for j in best.also[:4]) if helps else (),
        log_e=best.log_e,
        gain_nats=None if gain is None else gain.value,
        gain_low=None if gain is None else gain.low,
        gain_high=None if gain is None else gain.high,
        fit_p=fit_p,
        reported_gap_nats=reported_gap_nats,
        n_fit_tokens=best.n_fit,
        n_test_tokens=best.n_test,
    )


def try_all(search: Search) -> Tried:
    """Every rule of the model's law, and rules of one step of the others."""
    temperature = next((s.temperature for s in search.declared.rule.steps if isinstance(s, Temperature)), 1.0)
    tables, names, rules = [], [], []
    plain = sequence = np.zeros(0)
    for number, variant in enumerate(search.variants):
        search.say(f"trying other rules on {_LAWS[variant.name]}")
        own = number == 0
        tried = RULES if own else _OF_OTHER_LAWS
        columns = search.passes.columns(variant, tried, penalties_at=temperature if own else None)
        tables.append(smoothed(columns.candidates, columns.plain, search.mixed_in))
        if own:
            plain, sequence = columns.plain, columns.sequence
        for rule in tried:
            names.append(candidate_of(variant.name, rule))
            rules.append((variant, rule))
        if own:
            for penalty in PENALTIES:
                heat = (Temperature(temperature),) if temperature != 1.0 else ()
                rule = SamplingRule((penalty, *heat))
                names.append(candidate_of(variant.name, rule))
                rules.append((variant, rule))
    return Tried(
        sequence.astype(np.int64),
        np.concatenate(tables, axis=1),
        smoothed(search.recorded_nats[:, None], plain, search.mixed_in)[:, 0],
        tuple(names),
        tuple(rules),
    )


_LAWS: dict[LawName, str] = {
    "model": "the model",
    "bos_added": "the model with one more beginning-of-text token",
    "bos_removed": "the model without the beginning-of-text token",
    "padding_removed": "the model with the padding before the prompts removed",
    "by_template": "the model with prompts rendered by its chat template",
    "as_text": "the model with prompts as plain text",
    "other_model": "the other model",
}


@dataclass(frozen=True, eq=False)
class ModelPasses:
    """Passes that the variants' models make."""

    declared: Declared

    def columns(self, variant: Variant, rules: Sequence[SamplingRule], *, penalties_at: float | None) -> Columns:
        parts = list(_pieces(self.declared, variant, rules, penalties_at))
        sequence, position, candidates, plain, is_end = (np.concatenate(c) for c in zip(*parts, strict=True))
        order = np.lexsort((position, sequence))
        drawn = np.concatenate([t.drawn for t in variant.texts])
        rows = order[drawn & ~(self.declared.without_ends & is_end[order])]
        return Columns(sequence[rows], candidates[rows], plain[rows])

    def scores(self, variant: Variant, declared: Declared, numbers: Sequence[int]) -> UnitScores:
        return score_unit(variant.predictor, [variant.texts[i] for i in numbers], declared)


def _pieces(
    declared: Declared, variant: Variant, rules: Sequence[SamplingRule], penalties_at: float | None
) -> Iterator[tuple[np.ndarray, ...]]:
    end_ids, without = declared.end_ids, declared.without_ends
    for chunk, company in law_chunks(variant.predictor, variant.texts):
        texts = [variant.texts[company[r]] for r in chunk.row]
        written = chunk.ids([variant.texts[i].ids for i in company])
        position = chunk.position - np.array([len(t.prompt) for t in texts])
        step = max(1, _BLOCK_ELEMENTS // chunk.law.n_tokens)
        for start in range(0, chunk.law.n_rows, step):
            rows = np.arange(start, min(start + step, chunk.law.n_rows))
            kept = position[rows] >= 0
            if not kept.any():
                continue
            law = Dense(logits_of(chunk.law, start, start + len(rows))[kept])
            rows = rows[kept]
            ids, table = written[rows], host(law.block(0, law.n_rows).log_probs)
            candidates = log_probs_under(profile_of(table, ids, end_ids), rules, without_ends=without)
            if penalties_at is not None:
                said = [Said(texts[r].prompt, texts[r].completion[: position[r]]) for r in rows]
                more = log_probs_penalised(law, ids, said, end_ids, temperature=penalties_at, without_ends=without)
                candidates = np.concatenate([candidates, more], axis=1)
            sequence = np.array([company[r] for r in chunk.row[rows]])
            yield sequence, position[rows], candidates, table[np.arange(len(ids)), ids], np.isin(ids, end_ids)


def candidate_of(law: LawName, rule: SamplingRule) -> Candidate:
    """A rule of a law as a value for results."""
    steps = tuple(RuleStep(*next(iter(vars(step).items()))) for step in rule.steps)
    return Candidate(law, steps, rule.describe())
