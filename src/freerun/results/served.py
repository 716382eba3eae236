"""Whether a server samples the law of a checkpoint that is here."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.results.engine_gap import EngineGap
from freerun.results.finding import Finding
from freerun.results.stated_rule import StatedRule
from freerun.results.verify import Cause, Match


@dataclass(frozen=True)
class LawServed:
    """Whether what a server drew are draws from a checkpoint's law, and if not, from which law they are."""

    writer: str
    sends_rule: bool
    """Every sampling setting was sent; False: nothing was, and the server sampled as it does by itself."""
    sent: str
    """The sampling settings that were sent, as JSON."""
    declared: str
    """The rule that the draws are held against, in words."""
    n_texts: int
    n_tokens: int
    match: Match
    p_value: float
    cause: Cause
    floor_nats: float
    gap: EngineGap | None
    """None: the server scores no text, so the engines' arithmetic is not known."""
    stated: StatedRule | None
    """None: every setting was sent, the draws agree with the declared rule, or the server states none."""
    sentence: str
    cause_sentence: str
    findings: tuple[Finding, ...] = ()
    """Of the verification."""
