"""All that `freerun distance` says of two models: what stands in `result.json`, and what the page is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from freerun.results.finding import LEFT_OUT, Finding
from freerun.results.predict import ProbableToken, SpelledToken
from freerun.results.requests import Requests
from freerun.results.verdict import Card, Verdict

RESULT_VERSION = 1


@dataclass(frozen=True)
class Certificate:
    """What no test can do with one text of up to so many tokens.

    `tv`: upper limit of the total variation between A's texts and B's, averaged over the prefixes, which bounds the true- minus
    false-positive rate of every test. `estimate`, `low`: of the same. `least_tv`: the lowest limit that so many prefixes can give, even
    of two identical models. `documents_needed`: about how many give a limit of `aim`; None where the estimate is not below it.
    `sides_agree`: whether the limit from A's texts and that from B's are of one number.
    """

    tokens: int
    tv: float
    estimate: float
    low: float
    level: float
    n: int
    least_tv: float
    aim: float
    documents_needed: int | None
    sides_agree: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class SeenToken(SpelledToken):
    """A token of a text, and how far the two laws before it are apart.

    Log-probabilities are None where they are −inf, a divergence where it is infinite.
    """

    kl_nats: float | None
    log_p_nats: float | None
    log_q_nats: float | None


@dataclass(frozen=True)
class Parting:
    """One of the tokens before which the laws are furthest apart: what stands around it, and what each model expected there.

    `at`: number of the token among `tokens`, of which those before it were given. `position`: tokens after the cut, from 0.
    """

    document_id: str
    arm: str
    position: int
    at: int
    before: str
    """Text before the first of `tokens`, cut short."""
    tokens: tuple[SeenToken, ...]
    top_a: ProbableToken
    top_b: ProbableToken


@dataclass(frozen=True)
class DistanceResult:
    """The result of a distance. `plan`, `counts`, `a`, `b` and `provenance` are the manifest's; `partings` are empty where no text may
    be shown. `infinite`: names of the estimates that are infinite rather than unknown."""

    schema_version: int
    kind: str
    freerun_version: str
    created: str
    title: str
    verdict: Verdict
    headline: tuple[Card, ...]
    certificate: Certificate | None
    findings: tuple[Finding, ...]
    partings: tuple[Parting, ...]
    infinite: tuple[str, ...]
    plan: dict[str, Any]
    counts: dict[str, Any]
    corpus_notes: list[str]
    a: dict[str, Any]
    b: dict[str, Any]
    provenance: dict[str, Any]
    command: str
    prompts: dict[str, Any] | None = None
    """What was put around prompts, for both models; None where documents were cut."""
    requests: Requests | None = field(default=None, metadata=LEFT_OUT)
    """What became of the requests to a server, where one of the two is behind one."""
