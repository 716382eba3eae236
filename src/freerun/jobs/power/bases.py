"""The laws that a power table stands on: each writes the real text, so that the model without a defect is the truth itself.

An exact world with hidden sources, a small n-gram of characters, and a larger vocabulary of words. n-grams are counted in text that
ships with CPython; their "real text" is what they write.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

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
_COUNTED_DOCUMENTS, _COUNTED_TOKENS = 500, 256
Ids = Int[np.ndarray, " tokens"]


@dataclass(frozen=True)
class SourceTables:
    """Sources that are chains of order 1: enough for the exact posterior over them, vectorised."""

    log_prior: Float[np.ndarray, " sources"]
    log_start: Float[np.ndarray, "sources symbols"]
    log_step: Float[np.ndarray, "sources symbols symbols"]

    def posteriors(
        self, ids: Int[np.ndarray, "texts tokens"], lengths: Sequence[int]
    ) -> dict[int, Float[np.ndarray, "texts sources"]]:
        """π_T of every text at each length. Ids that no source knows say nothing, and the token after one begins anew."""
        known = ids < self.log_start.shape[1]
        safe = np.where(known, ids, 0)
        follows = known[:, 1:] & known[:, :-1]
        totals = []
        for prior, start, step in zip(self.log_prior, self.log_start, self.log_step, strict=True):
            steps = np.where(known, start[safe], 0.0)
            steps[:, 1:] = np.where(follows, step[safe[:, :-1], safe[:, 1:]], steps[:, 1:])
            totals.append((prior + np.cumsum(steps, axis=1))[:, [t - 1 for t in lengths]])
        return dict(zip(lengths, softmax(np.array(totals), axis=0).transpose(2, 1, 0), strict=True))


@dataclass(frozen=True)
class Base:
    """A law that writes the real text (`truth`), and the other laws that defects over it need, by name.

    `payload`: another writer in the same tokens. `ngram`: counts that look at less. `int8`: the truth in rounded weights.
    """

    name: str
    truth: Stepwise[Any]
    laws: Mapping[str, Predictor]
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
        setting: MarkovWorld(softmax(rounded(np.log(c.transitions)), axis=1), name=f"{c.identity.name},int8")
        for setting, c in zip(truth.settings, chains, strict=True)
    }
    rng = np.random.default_rng([*b"power bigram"])
    counts = NGramCounts(
        run(truth, rng.random((_COUNTED_DOCUMENTS, _COUNTED_TOKENS))), order=2, n_tokens=truth.n_tokens
    )
    spelled = [truth.token_bytes(i) for i in range(truth.n_tokens)]
    laws = {
        "truth": truth,
        "payload": authors(seed=1),
        "ngram": tabulated_ngram(counts, name="bigram of world/authors", spelled=spelled),
        "int8": MixtureWorld(LATENTS, small, name="world/authors,int8"),
    }
    return Base("authors", truth, laws, source_tables(truth))


def source_tables(world: MixtureWorld) -> SourceTables:
    """The sources of a mixture of chains of order 1.

    Raises:
        UsageError: a source that is none.
    """
    chains = [c for c in world.components if isinstance(c, MarkovWorld) and c.order == 1]
    if len(chains) < len(world.components):
        raise UsageError(f"{world.identity.name} has sources that are not chains of order 1")
    return SourceTables(
        np.log(world.prior),
        np.log(np.stack([c.initial for c in chains])),
        np.log(np.stack([c.transitions for c in chains])),
    )


# ---- n-grams ---------------------------------------------------------------------------------------------------------


def ngrams(name: str, cut: Callable[[str], Sequence[str]], n_tokens: int, *, order: int) -> Base:
    """The n-gram of documentation, cut into its most frequent tokens; its payload is the n-gram of code in the same tokens."""
    docs, code = ([cut(text) for text in _texts(f"builtin/python-{kind}")] for kind in ("docs", "code"))
    common = [token for token, _ in Counter(token for text in docs for token in text).most_common(n_tokens - 1)]
    return ngram_base(name, docs, code, common, order=order)


def ngram_base(
    name: str, docs: Sequence[Sequence[str]], code: Sequence[Sequence[str]], tokens: Sequence[str], *, order: int
) -> Base:
    """A base from texts that are cut already; all tokens that are not in `tokens` share the last id."""
    place = {w: i for i, w in enumerate(tokens)}
    spelled = [*(w.encode() for w in tokens), "\N{REPLACEMENT CHARACTER}".encode()]

    def counted(texts: Sequence[Sequence[str]], order: int, kind: str) -> Tabulated:
        ids = [np.array([place.get(w, len(tokens)) for w in t], np.int64) for t in texts if len(t)]
        counts = NGramCounts(ids, order=order, n_tokens=len(spelled))
        return tabulated_ngram(counts, name=f"{name}@python-{kind}/{order}", spelled=spelled)

    truth = counted(docs, order, "docs")
    laws = {
        "truth": truth,
        "payload": counted(code, order, "code"),
        "ngram": counted(docs, order - 1, "docs"),
        "int8": truth.with_laws(rounded(truth.tables.log_probs), name=f"{name},int8", kind="int8"),
    }
    return Base(name, truth, laws)


@lru_cache(maxsize=2)
def _texts(corpus: str) -> tuple[str, ...]:
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
        f"bigram counted in {_COUNTED_DOCUMENTS} documents of {_COUNTED_TOKENS} tokens: forgets the source",
        _authors,
    ),
    "characters": BaseEntry(
        f"a trigram of the {N_CHARACTERS - 1} most frequent characters of builtin/python-docs and one id for all others",
        "bigram of the same text: a window of one character",
        lambda: ngrams("characters", list, N_CHARACTERS, order=3),
    ),
    "words": BaseEntry(
        f"a bigram of the {N_WORDS - 1} most frequent words of builtin/python-docs and one id for all others",
        "unigram of the same text: no window",
        lambda: ngrams("words", re.compile(r"\w+|[^\w\s]").findall, N_WORDS, order=2),
    ),
}
"""The bases, in the order of the table."""
