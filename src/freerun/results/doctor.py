"""What `freerun doctor` finds: one check a question, what each means for an audit, and whether the backend can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from freerun.results.requests import Requests
from freerun.results.served import LawServed

Outcome = Literal["passed", "failed", "not_tested"]


@dataclass(frozen=True)
class Check:
    """The answer to one question about a backend or an installation."""

    name: str
    question: str
    outcome: Outcome
    decides: bool
    """Whether a failure makes the backend unfit for an audit; otherwise it limits what an audit can say."""
    value: float | None
    """What was measured, in `unit`; None where the answer is not a number, or infinite."""
    unit: str
    limit: float | None
    """The largest value that passes; None where nothing is compared."""
    seen: str
    """What was seen, in words."""
    meaning: str
    """What this outcome means for an audit."""


@dataclass(frozen=True)
class Against:
    """Two models on the same tokens."""

    model: str
    n_tokens: int
    mean_absolute_nats: float
    largest_nats: float | None
    """None: infinite, where one of them gives a token no mass."""
    mean_difference_nats: float
    """Log-probability under the model that was examined, minus that under the other one."""
    kl_nats: float | None
    """Mean KL divergence of a token's law, from the examined model to the other; None where one has no whole laws."""
    laws_served: tuple[LawServed, ...] = ()
    """Of a server: what it draws held against the other model's law, with every setting sent, and as it samples by itself."""


@dataclass(frozen=True)
class DoctorResult:
    """All that `freerun doctor` says of a model, or of this installation where no model was named."""

    schema_version: int
    kind: Literal["doctor"]
    model: str | None
    facts: dict[str, str]
    checks: tuple[Check, ...]
    against: Against | None
    requests: Requests | None
    trusted: bool
    unfit_because: tuple[str, ...] = field(default=())
    """Names of the failed checks that decide."""
