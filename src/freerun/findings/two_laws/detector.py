"""A detector that has to learn: what it sees of the difference that the best possible one sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import MIN_PAIRS, STATISTICS_SEED, lengths_up_to
from freerun.findings.two_laws.evidence import TwoModels
from freerun.records.distance import Texts
from freerun.stats.detection.likelihood_features import TokenColumns, likelihood_features
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import judge, score
from freerun.stats.intervals import Interval

LEAST_LENGTH = 4
"""Tokens from which on a detector is trained: in fewer there is next to nothing to learn."""
N_PERMUTATIONS = 99
"""Its p-values are not reported."""


@dataclass(frozen=True, eq=False)
class Trained:
    """AUC by length on the texts of half of the prefixes, of a detector trained on those of the other half."""

    lengths: Int[np.ndarray, " lengths"]
    auc: tuple[Interval, ...]
    method: str


def trained_detector(models: TwoModels) -> Trained | None:
    """Tell B's texts from A's by A's log-probabilities and the bytes of the text, one text of each a prefix; None where either did not
    write, ids are not recorded, or too few texts reach a fourth token."""
    a, b = models.texts("a"), models.texts("b")
    if a is None or b is None or a.token_bytes is None or b.token_bytes is None:
        return None
    lengths, aucs = [], []
    n_train = n_test = 0
    for n in lengths_up_to(models.plan.tokens):
        if n < LEAST_LENGTH:
            continue
        rows = _pairs(a, b, int(n))
        if len(rows) < MIN_PAIRS:
            break
        train = np.arange(len(rows)) < len(rows) // 2  # prefixes stand in the order of a hash
        try:
            auc = _auc(a, b, rows, int(n), train)
        except TooFewDocuments:
            break
        n_train, n_test = int(train.sum()), int((~train).sum())
        lengths.append(int(n))
        aucs.append(auc)
    if not lengths:
        return None
    return Trained(
        np.array(lengths),
        tuple(aucs),
        f"two ridge logistic regressions added, on A's log-probabilities and on byte n-grams; trained on {n_train} prefixes, tried on "
        f"{n_test}; texts that ended before are left out",
    )


def _pairs(a: Texts, b: Texts, n: int) -> Int[np.ndarray, "pairs 2"]:
    """Rows of one text of each model after the same prefix, both of so many tokens."""
    first = {u: i for i, u in reversed(list(enumerate(a.laws.unit.tolist()))) if a.laws.n_tokens[i] >= n}
    second = {u: i for i, u in reversed(list(enumerate(b.laws.unit.tolist()))) if b.laws.n_tokens[i] >= n}
    return np.array([(first[u], second[u]) for u in sorted(first.keys() & second.keys())], np.int64).reshape(-1, 2)


def _auc(a: Texts, b: Texts, rows: Int[np.ndarray, "pairs 2"], n: int, train: Bool[np.ndarray, " pairs"]) -> Interval:
    rng = np.random.default_rng([STATISTICS_SEED, n])
    laws = [_law_features(texts, rows[:, k], n) for k, texts in enumerate((a, b))]
    spelled = [_bytes(texts, rows[:, k], n) for k, texts in enumerate((a, b))]
    words = np.split(byte_ngram_features([*spelled[0], *spelled[1]], np.concatenate([train, train])), 2)
    sides = [score(x, y[:, None], train=train, rng=rng) for x, y in (laws, words)]
    return judge(sides[0] + sides[1], rng=rng, n_permutations=N_PERMUTATIONS).auc


def _law_features(texts: Texts, rows: Int[np.ndarray, " pairs"], n: int) -> Float[np.ndarray, "pairs d"]:
    assert texts.token_id is not None
    columns = TokenColumns(
        np.maximum(texts.laws.log_p[rows, :n], -1e3),
        entropy=None,
        varentropy=None,
        rank=None,
        ids=texts.token_id[rows, :n],
    )
    return likelihood_features(columns, length=n)[0]


def _bytes(texts: Texts, rows: Int[np.ndarray, " pairs"], n: int) -> list[bytes]:
    assert texts.token_bytes is not None
    return [b"".join(texts.token_bytes[int(i)][:n]) for i in rows]
