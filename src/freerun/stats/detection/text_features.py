"""What a reader of the bytes alone can count: byte n-grams, reduced on the training texts.

Sees no law, no token and no tokenisation, so it cannot be misled by texts that no tokenizer would cut that way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from freerun.counted import counted
from freerun.errors import TooFewDocuments

LONGEST = 4
"""Longest n-gram, bytes."""
_COMPONENTS = 32
_MIN_TEXTS = 4
_EQUAL = 1e-9
"""Eigenvalues that differ by less than this share of the largest differ by rounding."""
_NO_DIRECTION = 1e-6


def byte_ngram_features(
    texts: Sequence[bytes], train: Bool[np.ndarray, " texts"], *, components: int = _COMPONENTS
) -> Float[np.ndarray, "texts d"]:
    """Return a few numbers for every text: its tf-idf of byte 1- to 4-grams on the main directions of the training texts.

    ln(1 + count) times ln((1 + n)/(1 + document frequency)) + 1, rows of norm 1, then a truncated singular value decomposition
    (Deerwester et al. 1990): all learned on the training texts of both kinds without their labels. At most `components`, and a
    quarter of the training texts.

    Raises TooFewDocuments for fewer than 4 training texts.
    """
    train = np.asarray(train, dtype=bool)
    n_train = int(train.sum())
    if n_train < _MIN_TEXTS:
        raise TooFewDocuments(f"{counted(n_train, 'training text')}; n-gram features need at least {_MIN_TEXTS}")
    counts = _counts(texts)
    known = np.asarray((counts[train] > 0).sum(axis=0)).ravel()
    counts = counts[:, known > 0]
    rows = counts.multiply(1.0 + np.log((1.0 + n_train) / (1.0 + known[known > 0]))).tocsr()
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows = sparse.csr_array(rows.multiply((1.0 / np.where(norms > 0, norms, 1.0))[:, None]))
    values, vectors = _main_directions((rows[train] @ rows[train].T).toarray(), max(1, min(components, n_train // 4)))
    if not values.size:
        return np.zeros((len(texts), 1))
    return np.asarray(rows @ (rows[train].T @ (vectors / np.sqrt(values))))


def _main_directions(
    gram: Float[np.ndarray, "train train"], most: int
) -> tuple[Float[np.ndarray, " kept"], Float[np.ndarray, "train kept"]]:
    """At most so many eigenvalues of the training rows' Gram matrix, the largest, and their eigenvectors: exact, no random start.

    Equal eigenvalues have no eigenvectors of their own, and short texts have many of them (each rare word is a direction). So they
    are kept or left together, and their space gets a basis that is the same however an eigensolver turned it: the projections of
    the texts in their order, made orthonormal.
    """
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    values = values[values > _EQUAL]
    parted = values[:-1] - values[1:] > _EQUAL * values[:1]
    ends = np.append(np.flatnonzero(parted) + 1, values.size)  # of groups of equal ones
    n, kept = 0, [np.zeros((len(gram), 0))]
    for end in ends[ends <= most].tolist():
        kept.append(_turned(vectors[:, n:end]))
        n = end
    return values[:n], np.concatenate(kept, axis=1)


def _turned(basis: Float[np.ndarray, "train some"]) -> Float[np.ndarray, "train some"]:
    """The basis of the same space by projecting the unit vectors in their order (Gram–Schmidt)."""
    found = np.zeros((len(basis), 0))
    for coordinates in basis:
        if found.shape[1] == basis.shape[1]:
            break
        projected = basis @ coordinates
        for _ in range(2):  # once more, against rounding
            projected = projected - found @ (found.T @ projected)
        if (size := float(np.linalg.norm(projected))) > _NO_DIRECTION:
            found = np.column_stack((found, projected / size))
    return found


def _counts(texts: Sequence[bytes]) -> sparse.csr_array:
    """ln(1 + count) of every n-gram that occurs, exactly (no hashing); columns in the order of (length, bytes)."""
    lengths = np.array([len(t) for t in texts], np.int64)
    letters = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64)
    owner = np.repeat(np.arange(len(texts)), lengths)
    grams, owners = [], []
    code = np.zeros(letters.size, np.int64)
    for n in range(1, LONGEST + 1):
        stop = letters.size - n + 1
        if stop <= 0:
            break
        code = code[:stop] * 256 + letters[n - 1 :]
        inside = owner[:stop] == owner[n - 1 :]
        grams.append(code[inside] + (n << 8 * LONGEST))
        owners.append(owner[:stop][inside])
    if not grams:
        return sparse.csr_array((len(texts), 1))
    names, column = np.unique(np.concatenate(grams), return_inverse=True)
    shape = (len(texts), max(1, names.size))
    table = sparse.coo_array((np.ones(column.size), (np.concatenate(owners), column)), shape=shape).tocsr()
    table.sum_duplicates()
    table.data = np.log1p(table.data)
    return table
