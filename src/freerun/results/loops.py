"""The result of `freerun loops`: what was read, how often it loops, and what stop rules cost and save."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.results.finding import Estimate, Finding
from freerun.results.verdict import NextStep, Point


@dataclass(frozen=True)
class RowsLeftOut:
    """Rows that could not be used, by the kind of fault, with the first few of them."""

    reason: str
    rows: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class TextsRead:
    """What was read: where, as what, and how much of it."""

    name: str
    format: str
    texts: int
    independent: int
    """Independent units: prompts, documents, or texts that nothing joins."""
    tokens: int
    """In the unit of the result, prompts left out."""
    longest_tokens: int
    prompt_tokens: int
    ended: int
    """Texts that ended by themselves."""
    cut_off: int
    """Texts that ended at a limit of length."""
    end_unknown: int
    """Texts of which neither is known; they count as ended."""
    copies: int
    """Texts that are equal to one before them."""
    with_undrawn: int
    """Texts that hold tokens which were not drawn."""
    without_prompt: int
    """Texts of which no prompt is known."""
    left_out: tuple[RowsLeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LoopDefinition:
    """What counts as a loop, and as a near-loop."""

    period: int
    copies: int
    tokens: int
    near_differ: float
    """Share of the compared tokens that may differ in a near-loop."""
    prompts_count: bool
    """Whether a loop may begin in the prompt."""


@dataclass(frozen=True)
class FirstLoop:
    """The first loop of a text: where it was complete, what repeats, and how it went on."""

    side: str
    """`own` or `real`."""
    kind: str
    """`loop`, `near` or `counting`."""
    name: str
    """Row or document."""
    token: int
    """Tokens after the prompt until it was complete."""
    period: int
    copies: int | None
    """None where copies differ."""
    lasted_tokens: int | None
    left: bool | None
    phrase: str


@dataclass(frozen=True)
class StopRuleOutcome:
    """What one stop rule does: to generated text, and to real text where there is any.

    Estimates: `stopped`, `tokens_saved`, `left_of_stopped` (of the stopped texts), `false_stops_per_million_tokens`, `real_stopped`,
    `real_tokens_lost`.
    """

    rule: str
    period: int
    copies: int
    tokens: int
    texts_stopped: int
    tokens_saved: int
    texts_stopped_that_left: int
    """Stopped texts that, left alone, were out of the loop at their last token."""
    real_texts_stopped: int | None
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class LoopsResult:
    """All that `freerun loops` says."""

    schema_version: int
    kind: str
    title: str
    unit: str
    """`tokens`, or `words` where there is no tokenizer; it is the unit of every length and rate."""
    tokenizer: str | None
    definition: LoopDefinition
    own: TextsRead
    real: TextsRead | None
    finding: Finding
    stop_rules: tuple[StopRuleOutcome, ...]
    first_loops: tuple[FirstLoop, ...]
    command: str
    freerun_version: str
    points: tuple[Point, ...] = ()
    """What was measured, what came out and how sure that is, in plain words."""
    next_step: NextStep | None = None
