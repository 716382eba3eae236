"""A predictor forgotten: n-gram counts in its tokens, and nothing else of it."""

from __future__ import annotations

import numpy as np

from freerun.organisms.entry import Builder, OrganismEntry
from freerun.organisms.memorised import CORPUS, COUNTED, corpus_ids
from freerun.predictors.base import Predictor
from freerun.predictors.entries import Values, whole
from freerun.predictors.ngram import NGramPredictor


def _build(made: Builder, values: Values) -> Predictor:
    documents = corpus_ids(made, values, purpose=COUNTED).values()
    ended = [np.append(d, made.inner.end_ids[:1]).astype(np.int64) for d in documents]
    return NGramPredictor.over(made.inner, ended, order=values["order"], name=made.name)


NGRAM = OrganismEntry(
    "ngram",
    "n-gram counts of a corpus in the model's tokens, and nothing of the model",
    _build,
    (
        whole("order", 3, "tokens of an n-gram", low=1, high=7),
        whole("documents", 10_000, "most documents counted", low=1),
        whole("tokens", 100_000, "most tokens of each", low=1),
        CORPUS,
    ),
)
