"""The rule that a server says it samples by when nothing is sent, held against what it drew then."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StatedRule:
    """Whether the draws fit the rule that the server states."""

    words: str
    p_value: float
    """All tests beyond the noise floor."""
    n_outside: int
    """Tokens that the rule cannot draw by the law that is here: at its edges the engines' noise moves some."""
    n_beyond_floor: int
    """Those of them that stand farther from its edges than that noise explains of a single token."""
    fits: bool
