"""Other documents of the corpus before the prefix, to show the model which source it reads."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from freerun.errors import TooFewDocuments, UsageError
from freerun.text.pairs import Pair, PairSet, hash_of

FEWEST_TOKENS = 8
"""An exemplar cut shorter than this shows nothing."""


@dataclass(frozen=True)
class Exemplars:
    """What stands before every prefix: so many documents, the first `tokens` tokens of each, `separator` after each."""

    n_documents: int
    tokens: int
    separator: tuple[int, ...]


def with_exemplars(
    pairs: PairSet, n_documents: int, *, separator: tuple[int, ...], window: int | None, seed: int
) -> tuple[PairSet, Exemplars]:
    """Return the pairs with `n_documents` exemplars before each (`Pair.before`), and what they are.

    The exemplars of a pair are documents of the train side, of other units than its own and of different units among
    themselves, in the order of a hash of the seed, its own unit and theirs: test documents are never shown to anyone, and
    nobody is shown itself. Each exemplar is cut to the same number of tokens: as many as prefix and continuation have, or
    fewer so that all of it fits into `window`.

    Raises:
        UsageError: the window has no room for them.
        TooFewDocuments: not enough other train units.
    """
    measured = pairs.prefix_tokens + pairs.continuation_tokens
    room = measured if window is None else (window - measured) // n_documents - len(separator)
    tokens = min(measured, room)
    if tokens < min(FEWEST_TOKENS, measured):
        raise UsageError(
            f"--exemplars {n_documents} does not fit: the model sees {window} tokens, prefix and continuation take {measured}; "
            "take fewer exemplars, or smaller --prefix and --tokens"
        )
    of_unit: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs.pairs:
        if pair.split == "train":
            of_unit[pair.unit].append(pair)
    if len(of_unit) <= n_documents:
        raise TooFewDocuments(
            f"--exemplars {n_documents} needs at least {n_documents + 1} train units, and there are {len(of_unit)}: take fewer "
            "exemplars or more --documents"
        )
    shown = {
        unit: np.concatenate([members[0].prefix, members[0].continuation])[:tokens] for unit, members in of_unit.items()
    }
    between = np.array(separator, np.int32)

    def before(unit: str) -> npt.NDArray[np.int32]:
        others = sorted((u for u in shown if u != unit), key=lambda u: hash_of(seed, "exemplar", unit, u))
        parts = [part for u in others[:n_documents] for part in (shown[u], between)]
        return np.concatenate(parts).astype(np.int32)

    ready = {unit: before(unit) for unit in {pair.unit for pair in pairs.pairs}}
    with_before = tuple(replace(pair, before=ready[pair.unit]) for pair in pairs.pairs)
    return replace(pairs, pairs=with_before), Exemplars(n_documents, tokens, separator)
