"""References: what else, besides the model, gives the real text a probability.

A reference is recorded as log-probabilities of its components at every token. The default one has an n-gram of the training
documents and the cache of the document itself; findings interpolate them with the model's own law, weights fitted on the training
split. Training documents are scored by n-grams that have not counted them (folds), so that nothing leaks into what is fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.mixture import DocumentCache
from freerun.predictors.ngram import NGramPredictor

Columns = list[Float[np.ndarray, "scored components"]]
"""For each sequence, the log-probability of every scored token under every component."""


class Reference(Protocol):
    """Log-probabilities of given tokens under some components."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def fingerprint(self) -> str: ...

    def log_probs(self, units: Sequence[str], sequences: Sequence[Ids], *, first: int) -> Columns:
        """Of the tokens from `first` on, for sequences that belong to the given units; −inf where a component has no mass."""
        ...


@dataclass(frozen=True)
class CrossFitted:
    """n-grams that have never counted the unit they score, and the document's own cache."""

    by_fold: tuple[NGramPredictor, ...]
    fold_of: Mapping[str, int]
    whole: NGramPredictor
    cache: DocumentCache
    fingerprint: str
    names: tuple[str, ...] = ("ngram", "cache")

    def log_probs(self, units: Sequence[str], sequences: Sequence[Ids], *, first: int) -> Columns:
        out: list[Any] = [None] * len(sequences)
        cached = self.cache.log_probs(sequences, first=first)
        which = [self.fold_of.get(u, -1) for u in units]
        for fold in sorted(set(which)):
            chosen = [i for i, f in enumerate(which) if f == fold]
            ngram = self.by_fold[fold] if fold >= 0 else self.whole
            for i, counted in zip(chosen, ngram.log_probs([sequences[j] for j in chosen], first=first), strict=True):
                out[i] = np.stack([counted, cached[i]], axis=1)
        return out


@dataclass(frozen=True)
class Beside:
    """A reference and other predictors over the same ids, all to be interpolated."""

    base: Reference
    others: tuple[Predictor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.base.names, *(p.identity.name for p in self.others))

    @property
    def fingerprint(self) -> str:
        return "+".join([self.base.fingerprint, *(p.identity.fingerprint for p in self.others)])

    def log_probs(self, units: Sequence[str], sequences: Sequence[Ids], *, first: int) -> Columns:
        columns = [self.base.log_probs(units, sequences, first=first)]
        columns += [[x[:, None] for x in _log_probs(p, sequences, first)] for p in self.others]
        return [np.hstack(line) for line in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Alone:
    """Another predictor over the same ids, taken as it is."""

    predictor: Predictor

    @property
    def names(self) -> tuple[str, ...]:
        return (self.predictor.identity.name,)

    @property
    def fingerprint(self) -> str:
        return self.predictor.identity.fingerprint

    def log_probs(self, units: Sequence[str], sequences: Sequence[Ids], *, first: int) -> Columns:
        return [x[:, None] for x in _log_probs(self.predictor, sequences, first)]


def default_reference(
    like: Predictor, documents: Mapping[str, Sequence[Ids]], *, order: int = 3, n_folds: int = 4
) -> CrossFitted:
    """Count the training documents: `documents` maps each training unit to its token strings (ends included).

    Raises:
        UsageError: fewer than two units of training text.
    """
    units = sorted(documents, key=lambda u: hashlib.sha256(f"fold/{u}".encode()).hexdigest())
    if len(units) < 2:
        raise UsageError("a reference needs at least two training documents")
    fold_of = {u: i % min(n_folds, len(units)) for i, u in enumerate(units)}

    def counted(left_out: int) -> NGramPredictor:
        tokens = [d for u in sorted(documents) if fold_of[u] != left_out for d in documents[u]]
        return NGramPredictor.over(like, tokens, order=order, name=f"ngram/{order}")

    whole = counted(-1)
    folds = tuple(counted(f) for f in range(max(fold_of.values()) + 1))
    return CrossFitted(folds, fold_of, whole, DocumentCache(like), f"cross-fitted-{whole.counts.fingerprint()}")


def check_shares_tokens(model: Predictor, reference: Predictor) -> None:
    """A reference must mean the same bytes by the model's ids; ids that stand for no bytes (an organism's own) it may lack.

    Raises:
        UsageError: another vocabulary.
    """
    shared = min(reference.n_tokens, model.n_tokens)
    differs = [i for i in range(shared) if reference.token_bytes(i) != model.token_bytes(i)]
    extra = [i for i in range(shared, model.n_tokens) if model.token_bytes(i)]
    # a few special tokens may be named otherwise
    if reference.n_tokens > model.n_tokens or extra or len(differs) > shared // 100:
        raise UsageError(
            f"--reference {reference.identity.name} does not share the tokens of {model.identity.name} "
            f"({reference.n_tokens} against {model.n_tokens} ids); choose a model with the same tokenizer, or leave it out"
        )


def _log_probs(predictor: Predictor, sequences: Sequence[Ids], first: int) -> list[Float[np.ndarray, " scored"]]:
    """Log-probabilities; −inf from the first id on that the predictor does not have: it writes no such text."""
    ids = [np.asarray(s, np.int64) for s in sequences]
    known = [int(np.argmax(s >= predictor.n_tokens)) if (s >= predictor.n_tokens).any() else len(s) for s in ids]
    out = [np.full(max(0, len(s) - first), -np.inf) for s in ids]
    scored = [i for i, k in enumerate(known) if k > first]
    heads = [ids[i][: known[i]] for i in scored]
    for i, values in zip(scored, predictor.log_probs(heads, first=first) if heads else [], strict=True):
        out[i][: len(values)] = values
    return out
