"""Texts to begin with, each with what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freerun.errors import UsageError
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.text.tokens import decode_lossy


@dataclass(frozen=True)
class Example:
    """A beginning; `shelf` is the sources file that goes with it."""

    name: str
    text: str
    why: str
    shelf: str | None = None


EXAMPLES = (
    Example(
        "McCain",
        "NEW YORK—After John McCain was seen bartending at a seedy nightclub",
        "Which paper prints this? The prediction depends on who is thought to be writing.",
        "news",
    ),
    Example(
        "Speech",
        "Four score and seven years ago our fathers brought forth on this continent",
        "A text that stands in the training data: it is recognised, not judged.",
        "era",
    ),
    Example(
        "Code",
        "def mean(values):\n    return sum(values) /",
        "Sure of what comes next: most of the mass is on one token.",
        "code",
    ),
    Example("Capital", "The capital of France is", "A fact, and how sure the model is of it."),
    Example(
        "Loop",
        "The cat sat on the mat. The cat sat on the mat. The cat sat on the mat. The cat",
        "Four times the same sentence: how much of the law goes on with it?",
    ),
    Example("Open", "I opened the door and saw", "Nearly anything may come next: a flat law."),
)


_DRAWN_TOKENS = 24


def examples(predictor: Predictor) -> tuple[Example, ...]:
    """Those that the model can read; where it reads none of them, a text that it draws itself."""
    fit = tuple(example for example in EXAMPLES if _can_read(predictor, example.text))
    if fit or not predictor.has_first_law:
        return fit
    key = np.array([[sequence_key("explore example")]], np.uint64)
    (drawn,) = predictor.generate(Continuations([np.zeros(0, np.int64)], key, _DRAWN_TOKENS))
    text = decode_lossy(predictor.token_bytes, drawn.observation.token_id)
    return (Example("A text", text, "Drawn by the model itself."),)


def _can_read(predictor: Predictor, text: str) -> bool:
    try:
        predictor.encode(text)
    except UsageError:
        return False
    return True
