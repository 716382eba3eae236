"""A plain classifier of texts to stand beside a language model's posterior: word n-grams and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import group_index

SMOOTHING = 0.01
"""Share of every prediction that is spread over all values, so that one never seen in training has a log score."""


def bag_of_ngrams(
    texts: Sequence[str],
    truth: Int[np.ndarray, " texts"],
    groups: Int[np.ndarray, " texts"],
    *,
    n_values: int,
    n_folds: int = 5,
    rng: np.random.Generator,
) -> Float[np.ndarray, "texts values"]:
    """Return each text's probabilities by a classifier that has not seen its group: tf-idf of words and pairs, logistic regression.

    Groups are dealt to folds at random. A fold whose training texts have one value only predicts that value.

    Raises TooFewDocuments for fewer than two groups.
    """
    index, n_groups = group_index(groups)
    if n_groups < 2:
        raise TooFewDocuments(f"{n_groups} independent units; cross-validation needs at least 2")
    folds = rng.permutation(n_groups) % min(n_folds, n_groups)
    out = np.zeros((len(texts), n_values))
    for fold in range(int(folds.max()) + 1):
        held = folds[index] == fold
        learnt = np.unique(truth[~held])
        if len(learnt) == 1:
            out[held, learnt[0]] = 1.0
            continue
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\S+")
        x = words.fit_transform([text for text, out_of in zip(texts, held, strict=True) if not out_of])
        model = LogisticRegression(C=10.0, max_iter=2000).fit(x, truth[~held])
        found = model.predict_proba(words.transform([text for text, inside in zip(texts, held, strict=True) if inside]))
        out[np.ix_(held, model.classes_)] = found
    return np.asarray((1 - SMOOTHING) * out + SMOOTHING / n_values)
