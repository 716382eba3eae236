"""All that an audit says of a run: what stands in `result.json`, and what the page is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.results.finding import LEFT_OUT, Finding
from freerun.results.first_look import FirstLook
from freerun.results.requests import Requests
from freerun.results.served import LawServed
from freerun.results.verdict import Card, Example, RunVerdict, Threat, Yardsticks

RESULT_VERSION = 2

Fault = Literal["rescoring", "sampler_audit"]
"""rescoring: the recorded laws are not those of a fresh pass. sampler_audit: the text was not drawn from the recorded laws."""
SamplerOutcome = Literal["passed", "failed", "not_measured"]
"""not_measured: the recorded laws are not whole, so nothing says whether the text was drawn from them."""
SecondLook = Literal["passed", "failed", "not_measured"]
"""What a fresh pass over own text says of the laws recorded with it."""


@dataclass(frozen=True)
class OwnText:
    """What is known of own text as evidence.

    `own_law`: the model's own law was to be sampled, no other rule. `fault` is None where own text is evidence: of the model's law, or of the
    rule that was asked for.
    """

    sampler_audit: SamplerOutcome
    rescoring: SecondLook
    own_law: bool
    fault: Fault | None

    @property
    def refused(self) -> bool:
        """Whether no finding may rest on it."""
        return self.fault == "rescoring"


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit. `plan`, `counts`, `model` and `provenance` are the manifest's; `texts` are empty where none may be shown."""

    schema_version: int
    kind: str
    freerun_version: str
    created: str
    title: str
    verdict: RunVerdict
    own_text: OwnText
    headline: tuple[Card, ...]
    yardsticks: Yardsticks | None
    findings: tuple[Finding, ...]
    texts: tuple[Example, ...]
    threats: tuple[Threat, ...]
    plan: dict[str, Any]
    counts: dict[str, Any]
    corpus_notes: list[str]
    model: dict[str, Any]
    provenance: dict[str, Any]
    command: str
    requests: Requests | None = field(default=None, metadata=LEFT_OUT)
    """What became of the requests to servers; None where nothing was served."""
    law_served: LawServed | None = field(default=None, metadata=LEFT_OUT)
    """Whether a server that wrote the own text samples the law of the model that read it; None where the model wrote it itself."""
    first_look: FirstLook | None = field(default=None, metadata=LEFT_OUT)
    """How many of the plan's documents all this rests on, where it is not all of them."""
