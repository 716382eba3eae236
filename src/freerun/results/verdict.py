"""What stands at the head of a result: the verdict, the headline numbers, what they are held up against, and what threatens them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.results.finding import Row
from freerun.stats.detection.horizon import Where

Status = Literal["good", "bad", "neutral", "unknown"]
Measured = Literal["told_apart", "not_reached", "open", "not_judged"]
"""What a run says of its horizon where nobody set a requirement."""


def found_a_difference(status: Status, outcome: Measured) -> bool | None:
    """Whether a run of this verdict told its own text from real text; None where it was not judged.

    >>> found_a_difference("bad", "open"), found_a_difference("neutral", "open"), found_a_difference("bad", "not_judged")
    (True, False, None)
    """
    return None if outcome == "not_judged" else status == "bad"


Strength = Literal["firm", "slight"]
"""How much a verdict rests on. slight: fewer documents than any gate on a mean asks for; it is printed so that it looks like few."""


@dataclass(frozen=True)
class Point:
    """One of the three things that a verdict says in plain English, under its own short heading."""

    label: str
    text: str


@dataclass(frozen=True)
class NextStep:
    """What to do next, and what to type for it: a whole command, or an option to add to the command of the run."""

    words: str
    type: str


MEASURED, CAME_OUT, HOW_SURE = "What was measured", "What came out", "How sure"


def three_points(measured: str, came_out: str, how_sure: str) -> tuple[Point, ...]:
    """The points under a verdict, in plain words; what has nothing to say is left out."""
    said = ((MEASURED, measured), (CAME_OUT, came_out), (HOW_SURE, how_sure))
    return tuple(Point(label, text) for label, text in said if text)


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence, what limits it, and its status; then what was measured, what came out and how sure that is."""

    sentence: str
    detail: str
    status: Status
    points: tuple[Point, ...] = field(default=(), kw_only=True)
    next_step: NextStep | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class RunVerdict:
    """The verdict on one run: the outcome in a sentence, then what was measured, what came out and how sure that is.

    `outcome` is what became of its horizon, `outcome_words` the same in words.
    """

    sentence: str
    points: tuple[Point, ...]
    status: Status
    outcome: Measured
    outcome_words: str
    strength: Strength
    next_step: NextStep | None


def horizon_beside(verdict: Mapping[str, Any]) -> str:
    """What became of the horizon, where the sentence of a run's verdict, as result.json has it, does not say it."""
    outcome = verdict.get("outcome")
    said = outcome is None or outcome == "told_apart" or (outcome == "open" and verdict.get("status") == "bad")
    words = "" if said else str(verdict["outcome_words"])
    return f"{words[:1].upper()}{words[1:]}." if words else ""


@dataclass(frozen=True)
class Card:
    """A headline number as it is printed; `finding` is the name of the finding that it belongs to."""

    label: str
    value: str
    unit: str = ""
    interval: str = ""
    note: str = ""
    finding: str = ""


@dataclass(frozen=True)
class Mark:
    """A horizon on the scale of lengths, whole tokens; None outside the lengths measured, and `text` says where."""

    label: str
    role: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    interval: str
    where: Where = "inside"
    """Where the horizon lies in the lengths measured."""


@dataclass(frozen=True)
class Yardsticks:
    """The horizon of a run beside those of comparisons whose answer is known: a scale, and the table of it."""

    title: str
    sentence: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    scale: tuple[Mark, ...]
    scale_max: int


@dataclass(frozen=True)
class Threat:
    """Something that may make a result say other than it seems to."""

    title: str
    text: str


@dataclass(frozen=True)
class Place:
    """A text of the run by its number, and the token in it that the model expected least.

    `token` counts from 1, after the prefix; `probability` is what the law before it gave it.
    """

    text: int
    token: int
    piece: str
    probability: float


@dataclass(frozen=True)
class Example:
    """A document to read: its prefix, its real continuation, the generated ones, and a few facts as label and value.

    `places`: of the real text and then of each generated one, where to open them.
    """

    document_id: str
    why: str
    prefix: str
    real: str
    free: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    places: tuple[Place, ...] = ()
