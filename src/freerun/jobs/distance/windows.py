"""The texts of `--protocol llama.cpp`: disjoint windows over the whole corpus, of each of which the second half is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from freerun.errors import DataError
from freerun.stats.two_laws.windows import windows
from freerun.text.documents import Corpus
from freerun.text.pairs import Pair

BETWEEN = "\n\n"
"""What stands between two documents that were read as text."""


def cut_windows(
    corpus: Corpus, encode: Callable[[str], Sequence[int]], *, width: int, most: int, has_lead: bool
) -> tuple[Pair, ...]:
    """Up to `most` windows as pairs; the unit of a window is that of the document in which its first scored token stands.

    `has_lead`: the model puts a token first, which takes the place of each window's first token.

    Raises:
        DataError: fewer than two windows.
    """
    ids: list[int] = []
    ends: list[int] = []
    for document in corpus.documents:
        ids += document.ids if document.ids is not None else [*encode(document.text), *encode(BETWEEN)]
        ends.append(len(ids))
        if len(ids) >= most * width:
            break
    found = windows(len(ids), width=width)
    stream = np.array(ids, np.int32)
    pairs = []
    for n, start in enumerate(found.starts[:most]):
        document = corpus.documents[int(np.searchsorted(ends, start + found.first, side="right"))]
        pairs.append(
            Pair(
                document_id=f"window {n}",
                unit=document.unit,
                split="test",
                prefix=stream[start + has_lead : start + found.first],
                continuation=stream[start + found.first : start + width],
            )
        )
    if len({pair.unit for pair in pairs}) < 2:
        raise DataError(
            f"every window ({len(pairs)} in all) lies in one document of {corpus.spec}; intervals need two documents at least"
        )
    return tuple(pairs)
