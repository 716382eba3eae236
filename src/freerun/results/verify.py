"""The result of `freerun verify`: are somebody else's samples draws from a law, if not from which, and how far apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from freerun.results.engine_gap import EngineGap
from freerun.results.finding import LEFT_OUT, Finding
from freerun.results.requests import Requests
from freerun.results.stated_rule import StatedRule
from freerun.results.verdict import Card, Verdict

VERIFY_VERSION = 1

Match = Literal["agrees", "differs_within_floor", "differs", "not_judged"]
"""agrees: no fault was found down to the smallest that so many tokens show. differs_within_floor: a difference, but none that
recomputing the same law could not make. not_judged: too few tokens, or draws that are not replicates."""

FITS: tuple[Match, ...] = ("agrees", "differs_within_floor")
"""The draws fit the law, as far as two computations of it may differ."""

CauseKind = Literal[
    "none_needed", "rule", "other_law", "beginning_not_drawn", "ends_chosen", "none_of_these", "not_searched"
]
"""rule: another sampling rule of the same law. other_law: another context or model. ends_chosen: texts end otherwise than the law
says (selected files, stop rules) and agree apart from that."""

LawName = Literal["model", "bos_added", "bos_removed", "padding_removed", "by_template", "as_text", "other_model"]
"""by_template, as_text: prompts rendered by the model's chat template, or put to it as plain text, where the file was read otherwise."""

TokenSource = Literal["file", "pieces", "text"]
"""Where the ids of completions come from: the file; the spelling of every token in it, which names its id; or the text, tokenised
again, which need not give the ids that were drawn."""

PromptKind = Literal["ids", "text", "rendered", "chat", "turn", "restored"]
"""What prompts were in the file: ids; plain text; text with the template's markers in it; a chat; a text that was taken for a user's
turn; a rendered chat without its markers, around which the template was put again."""


@dataclass(frozen=True)
class RuleStep:
    """A step of a sampling rule: `temperature`, `top_k`, `repetition_penalty` …, and its value."""

    name: str
    value: float


@dataclass(frozen=True)
class Candidate:
    """A law that samples were tried on."""

    law: LawName
    steps: tuple[RuleStep, ...]
    words: str
    """The steps, for people."""


@dataclass(frozen=True)
class Cause:
    """What the samples are draws from, as far as was found.

    `log_e`: natural logarithm of the split likelihood ratio's e-value over the declared law. `gain_nats` a token with its interval.
    `fit_p`: of the named law on sequences that did not choose it, by all tests. `reported_gap_nats`: how far the reported
    log-probabilities are from that law's there, 90% quantile. `beginning_tokens`: first tokens that were not drawn.
    """

    kind: CauseKind
    candidate: Candidate | None = None
    also: tuple[Candidate, ...] = ()
    log_e: float | None = None
    gain_nats: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    fit_p: float | None = None
    reported_gap_nats: float | None = None
    n_fit_tokens: int = 0
    n_test_tokens: int = 0
    beginning_tokens: int = 0
    held_by: Literal["tokens", "own_texts"] = "tokens"
    """What the fit was held against: laws of single tokens, or texts drawn from the law that is named."""


@dataclass(frozen=True)
class MatchVerdict(Verdict):
    """The verdict as a sentence and as a value."""

    match: Match


@dataclass(frozen=True)
class ExcludedRows:
    """Rows of the file that could not be used, by kind of fault; `example`: what the first of them holds."""

    reason: str
    n: int
    example: str


@dataclass(frozen=True)
class PromptCount:
    """How many completions had a prompt of a kind."""

    kind: PromptKind
    n: int


@dataclass(frozen=True)
class SamplingAsked:
    """Sampling settings that the file says were asked for, as `--declared` takes them, with how many completions say so."""

    words: str
    n: int
    is_declared: bool
    """Whether this is the rule that the samples were held against."""


@dataclass(frozen=True)
class WeightVersion:
    """A version of the weights that the file names, with how many completions have tokens by it."""

    name: str
    n: int


@dataclass(frozen=True)
class TemplateFacts:
    """What the model's chat template wrote around prompts, as text and as ids; `sha256` of its source, hex."""

    sha256: str
    before: str
    after: str
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class TextComparison:
    """What text that was tokenised again was held against: `n_own` texts of the law itself after each of `n_prompts` prompts.

    `n_compared` tokens of the given texts, of `n_there` in those chosen, were compared; the rest stands after the end of the shortest
    text of its group. `stripped`: no given text begins with white space, so the law's own lost theirs.
    """

    n_prompts: int
    n_own: int
    n_compared: int
    n_there: int
    changed_share: float
    """Of the law's own tokens, those that did not come back from text."""
    stripped: bool


@dataclass(frozen=True)
class SampleFacts:
    """What the file holds. `ends`: whether end tokens are in it. `n_copies`: equal completions of one prompt, left out of the tests."""

    path: str
    format: str
    n_rows: int
    n_completions: int
    n_prompts: int
    n_tokens: int
    n_drawn_tokens: int
    n_not_drawn_tokens: int
    n_ended: int
    n_copies: int
    ends: Literal["present", "missing"]
    excluded: tuple[ExcludedRows, ...]
    lacks: tuple[str, ...]
    tokens: TokenSource = "file"
    prompts: tuple[PromptCount, ...] = ()
    template: TemplateFacts | None = None
    comparison: TextComparison | None = None
    asked: tuple[SamplingAsked, ...] = ()
    weight_versions: tuple[WeightVersion, ...] = ()
    """The most frequent ones; empty where the file names none."""
    n_weight_versions: int = 0


@dataclass(frozen=True)
class TestsTogether:
    """All tests in one p-value. `n_outside`: tokens that the declared law cannot draw, `n_beyond_floor` of them by more than the
    noise floor explains of a single token; `p_inside`: of all others."""

    p_value: float
    p_beyond_floor: float
    p_inside: float
    n_outside: int
    n_beyond_floor: int
    floor_nats: float


@dataclass(frozen=True)
class VerifyResult:
    """All that `freerun verify` says."""

    schema_version: int
    kind: str
    freerun_version: str
    created: str
    title: str
    verdict: MatchVerdict
    cause: Cause
    headline: tuple[Card, ...]
    findings: tuple[Finding, ...]
    samples: SampleFacts
    plan: dict[str, Any]
    model: dict[str, Any]
    provenance: dict[str, str]
    command: str
    tests: TestsTogether | None = field(default=None, metadata=LEFT_OUT)
    """None where a run of freerun's own was checked, whose audit has tests of its own."""
    gap: EngineGap | None = field(default=None, metadata=LEFT_OUT)
    """Of samples that a server drew for this: how far apart the two engines are, which is the noise floor."""
    requests: Requests | None = field(default=None, metadata=LEFT_OUT)
    """What became of the requests to that server."""
    stated: StatedRule | None = field(default=None, metadata=LEFT_OUT)
    """Of samples that a server drew by a rule of its own, where they are not draws from the declared one and the server states it."""
