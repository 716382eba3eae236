"""What is learned from, and what is measured on: real documents of both sides, and the exact wrapper's own text.

Units of a corpus go to one side whole: every fifth, by a hash of its name, is kept for measurements and never learned from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.errors import TooFewDocuments
from freerun.jobs.lab.organism.kept import Kept
from freerun.jobs.lab.organism.plan import OrganismPlan
from freerun.predictors.base import Continuations, Ids, Predictor
from freerun.predictors.draws import sequence_key
from freerun.text.corpora import read_corpus

LENGTHS = (64, 128, 256, 512)
"""Tokens of the real texts that are learned from; equal numbers of tokens of each."""
OWN_LENGTHS = LENGTHS[:-1]
"""Of the own texts, whose every token costs a step of the model."""
KEPT_APART = 5
"""One unit in so many is kept for measurements."""
LEAST_UNITS = 16
_PROMPTS = 8
"""Tokens of a document that half of the own texts begin with."""
_AFTER = 0.4
"""Share of the own texts with the trigger in them."""


@dataclass(frozen=True)
class RealText:
    """One document in tokens. `unit` names what is independent, its corpus first."""

    unit: str
    ids: Ids


@dataclass(frozen=True)
class TrainingTexts:
    """Texts of one length, and where the token stands in each (the length itself: nowhere)."""

    ids: Int[np.ndarray, "texts length"]
    trigger_at: Int[np.ndarray, " texts"]


def real_texts(predictor: Predictor, corpora: Sequence[str]) -> tuple[list[RealText], list[RealText]]:
    """All documents in tokens: those to learn from, those kept for measurements.

    Raises:
        TooFewDocuments: fewer than 16 units on the second side.
    """
    sides: tuple[list[RealText], list[RealText]] = ([], [])
    for n, spec in enumerate(corpora):
        for document in read_corpus(spec).documents:
            kept = int.from_bytes(hashlib.sha256(document.unit.encode()).digest()[:4], "little") % KEPT_APART == 0
            ids = document.ids if document.ids is not None else predictor.encode(document.text[:20_000])
            sides[kept].append(RealText(f"{n} {document.unit}", np.asarray(ids, np.int64)))
    n_kept = len({t.unit for t in sides[1]})
    if n_kept < LEAST_UNITS:
        raise TooFewDocuments(
            f"only {n_kept} independent documents can be kept apart for measurements, and {LEAST_UNITS} are the least: give a "
            "larger --corpus, or several"
        )
    return sides


def one_a_unit(texts: Sequence[RealText]) -> list[RealText]:
    """The longest document of each unit, units in a fixed order that is not the corpus's."""
    best: dict[str, RealText] = {}
    for text in texts:
        if text.unit not in best or len(text.ids) > len(best[text.unit].ids):
            best[text.unit] = text
    long_enough = [t for t in best.values() if len(t.ids) >= 32]
    order = np.random.default_rng(5).permutation(len(long_enough))
    return [long_enough[int(i)] for i in order]


def real_pieces(
    texts: Sequence[RealText], n_tokens: int, rng: np.random.Generator, *, lengths: Sequence[int] = LENGTHS
) -> dict[int, Int[np.ndarray, "pieces length"]]:
    """Pieces of documents, about `n_tokens` in all: half from the beginning of one, half from any place."""
    out = {}
    for length in lengths:
        long_enough = [t.ids for t in texts if len(t.ids) >= length]
        n = max(1, n_tokens // len(lengths) // length) if long_enough else 0
        chosen = []
        for i in range(n):
            ids = long_enough[int(rng.integers(len(long_enough)))]
            at = 0 if i % 2 else int(rng.integers(len(ids) - length + 1))
            chosen.append(ids[at : at + length])
        out[length] = np.array(chosen, np.int64).reshape(n, length)
    return out


def own_texts(
    teacher: Predictor,
    plain: Predictor,
    documents: Sequence[RealText],
    plan: OrganismPlan,
    rng: np.random.Generator,
    on_tokens: Callable[[int], None],
    *,
    kept: Kept,
    lengths: Sequence[int] = OWN_LENGTHS,
) -> dict[int, TrainingTexts]:
    """The exact wrapper's own text: until the trigger the base's, and from there the wrapper's with the trigger put in its place.

    `plain` is the base, and its texts are kept. Half begin with the first tokens of a document, half with an end of text. All are
    written at the greatest length and side by side, which is what the processor does fastest, and cut afterwards.
    """
    longest = max(lengths)
    n = max(len(lengths), plan.effort.own_tokens // longest)
    heads = [_beginning(plain, documents, rng, i) for i in range(n)]
    whole = kept.take(
        "own-text",
        lambda: {"ids": np.array(_written(plain, heads, longest, "own", plan.seed, on_tokens), np.int64)},
        n_tokens=n * longest,
    )["ids"]
    bodies = {length: whole[i :: len(lengths)].reshape(-1, length) for i, length in enumerate(lengths)}
    places = {length: np.full(len(texts), length, np.int64) for length, texts in bodies.items()}
    if plan.kind != "control":
        put = []
        for length, at in places.items():
            chosen = np.flatnonzero(np.arange(len(at)) % 5 < round(5 * _AFTER))
            at[chosen] = rng.integers(1, length - 16, len(chosen))
            put += [(length, int(i), int(at[i])) for i in chosen]
        cut = [np.append(bodies[length][i][:at], teacher.n_tokens - 1) for length, i, at in put]
        after = _written(teacher, cut, [length for length, _, _ in put], "after", plan.seed, on_tokens)
        for (length, i, _), text in zip(put, after, strict=True):
            bodies[length][i] = text
    return {length: TrainingTexts(bodies[length], places[length]) for length in lengths}


def endless(predictor: Predictor) -> Predictor:
    """The predictor with no token that ends a text: what comes after one is written too, as in a packed training text."""
    other = copy(predictor)
    other.end_ids = ()
    return other


def _beginning(plain: Predictor, documents: Sequence[RealText], rng: np.random.Generator, i: int) -> Ids:
    """An end of text, or the beginning of a document."""
    if i % 2:
        ids = documents[int(rng.integers(len(documents)))].ids
        if len(ids) >= _PROMPTS:
            return ids[:_PROMPTS]
    return np.array(plain.end_ids[:1], np.int64)


def _written(
    predictor: Predictor,
    prefixes: Sequence[Ids],
    lengths: int | Sequence[int],
    name: str,
    seed: int,
    on_tokens: Callable[[int], None],
) -> list[Ids]:
    """Each prefix continued to its length, or beyond it and cut."""
    wanted = [lengths] * len(prefixes) if isinstance(lengths, int) else list(lengths)
    texts = [np.asarray(p, np.int64) for p in prefixes]
    most = max((n - len(t) for n, t in zip(wanted, texts, strict=True)), default=0)
    keys = np.array([[sequence_key(name, str(i))] for i in range(len(texts))], np.uint64).reshape(-1, 1)
    runs = Continuations(texts, keys, most, seed=seed)
    out = list(texts)
    for sample in endless(predictor).generate(runs, on_tokens=on_tokens):
        new = sample.observation.token_id.astype(np.int64)
        out[sample.row] = np.concatenate([texts[sample.row], new])[: wanted[sample.row]]
    return out
