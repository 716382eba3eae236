"""Nearly equal documents are not independent: find them, and let them share a unit (Broder 1997: shingles and containment)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt64

SHINGLE_WORDS = 8
"""Words in a row that are compared at once."""

SHARED = 0.8
"""From this share of one document's shingles on that stand in another one, the two become one unit."""

FEWEST_SHINGLES = 16
"""A document with fewer different shingles is too short to be called a near copy."""

MOST_HOLDERS = 100
"""Of a shingle that stands in more documents only the first so many are looked at: enough to tie the others to them."""


def units_of_near_duplicates(texts: Sequence[str], units: Sequence[str]) -> list[str]:
    """Return the unit of every document, near duplicates in one unit.

    Two documents are near duplicates if at least `SHARED` of the different 8-word shingles of one stand in the other (its
    containment, so that a text and a longer version of it are found too); nearness is passed on from neighbour to neighbour, and
    all documents of the units concerned take the unit of the first document of the group. Words are compared as they are
    written, white space apart. Exact up to collisions of 64-bit hashes and `MOST_HOLDERS`; an empty text resembles nothing.

    >>> words = [str(i) for i in range(40)]
    >>> units_of_near_duplicates([" ".join(words), " ".join(words[:39]), "other words"], ["a", "b", "c"])
    ['a', 'a', 'c']
    """
    codes, owner = _shingles(texts)
    near = _near(codes, owner, len(texts))
    if not near:
        return list(units)
    first: dict[str, int] = {}
    same_unit = [(first.setdefault(unit, index), index) for index, unit in enumerate(units)]
    out = list(units)
    for members in groups_of(len(texts), [*near, *same_unit]):
        for index in members:
            out[index] = units[members[0]]
    return out


def groups_of(n: int, links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the numbers 0 … n−1 in groups: what is linked, directly or through others, is together; each group ascends.

    >>> groups_of(4, [(0, 2), (2, 3)])
    [[0, 2, 3], [1]]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(n, n))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(connected_components(graph, directed=False)[1].tolist()):
        groups[label].append(index)
    return list(groups.values())


def _shingles(texts: Sequence[str]) -> tuple[UInt64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The different shingles of each document as (hash, index of the document), sorted by hash, then document."""
    names: defaultdict[str, int] = defaultdict()
    names.default_factory = names.__len__
    words: list[int] = []
    lengths = []
    for text in texts:
        own = text.split()
        words += [names[word] for word in own]
        lengths.append(len(own))
    n = len(words) - SHINGLE_WORDS + 1
    if n < 1:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    mixed = _scrambled(np.array(words, np.uint64) + np.uint64(1))
    owner = np.repeat(np.arange(len(texts)), lengths)
    code = np.zeros(n, np.uint64)
    for j in range(SHINGLE_WORDS):
        code = code * np.uint64(0x9E3779B97F4A7C15) + mixed[j : j + n]
    inside = owner[:n] == owner[SHINGLE_WORDS - 1 :]
    code, owner = _scrambled(code[inside]), owner[:n][inside]
    order = np.argsort(code, kind="stable")  # owners are in order already
    code, owner = code[order], owner[order]
    new = np.ones(code.size, bool)
    new[1:] = (code[1:] != code[:-1]) | (owner[1:] != owner[:-1])
    return code[new], owner[new]


def _scrambled(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """A bijection of 64-bit numbers that spreads them (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _near(codes: UInt64[np.ndarray, " n"], owner: Int[np.ndarray, " n"], n_documents: int) -> list[tuple[int, int]]:
    """Pairs of near duplicates. Only a document most of whose shingles are shared at all can be one, and few are."""
    if not codes.size:
        return []
    total = np.bincount(owner, minlength=n_documents)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    holders = np.diff(np.append(starts, codes.size))
    shared = np.repeat(holders > 1, holders)
    n_shared = np.bincount(owner[shared], minlength=n_documents)
    suspects = np.flatnonzero((total >= FEWEST_SHINGLES) & (n_shared >= SHARED * total))
    if not suspects.size:
        return []
    from scipy.sparse import csr_array

    shingle = np.repeat(np.arange(starts.size), holders)
    first = np.arange(codes.size) - np.repeat(starts, holders) < MOST_HOLDERS

    def holds(of: Bool[np.ndarray, " n"]) -> Any:
        """Which document has which shingle, as a table of ones."""
        return csr_array((np.ones(int(of.sum())), (owner[of], shingle[of])), shape=(n_documents, starts.size))

    together = (holds(shared)[suspects] @ holds(shared & first).T).tocoo()
    mine, other = suspects[together.row], together.col
    close = (together.data >= SHARED * total[mine]) & (mine != other)
    return list(zip(mine[close].tolist(), other[close].tolist(), strict=True))
