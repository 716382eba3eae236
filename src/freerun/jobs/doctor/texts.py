"""The texts that questions are put about."""

from __future__ import annotations

import numpy as np

from freerun.errors import BackendError, FreerunError
from freerun.predictors.base import Continuations, Ids, Predictor

TEXTS = (
    "In the winter of that year the river froze over, and people walked across it to the market with their carts.",
    "The function returns the number of items in the list, or raises an error if the list is empty.",
    "Two hundred and forty members voted for the bill, and the Speaker declared it carried.",
    "A triangle with sides of 3, 4 and 5 units has a right angle opposite the longest of them.",
)
LEAST_TOKENS = 4


def first_tokens(model: Predictor, number: int, n: int) -> Ids:
    """The first n tokens of a text, or of what the model writes where it has no words for that (a world).

    Raises:
        BackendError: its tokenizer makes almost nothing of it.
    """
    try:
        ids = list(model.encode(TEXTS[number]))
    except FreerunError:
        if not model.has_first_law:
            raise
        todo = Continuations([np.zeros(0, np.int64)], np.full((1, 1), number, np.uint64), n)
        ids = next(iter(model.generate(todo))).observation.token_id.tolist()
    if len(ids) < LEAST_TOKENS:
        raise BackendError(f"its tokenizer makes less than {LEAST_TOKENS} tokens of a plain sentence")
    return np.asarray(ids[:n], np.int64)
