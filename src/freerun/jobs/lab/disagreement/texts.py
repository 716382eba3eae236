"""The texts that models are trained, matched and tested on: written by an exact world, or cut from a corpus into tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, stream
from freerun.jobs.lab.disagreement.tokens import Tokens, tokens_of
from freerun.predictors.ngram import NGramCounts
from freerun.text.corpora import read_corpus
from freerun.text.documents import Corpus
from freerun.worlds.base import World
from freerun.worlds.catalogue import load_world

NGRAM_ORDER = 5
_MOST_BYTES = 8_000_000
Ids = Int[np.ndarray, "texts tokens"]


@dataclass(frozen=True)
class Texts:
    """Texts of equal length. Those of a corpus are pieces of documents; no document is in two parts. `units` are the test
    documents."""

    train: Ids
    validation: Ids
    test: Ids
    units: Int[np.ndarray, " test"]
    n_tokens: int
    world: World[Any] | None
    tokens: Tokens | None
    """How a corpus was cut; None of a world."""

    def spelled(self, ids: Int[np.ndarray, " tokens"]) -> str:
        if self.world is not None:
            return "".join(self.world.symbols[int(i)] for i in ids)
        assert self.tokens is not None
        return self.tokens.spelled(ids)


@lru_cache(maxsize=1)
def texts_of(plan: DisagreementPlan) -> Texts:
    """The texts of a plan.

    Raises:
        UsageError: no such world, or one whose texts end by themselves. DataError: a corpus that is too small.
    """
    return _from_world(plan) if plan.source.startswith("world/") else _from_corpus(plan)


def _from_world(plan: DisagreementPlan) -> Texts:
    world = load_world(plan.source.removeprefix("world/"))
    if world.end_ids:
        raise UsageError(f"{plan.source} ends its texts; a world whose texts go on is wanted, such as world/authors")
    sizes = (plan.train_texts, plan.validation_texts, plan.test_texts)
    train, validation, test = (
        np.array([d.ids for d in world.corpus(n, plan.tokens, seed=3 * plan.seed + i).documents])
        for i, n in enumerate(sizes)
    )
    return Texts(train, validation, test, np.arange(plan.test_texts), world.n_tokens, world, None)


def _from_corpus(plan: DisagreementPlan) -> Texts:
    corpus = read_corpus(plan.source)
    rng = stream(plan.seed, "documents")
    units = sorted({d.unit for d in corpus.documents})
    if len(units) < 16:
        raise DataError(f"{plan.source} has {counted(len(units), 'independent document')}; at least 16 are needed")
    shuffled = [units[i] for i in rng.permutation(len(units))]
    held = max(4, len(units) // 8)
    shares = (shuffled[2 * held :], shuffled[:held], shuffled[held : 2 * held])
    sizes = (plan.train_texts, plan.validation_texts, plan.test_texts)
    of_each = [_documents(corpus, chosen) for chosen in shares]
    tokens = tokens_of(plan.tokenizer, (text for _, text in of_each[0]))
    parts = [
        _pieces(corpus.spec, documents, tokens, n, plan.tokens, rng)
        for documents, n in zip(of_each, sizes, strict=True)
    ]
    return Texts(parts[0][0], parts[1][0], parts[2][0], parts[2][1], tokens.n_tokens, None, tokens)


def _documents(corpus: Corpus, units: list[str]) -> list[tuple[int, str]]:
    """The documents of some units, each with the number of its unit; of a large corpus the first eight million bytes."""
    numbers, left, found = {u: i for i, u in enumerate(units)}, _MOST_BYTES, []
    for document in corpus.documents:
        if document.unit not in numbers or left <= 0:
            continue
        data = document.text.encode()[:left]
        left -= len(data)
        found.append((numbers[document.unit], data.decode("utf-8", "ignore")))
    return found


def _pieces(
    name: str, documents: list[tuple[int, str]], tokens: Tokens, most: int, length: int, rng: np.random.Generator
) -> tuple[Ids, np.ndarray]:
    """Pieces of documents, in a random order; and the number of each one's unit."""
    pieces, owners = [], []
    for (unit, _), ids in zip(documents, tokens.encode([text for _, text in documents]), strict=True):
        n = ids.size // length
        pieces += list(ids[: n * length].reshape(n, length))
        owners += [unit] * n
    if len(pieces) < 8:
        raise DataError(f"{name} has too little text for pieces of {length} tokens; take fewer --tokens")
    order = rng.permutation(len(pieces))[:most]
    return np.array(pieces)[order], np.array(owners)[order]


# ---- laws that need no training ------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def ngram_of(plan: DisagreementPlan) -> NGramCounts:
    """A smoothed n-gram of the training texts: it stands outside the matching."""
    texts = texts_of(plan)
    return NGramCounts(list(texts.train), order=NGRAM_ORDER, n_tokens=texts.n_tokens)


def ngram_laws(counts: NGramCounts, ids: Ids) -> Float[np.ndarray, "texts tokens vocabulary"]:
    """Its law before every token."""
    width = counts.order - 1
    padded = np.concatenate([np.full((len(ids), width), -1), ids], axis=1)
    contexts = np.lib.stride_tricks.sliding_window_view(padded[:, :-1], width, axis=1)
    return counts.probs(contexts.reshape(-1, width)).reshape(*ids.shape, counts.n_tokens)


def ngram_loss(counts: NGramCounts, ids: Ids) -> float:
    """Its loss, nats a token."""
    width = counts.order - 1
    padded = np.concatenate([np.full((len(ids), width), -1), ids], axis=1)
    contexts = np.lib.stride_tricks.sliding_window_view(padded[:, :-1], width, axis=1)
    return float(-counts.log_prob(contexts.reshape(-1, width), ids.ravel()).mean())


def true_laws(world: World[Any], ids: Ids) -> Float[np.ndarray, "texts tokens vocabulary"]:
    """The world's law before every token; NaN after a beginning that it cannot write."""
    out = np.full((*ids.shape, world.n_tokens), np.nan)
    state, possible = world.start([ids[0, :0]] * len(ids)), np.ones(len(ids), bool)
    for t in range(ids.shape[1]):
        law = world.probabilities(state)
        out[possible, t] = law[possible]
        possible &= law[np.arange(len(ids)), ids[:, t]] > 0
        state = world.advance(state, ids[:, t])
    return out


def target_of(plan: DisagreementPlan) -> float:
    """The validation loss at which training stops, nats a token."""
    if plan.target_loss is not None:
        return float(plan.target_loss)
    texts = texts_of(plan)
    if texts.world is None:
        counted_grams = [NGramCounts(list(texts.train), order=k, n_tokens=texts.n_tokens) for k in (2, 3)]
        return sum(ngram_loss(c, texts.validation) for c in counted_grams) / 2
    truth = np.concatenate(texts.world.log_probs(list(texts.validation)))
    return float(-truth.mean()) + plan.target_excess
