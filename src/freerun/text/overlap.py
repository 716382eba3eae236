"""Documents that quote one another are not independent: find them, and let them share a unit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from freerun.text.documents import Document

LONG_LINE_CHARACTERS = 40
"""Shorter lines are shared by chance."""

SHARED_LINES = 0.25
"""From this share of the smaller document's long lines on, two documents become one unit."""

BOILERPLATE = 20
"""A line that stands in more documents than this is boilerplate (a licence, a common signature) and joins nothing."""


def join_overlapping(documents: Sequence[Document]) -> tuple[list[Document], int]:
    """Return the documents with shared units where they overlap, and how many left their own unit for another's.

    Two documents overlap if at least `SHARED_LINES` of the distinct long lines of the smaller one stand in the other
    too; overlap is passed on from neighbour to neighbour. The unit of the longest document (the first of equals) names
    the group.
    """
    from freerun.text.near_duplicates import groups_of  # NumPy, which help pages do without

    lines = [_long_lines(document.text) for document in documents]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index, own in enumerate(lines):
        for line in own:
            holders[line].append(index)
    shared: Counter[tuple[int, int]] = Counter()
    for indices in holders.values():
        if len(indices) <= BOILERPLATE:
            shared.update(combinations(indices, 2))

    links = [
        (first, second)
        for (first, second), n_lines in shared.items()
        if n_lines >= SHARED_LINES * min(len(lines[first]), len(lines[second]))
    ]
    unit = {
        index: documents[max(members, key=lambda i: len(documents[i].text))].unit
        for members in groups_of(len(documents), links)
        for index in members
    }
    joined = [replace(document, unit=unit[index]) for index, document in enumerate(documents)]
    return joined, sum(new.unit != old.unit for new, old in zip(joined, documents, strict=True))


def _long_lines(text: str) -> set[str]:
    return {line for line in map(str.strip, text.splitlines()) if len(line) >= LONG_LINE_CHARACTERS}
