"""A first look at a few of an audit's documents: which ones, decided by the plan alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freerun.text.pairs import Pair

FIRST_LOOK_DOCUMENTS = 32
"""Documents of a first look: twice what a detector needs at least, so that texts that end early leave enough."""


def first_look(pairs: Sequence[Pair], n_documents: int = FIRST_LOOK_DOCUMENTS) -> tuple[int, ...]:
    """Return the numbers of the pairs of a first look, in order, as many on each side of the split as near as may be.

    One document of each unit before a second of any, in the order of the plan, which goes by a hash: they are a random
    sample of the units, and stay on the side of the split that they are on. Empty where there are no more than `n_documents`.
    """
    if len(pairs) <= n_documents:
        return ()
    seen: Counter[str] = Counter()
    turns = []
    for number, pair in enumerate(pairs):
        turns.append((seen[pair.unit], number))
        seen[pair.unit] += 1
    train, test = ([n for _, n in sorted(turns) if pairs[n].split == side] for side in ("train", "test"))
    n_test = min(len(test), max(n_documents // 2, n_documents - len(train)))
    return tuple(sorted([*train[: n_documents - n_test], *test[:n_test]]))
