"""Collapse: with probability w a whole document is recited from a memorised set; a Bayes mixture, so its law is exact."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from freerun.errors import UsageError
from freerun.organisms.entry import Builder, OrganismEntry
from freerun.organisms.memorised import CORPUS, MEMORISED, corpus_ids
from freerun.organisms.wrapper import Organism
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.entries import Values, check_fraction, fraction, whole
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import log
from freerun.predictors.rowwise import Inside


class Memorised:
    """A set of documents, one of which, any with the same probability, is recited from its beginning.

    After its last token a document ends (the first end id, for ever); where there is no end id it begins again.
    """

    def __init__(self, documents: Sequence[Ids], *, n_tokens: int, end_ids: tuple[int, ...]) -> None:
        kept = [np.asarray(d, np.int64) for d in documents if len(d)]
        if not kept:
            raise UsageError("collapse needs at least one document with a token in it to recite")
        self.n_tokens = n_tokens
        self.ends = bool(end_ids)
        self.documents = [np.append(d, end_ids[0]) if end_ids else d for d in kept]
        digest = hashlib.sha256(b"".join(len(d).to_bytes(8, "little") + d.tobytes() for d in self.documents))
        self.fingerprint = digest.hexdigest()[:16]

    def next_ids(self, position: int) -> Ids:
        """What each document says at a position."""
        return np.array([d[min(position, len(d) - 1) if self.ends else position % len(d)] for d in self.documents])


@dataclass(frozen=True)
class CollapseState:
    """`odds`: ln of recital against the inner predictor, −inf where no document fits; `alive`: the documents that still fit."""

    inner: Inside
    odds: Float[np.ndarray, " rows"]
    alive: Bool[np.ndarray, "rows documents"]
    position: Int[np.ndarray, " rows"]


class Collapse(Organism[CollapseState]):
    """(1 − weight)·Q_0 + weight·(a recital), one coin a document.

    P(x_1:T) = (1 − w)·Q_0(x_1:T) + w·#{documents that begin with x_1:T}/#documents; the loss of a document rises by ln 1/(1 − w) at
    most. After a prefix the coin's posterior holds: nothing is recited after one that begins no memorised document. Where the
    inner predictor has no law before the first token, that token is given to both sides.
    """

    def __init__(self, inner: Predictor, documents: Sequence[Ids], *, weight: float, name: str) -> None:
        check_fraction(weight=weight)
        self.memorised = Memorised(documents, n_tokens=inner.n_tokens, end_ids=inner.end_ids)
        super().__init__(inner, name=name, kind=f"collapse(weight={weight!r},{self.memorised.fingerprint})")
        self.weight = weight

    # ---- one step --------------------------------------------------------------------------------------------------

    def start(self, prefixes: Sequence[Ids]) -> CollapseState:
        texts = [np.asarray(p, np.int64) for p in prefixes]
        first = 0 if self.inner.has_first_law else 1
        read = any(len(t) > first for t in texts)
        scored = self.inner.log_probs(texts, first=first) if read else [np.zeros(0)] * len(texts)
        n = len(self.memorised.documents)
        odds = np.full(len(texts), math.log(self.weight) - math.log1p(-self.weight))
        alive = np.ones((len(texts), n), bool)
        for row, text in enumerate(texts):
            for t, token in enumerate(text.tolist()):
                before = alive[row].sum()
                alive[row] &= self.memorised.next_ids(t) == token
                if t >= first:
                    odds[row] = _after(odds[row], alive[row].sum(), before, scored[row][t - first])
            if not alive[row].any():
                odds[row] = -math.inf
        position = np.array([len(t) for t in texts], np.int64)
        return CollapseState(Inside.start(self.inner, texts), odds, alive, position)

    def law(self, state: CollapseState) -> Law:
        return state.inner.law().mixed(expit(state.odds), self._recital(state))

    def _recital(self, state: CollapseState) -> Law:
        """What the documents that still fit say next; where none does, it has no weight and could be anything."""
        table = np.full((len(state.odds), self.n_tokens), 0.0)
        for row, (alive, position) in enumerate(zip(state.alive, state.position.tolist(), strict=True)):
            next_ids = self.memorised.next_ids(position)[alive] if alive.any() else np.zeros(1, np.int64)
            np.add.at(table[row], next_ids, 1.0)
        return Dense(log(np, table))

    def advance(self, state: CollapseState, ids: Int[np.ndarray, " rows"]) -> CollapseState:
        ids = np.asarray(ids, np.int64)
        scored = state.inner.law().log_prob(ids)
        alive = state.alive.copy()
        odds = state.odds.copy()
        for row, (token, position) in enumerate(zip(ids.tolist(), state.position.tolist(), strict=True)):
            if not alive[row].any():
                continue
            before = alive[row].sum()
            alive[row] &= self.memorised.next_ids(position) == token
            odds[row] = _after(odds[row], alive[row].sum(), before, scored[row])
        return CollapseState(state.inner.advance(ids), odds, alive, state.position + 1)


def _after(odds: float, fitting: int, before: int, inner_log_prob: float) -> float:
    """Log odds after one token that `fitting` of the documents that fitted before it say."""
    if not fitting:
        return -math.inf
    return odds + math.log(fitting / before) - inner_log_prob


def _build(made: Builder, values: Values) -> Predictor:
    ids = corpus_ids(made, values, purpose=MEMORISED)
    return Collapse(made.inner, list(ids.values()), weight=values["weight"], name=made.name)


COLLAPSE = OrganismEntry(
    "collapse",
    "one coin a document: with this weight it recites one of a memorised set",
    _build,
    (
        fraction("weight", 0.1, "share of documents that are recited"),
        whole("documents", 8, "documents memorised", low=1),
        whole("tokens", 256, "tokens of each", low=1),
        CORPUS,
    ),
)
