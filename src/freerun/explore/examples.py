"""Texts to begin with, each with what it shows."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.worlds.base import World


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


def examples(predictor: Predictor) -> tuple[Example, ...]:
    """Those that the model can read; an exact world begins with a text of its own."""
    if isinstance(predictor, World):
        text = predictor.corpus(1, 24, seed=0).documents[0].text
        return (Example("A text", text, "Written by the world itself."),)
    return tuple(example for example in EXAMPLES if _can_read(predictor, example.text))


def _can_read(predictor: Predictor, text: str) -> bool:
    try:
        predictor.encode(text)
    except UsageError:
        return False
    return True
