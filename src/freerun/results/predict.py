"""The result of a prediction: what the laws of one text gave its tokens, and the law of what comes next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from freerun.results.finding import LEFT_OUT
from freerun.results.verdict import NextStep, Point


@dataclass(frozen=True, kw_only=True)
class SpelledToken:
    """A token as text.

    One that is not UTF-8 by itself (half a character) has its bytes in `bytes_hex` and U+FFFD in its `text`; one that stands for no
    bytes says in `marker` what it is, and in `token` how it is spelled (None: no such token).
    """

    id: int
    text: str
    bytes_hex: str | None = field(default=None, metadata=LEFT_OUT)
    marker: Literal["end_of_text", "special"] | None = field(default=None, metadata=LEFT_OUT)
    token: str | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class ProbableToken(SpelledToken):
    """One of the most probable tokens of a law."""

    log_prob_nats: float


@dataclass(frozen=True, kw_only=True)
class PredictedToken(SpelledToken):
    """A token of the text and what the law before it gave it.

    One that no law stands before is `given`: its numbers are None. An impossible one has `impossible` true and `log_prob_nats` None.
    The entropy is None where the law is not fully known.
    """

    position: int
    given: bool = False
    impossible: bool = False
    log_prob_nats: float | None = None
    surprisal_bits: float | None = None
    rank: int | None = None
    entropy_nats: float | None = None
    top: tuple[ProbableToken, ...] = ()


@dataclass(frozen=True)
class NextLaw:
    """The law after the last token; `end_of_text_probability` is None where the model has no end of text."""

    position: int
    entropy_nats: float | None
    end_of_text_probability: float | None
    top: tuple[ProbableToken, ...]


@dataclass(frozen=True)
class PredictedModel:
    """The model that was asked; `vocabulary` is the number of its ids."""

    name: str
    fingerprint: str
    nature: str
    licence: str | None
    vocabulary: int


@dataclass(frozen=True)
class PredictedContext:
    """What the laws saw of the text; `longer_than_window`: not all of it."""

    rule: str
    window_tokens: int | None
    lead_ids: tuple[int, ...]
    longer_than_window: bool


@dataclass(frozen=True)
class TextSum:
    """Sums over the tokens that a law stands before and that are possible; None where there is none.

    Bits a byte are over `n_bytes_of_text`: what the scored tokens spell, or the bytes of the text where they spell something else.
    """

    n_tokens: int
    n_scored: int
    n_given: int
    n_impossible: int
    n_bytes_scored: int
    n_bytes_of_text: int
    nats: float | None
    nats_per_token: float | None
    bits_per_byte: float | None
    perplexity: float | None
    entropy_nats_per_token: float | None


@dataclass(frozen=True)
class PredictResult:
    """All that `freerun predict` says of a text."""

    schema_version: int
    kind: str
    model: PredictedModel
    text: str
    context: PredictedContext
    tokens: tuple[PredictedToken, ...]
    next: NextLaw
    sum: TextSum
    notes: tuple[str, ...]
    points: tuple[Point, ...] = ()
    """What was measured, what came out and how sure that is, in plain words."""
    next_step: NextStep | None = None
