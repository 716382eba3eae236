"""The scoring pass of a verification: a unit of texts at a time, recorded as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import BackendError
from freerun.jobs.verify.texts import Survey, Text
from freerun.predictors.base import Laws, Predictor
from freerun.predictors.token_laws import Declared, Scored, scored
from freerun.records.sample_scores import ScoreFolder
from freerun.stats.verification.tokens import Alternatives, Bets, TokenLaws

UNIT_TEXTS = 32
_CLOSE_TOKENS = 64
"""Prompts whose lengths differ by less are read together."""
COPY_NATS = 30.0
"""Equal completions less likely than e to minus this, by the declared law and all that are bet on, are copies of one draw."""
_WIDE = {"sequence": np.int64, "position": np.int64, "rank": np.int64, "repeats": bool, "is_end": bool}
_EXACT = {"model_log_prob_nats", "heated_log_prob_nats", "log_prob_nats"}


@dataclass(frozen=True, eq=False)
class UnitScores:
    """One unit: what the law says of every drawn token, what was reported of it, and one row a text."""

    tokens: TokenLaws
    other: Alternatives
    reported_nats: Float[np.ndarray, " tokens"]
    trainer_nats: Float[np.ndarray, " tokens"]


def law_chunks(predictor: Predictor, texts: Sequence[Text]) -> Iterator[tuple[Laws, Sequence[int]]]:
    """Whole laws along texts, those with prompts of like length together; with each chunk, which texts its rows are of."""
    if not predictor.capabilities.full_law:
        raise predictor.without_whole_laws()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].prompt))
    while order:
        shortest = len(texts[order[0]].prompt)
        n = sum(len(texts[i].prompt) < shortest + _CLOSE_TOKENS for i in order)
        company, order = order[:n], order[n:]
        for chunk in predictor.laws([texts[i].ids for i in company], first=shortest):
            yield chunk, company


def score_texts(
    predictor: Predictor,
    texts: Sequence[Text],
    declared: Declared,
    *,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> Iterator[Scored]:
    """What the laws say of every token of the completions; `sequence` is the place among `texts`."""
    for chunk, company in law_chunks(predictor, texts):
        whole = [texts[i].ids for i in company]
        prompts = [len(texts[i].prompt) for i in company]
        for piece in scored(chunk, whole, prompts, declared):
            if np.isnan(piece.tokens.model_log_prob_nats).any():
                raise BackendError("the model's law is NaN: the checkpoint or its number format is broken")
            piece.tokens.sequence[:] = np.array(company)[piece.tokens.sequence]
            on_tokens(piece.tokens.n_tokens)
            yield piece


def score_unit(
    predictor: Predictor,
    texts: Sequence[Text],
    declared: Declared,
    *,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> UnitScores:
    """All drawn tokens of some texts, in order of text and position; end tokens are left out where they count as missing."""
    pieces = list(score_texts(predictor, texts, declared, on_tokens=on_tokens))
    tokens = TokenLaws.concatenate([p.tokens for p in pieces])
    other = Alternatives(*(np.concatenate([getattr(p.other, f.name) for p in pieces]) for f in fields(Alternatives)))
    drawn, reported, trainer = (
        np.concatenate([getattr(t, name) for t in texts]) for name in ("drawn", "reported_nats", "trainer_nats")
    )
    order = np.lexsort((tokens.position, tokens.sequence))
    kept = drawn & ~(declared.without_ends & tokens.is_end[order])
    rows = order[kept]
    return UnitScores(
        tokens.take(rows),
        Alternatives(*(getattr(other, f.name)[rows] for f in fields(Alternatives))),
        reported[kept],
        trainer[kept],
    )


# ---- recorded --------------------------------------------------------------------------------------------------------


def score_file(
    predictor: Predictor,
    texts: Iterator[Text],
    found: Survey,
    declared: Declared,
    folder: ScoreFolder,
    plan_hash: str,
    *,
    on_tokens: Callable[[int], None],
) -> None:
    """Score every unit that is not recorded yet; texts of those that are are read and let go."""
    for number, unit in enumerate(_units(texts)):
        name, key = unit_name(number), f"{plan_hash}-{number}"
        if folder.has(name, key):
            on_tokens(sum(len(t.completion) for t in unit))
            continue
        first = number * UNIT_TEXTS
        scores = score_unit(predictor, unit, declared, on_tokens=on_tokens)
        copies = _copies(scores, [i for i in range(len(unit)) if first + i in found.copies])
        columns, notes = _recorded(scores, unit, first, copies)
        folder.write(name, columns, key=key, notes=notes)


def unit_name(number: int) -> str:
    return f"unit-{number:06d}"


def _units(texts: Iterator[Text]) -> Iterator[list[Text]]:
    while unit := list(islice(texts, UNIT_TEXTS)):
        yield unit


def _copies(scores: UnitScores, suspects: Sequence[int]) -> list[int]:
    """Those of the suspects that no law they may be from, cold ones among them, is likely to have drawn twice."""
    return [i for i in suspects if _most_likely_nats(scores, scores.tokens.sequence == i) < -COPY_NATS]


def _most_likely_nats(scores: UnitScores, rows: Bool[np.ndarray, " tokens"]) -> float:
    """ln P of one text by the declared law (by the model's own, what that cannot say) or its alternatives, the largest of them."""
    own = scores.tokens.log_prob_nats[rows]
    own = np.where(np.isfinite(own), own, scores.tokens.model_log_prob_nats[rows])
    heated = own[:, None] + np.maximum(scores.other.gain_nats[rows], -1e4)
    with np.errstate(divide="ignore"):
        cut = np.where(scores.other.cut_keeps[rows], own[:, None] - np.log(scores.other.cut_mass[rows]), -np.inf)
    return float(max(own.sum(), heated.sum(axis=0).max(), cut.sum(axis=0).max()))


def _recorded(
    scores: UnitScores, unit: Sequence[Text], first: int, copies: Sequence[int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    kept = ~np.isin(scores.tokens.sequence, copies)
    tokens = scores.tokens.take(kept)
    tested = tokens.is_tested
    other = Alternatives(*(getattr(scores.other, f.name)[kept][tested] for f in fields(Alternatives)))
    bets = Bets.of(other, tokens.position[tested])
    columns = {f.name: _column(f.name, getattr(tokens, f.name)) for f in fields(TokenLaws)}
    columns["sequence"] = columns["sequence"] + first
    columns |= {"reported_nats": scores.reported_nats[kept], "trainer_nats": scores.trainer_nats[kept]}
    notes = {
        "bets": {f.name: getattr(bets, f.name).tolist() for f in fields(Bets)},
        "n_tokens": [len(t.completion) for t in unit],
        "copies": [first + i for i in copies],
    }
    return columns, notes


def _column(name: str, values: np.ndarray) -> np.ndarray:
    if name in _EXACT:
        return values
    return values.astype(_WIDE.get(name, np.float32))


# ---- the floor -------------------------------------------------------------------------------------------------------

FLOOR_TEXTS = 12
FLOOR_TOKENS = 1500


def floor_texts(lengths: Sequence[int]) -> list[int]:
    """Numbers of the texts that are read again alone: evenly spread, at most `FLOOR_TOKENS` tokens."""
    n = len(lengths)
    chosen: list[int] = []
    total = 0
    for i in dict.fromkeys(int((j + 0.5) * n / min(n, FLOOR_TEXTS)) for j in range(min(n, FLOOR_TEXTS))):
        if chosen and total + lengths[i] > FLOOR_TOKENS:
            break
        chosen.append(i)
        total += lengths[i]
    return chosen


def read_alone(predictor: Predictor, texts: Sequence[Text]) -> list[Float[np.ndarray, " completion"]]:
    """Log-probabilities of completions, each text in a pass of its own: chunk 1 against the batch."""
    return [predictor.log_probs([t.ids], first=len(t.prompt))[0] for t in texts]


def spread(lengths: Sequence[int], most_tokens: int) -> list[int]:
    """Numbers of texts, evenly over the file, that hold at most so many tokens together (at least two texts)."""
    n = len(lengths)
    mean = max(1.0, sum(lengths) / max(n, 1))
    wanted = min(n, max(2, int(most_tokens / mean)))
    return list(dict.fromkeys(int((j + 0.5) * n / wanted) for j in range(wanted)))


def rows_of(tokens: TokenLaws, chosen: Sequence[int]) -> Bool[np.ndarray, " tokens"]:
    return np.asarray(np.isin(tokens.sequence, np.asarray(chosen, np.int64)))


def groups_of(tokens: TokenLaws, found: Survey) -> Int[np.ndarray, " tokens"]:
    """The number of each token's prompt."""
    return np.asarray(np.asarray(found.group_of, np.int64)[tokens.sequence])
