"""The laws that a power table stands on: each writes the real text, so that the model without a defect is the truth itself.

An exact world with hidden sources, a small n-gram of characters, and a larger vocabulary of words. n-grams are counted in text that
ships with CPython; their "real text" is what they write.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError, nearest
from freerun.jobs.power.laws import Tabulated, rounded, tabulated_ngram
from freerun.predictors.base import Predictor
from freerun.predictors.ngram import NGramCounts
from freerun.predictors.stepwise import Stepwise
from freerun.text.corpora import read_corpus
from freerun.worlds.authors import LATENTS, authors
from freerun.worlds.base import run
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import MixtureWorld

MOST_CHARACTERS = 600_000
"""Of each corpus, that n-grams count."""
N_CHARACTERS, N_WORDS = 96, 200
"""Sizes of the vocabularies; the last id stands for everything else."""
_FITTED_DOCUMENTS, _FITTED_TOKENS = 500, 256
Ids = Int[np.ndarray, " tokens"]


@dataclass(frozen=True)
class SourceTables:
    """Sources that are chains of order 1: enough for the exact posterior over them, vectorised."""

    names: tuple[str, ...]
    log_prior: Float[np.ndarray, " sources"]
    log_start: Float[np.ndarray, "sources symbols"]
    log_step: Float[np.ndarray, "sources symbols symbols"]

    def posteriors(
        self, ids: Int[np.ndarray, "texts tokens"], lengths: Sequence[int]
    ) -> dict[int, Float[np.ndarray, "texts sources"]]:
        """π_T of every text at each length. Ids that no source knows say nothing, and the token after one begins anew."""
        n = self.log_start.shape[1]
        known = ids < n
        safe = np.where(known, ids, 0)
        follows = known[:, 1:] & known[:, :-1]
        out = {t: np.zeros((len(ids), len(self.names))) for t in lengths}
        for s in range(len(self.names)):
            steps = np.where(known, self.log_start[s][safe], 0.0)
            steps[:, 1:] = np.where(follows, self.log_step[s][safe[:, :-1], safe[:, 1:]], steps[:, 1:])
            total = self.log_prior[s] + np.cumsum(steps, axis=1)
            for t in lengths:
                out[t][:, s] = total[:, t - 1]
        return {t: _normalised(x) for t, x in out.items()}


def _normalised(log_joint: Float[np.ndarray, "texts sources"]) -> Float[np.ndarray, "texts sources"]:
    weights = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Base:
    """A law that writes the real text (`truth`), and what organisms over it need: a payload, an n-gram and its weights rounded."""

    name: str
    truth: Stepwise[Any]
    payload: Predictor
    forgetful: Predictor
    rounded: Predictor
    sources: SourceTables | None = None

    def documents(self, n: int, tokens: int, *, seed: int) -> list[Ids]:
        """Texts for an organism to know or to be calibrated on; never among those that are measured."""
        rng = np.random.default_rng([seed, *b"power organism", *self.name.encode()])
        return run(self.truth, rng.random((n, tokens)))


@lru_cache(maxsize=4)
def load_base(name: str) -> Base:
    """Build a base by name.

    Raises:
        UsageError: no such base.
    """
    if name not in BASES:
        raise UsageError(f"no base {name!r}{nearest(name, BASES)}; there are {', '.join(BASES)}")
    return BASES[name].build()


# ---- an exact world --------------------------------------------------------------------------------------------------


def _authors() -> Base:
    truth = authors()
    chains = [c for c in truth.components if isinstance(c, MarkovWorld)]
    small = {
        setting: MarkovWorld(_probabilities(rounded(np.log(c.transitions))), name=f"{c.identity.name},int8")
        for setting, c in zip(truth.settings, chains, strict=True)
    }
    rng = np.random.default_rng([*b"power bigram"])
    written = run(truth, rng.random((_FITTED_DOCUMENTS, _FITTED_TOKENS)))
    spelled = [truth.token_bytes(i) for i in range(truth.n_tokens)]
    counts = NGramCounts(written, order=2, n_tokens=truth.n_tokens)
    return Base(
        "authors",
        truth,
        authors(seed=1),
        tabulated_ngram(counts, name="bigram of world/authors", spelled=spelled),
        MixtureWorld(LATENTS, small, name="world/authors,int8"),
        source_tables(truth),
    )


def source_tables(world: MixtureWorld) -> SourceTables:
    """The sources of a mixture of chains of order 1.

    Raises:
        UsageError: a source that is none.
    """
    chains = [c for c in world.components if isinstance(c, MarkovWorld) and c.order == 1]
    if len(chains) < len(world.components):
        raise UsageError(f"{world.identity.name} has sources that are no chains of order 1")
    return SourceTables(
        world.sources,
        np.log(world.prior),
        np.log(np.stack([c.initial for c in chains])),
        np.log(np.stack([c.transitions for c in chains])),
    )


def _probabilities(logits: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows n"]:
    table = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(table / table.sum(axis=1, keepdims=True))


# ---- n-grams ---------------------------------------------------------------------------------------------------------


def _characters() -> Base:
    docs, code = _text("builtin/python-docs"), _text("builtin/python-code")
    alphabet = [c for c, _ in Counter("".join(docs)).most_common(N_CHARACTERS - 1)]
    return _ngrams(
        "characters",
        [list(t) for t in docs],
        [list(t) for t in code],
        alphabet,
        order=3,
    )


def _words() -> Base:
    docs, code = (
        [re.findall(r"\w+|[^\w\s]", t) for t in _text(c)] for c in ("builtin/python-docs", "builtin/python-code")
    )
    common = [w for w, _ in Counter(w for t in docs for w in t).most_common(N_WORDS - 1)]
    return _ngrams(
        "words",
        docs,
        code,
        common,
        order=2,
    )


def _ngrams(
    name: str,
    docs: Sequence[Sequence[str]],
    code: Sequence[Sequence[str]],
    tokens: Sequence[str],
    *,
    order: int,
) -> Base:
    """The n-gram of documentation; its payload is the n-gram of code in the same tokens."""
    place = {w: i for i, w in enumerate(tokens)}
    other = len(tokens)
    spelled = [*(w.encode() for w in tokens), "\N{REPLACEMENT CHARACTER}".encode()]

    def counted(texts: Sequence[Sequence[str]], order: int, what: str) -> Tabulated:
        ids = [np.array([place.get(w, other) for w in t], np.int64) for t in texts if len(t)]
        counts = NGramCounts(ids, order=order, n_tokens=len(spelled))
        return tabulated_ngram(counts, name=f"{what}/{order}", spelled=spelled)

    truth = counted(docs, order, f"{name}@python-docs")
    return Base(
        name,
        truth,
        counted(code, order, f"{name}@python-code"),
        counted(docs, order - 1, f"{name}@python-docs"),
        truth.with_laws(rounded(truth.tables.log_probs), name=f"{name},int8", kind="int8"),
    )


@lru_cache(maxsize=2)
def _text(corpus: str) -> tuple[str, ...]:
    """The first documents of a corpus, in the order of their names, `MOST_CHARACTERS` in all."""
    out: list[str] = []
    left = MOST_CHARACTERS
    for document in sorted(read_corpus(corpus, single_ok=True).documents, key=lambda d: d.id):
        if left <= 0:
            break
        out.append(document.text[:left])
        left -= len(out[-1])
    return tuple(out)


@dataclass(frozen=True)
class BaseEntry:
    """A base that can be named: what writes its real text, and what its n-gram organism is."""

    meaning: str
    ngram: str
    build: Callable[[], Base]


BASES: dict[str, BaseEntry] = {
    "authors": BaseEntry(
        "world/authors: a mixture of 8 chains over 8 symbols (publication × author × date); a document has one source",
        f"bigram counted in {_FITTED_DOCUMENTS} documents of {_FITTED_TOKENS} tokens: forgets the source",
        _authors,
    ),
    "characters": BaseEntry(
        f"a trigram of the {N_CHARACTERS - 1} most frequent characters of builtin/python-docs and one id for all others",
        "bigram of the same text: a window of one character",
        _characters,
    ),
    "words": BaseEntry(
        f"a bigram of the {N_WORDS - 1} most frequent words of builtin/python-docs and one id for all others",
        "unigram of the same text: no window",
        _words,
    ),
}
"""The bases, in the order of the table."""
