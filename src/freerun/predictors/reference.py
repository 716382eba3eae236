"""References: what else, besides the model, gives the real text a probability (METHODS 1).

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
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.mixture import DocumentCache
from freerun.predictors.ngram import NGramCounts, NGramPredictor


class Reference(Protocol):
    """Log-probabilities of given tokens under some components."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def interpolated(self) -> bool:
        """Whether findings mix the components with the model's own law, or take the single component as it is."""
        ...

    @property
    def fingerprint(self) -> str: ...

    def log_probs(
        self, units: Sequence[str], sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int
    ) -> list[Float[np.ndarray, "scored components"]]:
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
    interpolated: bool = True

    def log_probs(
        self, units: Sequence[str], sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int
    ) -> list[Float[np.ndarray, "scored components"]]:
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
class Alone:
    """Another predictor over the same ids, taken as it is."""

    predictor: Predictor[Any]
    interpolated: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.predictor.identity.name,)

    @property
    def fingerprint(self) -> str:
        return self.predictor.identity.fingerprint

    def log_probs(
        self, units: Sequence[str], sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int
    ) -> list[Float[np.ndarray, "scored components"]]:
        return [x[:, None] for x in self.predictor.log_probs(sequences, first=first)]


def default_reference(
    like: Predictor[Any],
    documents: Mapping[str, Sequence[Int[np.ndarray, " tokens"]]],
    *,
    order: int = 3,
    n_folds: int = 4,
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
        return NGramPredictor(
            NGramCounts(tokens, order=order, n_tokens=like.n_tokens),
            name=f"ngram/{order}",
            encode=like.encode,
            token_bytes=like.token_bytes,
            end_ids=like.end_ids,
        )

    whole = counted(-1)
    folds = tuple(counted(f) for f in range(max(fold_of.values()) + 1))
    return CrossFitted(folds, fold_of, whole, DocumentCache(like), f"cross-fitted-{whole.counts.fingerprint()}")


def check_shares_tokens(model: Predictor[Any], reference: Predictor[Any]) -> None:
    """A reference must read the same ids as the model.

    Raises:
        UsageError: another vocabulary.
    """
    probe = "The quick brown fox: 12 + 34 = 46.\n"
    if reference.n_tokens != model.n_tokens or list(reference.encode(probe)) != list(model.encode(probe)):
        raise UsageError(
            f"--reference {reference.identity.name} does not share the tokens of {model.identity.name} "
            f"({reference.n_tokens} against {model.n_tokens} ids); choose a model with the same tokenizer, or leave it out"
        )
