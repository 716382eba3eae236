"""The plan of an audit as one value: what the plan hash goes over, and what every reader of a run is told of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from freerun.predictors.rules import MODEL_LAW
from freerun.predictors.rules import ContextRule as ContextRule
from freerun.predictors.rules import Nature as Nature
from freerun.predictors.rules import SamplingRule as SamplingRule
from freerun.results.finding import LEFT_OUT, to_json
from freerun.results.json import from_json
from freerun.stats.loops.lag_runs import LoopRule

PLAN_VERSION = 2
RESCORED_TOKENS = 4096
"""Tokens of own text that a fresh pass scores again, see `records.rescoring`."""
Arm = Literal["real", "free", "tempered"]
"""Real continuations, own text under the rule that was asked for, own text at the control temperature."""


@dataclass(frozen=True)
class MeasurePlan:
    """What is measured on every pair."""

    continuation_tokens: int
    batch: int
    """Rows at once."""
    seed: int
    continuations: int = 2
    sampling: SamplingRule = MODEL_LAW
    control_temperature: float = 0.9
    loop_rule: LoopRule = LoopRule()
    queue: int = 1
    """Batches that the sampling of one part is a queue of: the next texts take the place of those that have ended."""
    rescored_tokens: int = RESCORED_TOKENS
    """Tokens of own text that a fresh pass scores again, see `records.rescoring`."""
    rounded: bool = False
    """Whether laws are computed in rounded arithmetic: then some real tokens are scored again, too."""

    @property
    def stride(self) -> int:
        """Sequence numbers that one pair takes: real, free ones, tempered."""
        return self.continuations + 2


@dataclass(frozen=True)
class ReferencePlan:
    """What gives real text a probability besides the model: n-gram and cache, mixed with its own law and the models of `specs`."""

    order: int
    tokens: int
    """Most tokens of training text that are counted."""
    specs: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()

    def describe(self) -> str:
        """For people."""
        return ", ".join([f"{self.order}-gram, cache and own law, interpolated", *self.specs])


@dataclass(frozen=True)
class TemplateOption:
    """A variable of a chat template, and what it was set to."""

    name: str
    value: bool | int | float | str | None


@dataclass(frozen=True)
class TemplatePlan:
    """A model's own chat template, and what it was given besides the conversation."""

    sha256: str
    system_sha256: str | None = None
    """Of the system turn that stands in the place of a conversation's own."""
    options: tuple[TemplateOption, ...] = ()


@dataclass(frozen=True)
class PromptPlan:
    """How prompts are put to the model, in an audit of responses of their own length."""

    prompts_sha256: str
    """Over the ids of all prompts as the model reads them."""
    template: TemplatePlan | None
    """None: the turns are fed as plain text, one below another, a blank line after each."""
    end_id: int | None
    """What closes a real response that ends within the window."""

    def describe(self) -> str:
        """For people."""
        if self.template is None:
            return "as plain text, a blank line after each turn"
        options = "".join(f", {o.name}={json.dumps(o.value)}" for o in self.template.options)
        system = ", with a system turn of --system" if self.template.system_sha256 else ""
        return f"by the model's own chat template{system}{options}"


@dataclass(frozen=True)
class WriterPlan:
    """Who wrote the own text, where it was not the model whose laws are recorded."""

    model: str
    fingerprint: str
    sends_rule: bool
    """False: no sampling setting was sent, and the server sampled as it does by itself."""
    sent: str
    """What was sent for a draw at temperature 1, as JSON."""

    def describe(self) -> str:
        """For people."""
        return self.model if self.sends_rule else f"{self.model}, which samples as it does by itself"


@dataclass(frozen=True)
class AuditPlan:
    """All that decides what an audit measures; its hash names the run, and its fields are the plan of `result.json`."""

    model: str
    model_fingerprint: str
    context_rule: ContextRule
    end_ids: tuple[int, ...]
    corpus: str
    corpus_fingerprint: str
    documents: int
    prefix: int
    cut: int
    """Tokens of a document before the first one that is compared; the prefix is the last of them."""
    tokens: int
    batch: int
    queue: int
    dtype: str
    device: str
    threads: int
    seed: int
    continuations: int
    sampling: SamplingRule
    control_temperature: float
    loop_rule: LoopRule
    rescored_tokens: int
    rounded_arithmetic: bool
    reference: ReferencePlan
    schema_version: int
    """Of the records."""
    embed_with: str | None = None
    encoder_fingerprint: str | None = None
    exemplars: int = 0
    exemplar_tokens: int = 0
    exemplar_separator_ids: tuple[int, ...] = ()
    redacted: bool = False
    skip_bad_rows: bool = False
    plan_version: int = PLAN_VERSION
    prompts: PromptPlan | None = None
    """None: documents are cut at so many tokens. Else `prefix` is the longest prompt, and every text stops at its own end."""
    own_text_from: WriterPlan | None = field(default=None, metadata=LEFT_OUT)
    """None: the model wrote it."""

    @property
    def hash(self) -> str:
        """Over values alone: no sentence is in it. A plan without prompts has the hash that it had before there were any."""
        values = to_json(self)
        if self.prompts is None:
            del values["prompts"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def prompting(self) -> PromptPlan | None:
        """How prompts are put to the model, whatever the prompts are and whatever ends a text."""
        return None if self.prompts is None else replace(self.prompts, prompts_sha256="", end_id=None)

    @property
    def measured(self) -> MeasurePlan:
        """What is measured on every pair."""
        return MeasurePlan(
            self.tokens,
            self.batch,
            self.seed,
            self.continuations,
            self.sampling,
            self.control_temperature,
            self.loop_rule,
            self.queue,
            self.rescored_tokens,
            self.rounded_arithmetic,
        )


def read_plan(plan: Mapping[str, Any]) -> AuditPlan:
    """The plan of a manifest or a `result.json`, of this version or an earlier one.

    Raises:
        DataError: something else, or a part of it missing.
    """
    return from_json(AuditPlan, upgraded(plan))


# ---- earlier versions --------------------------------------------------------------------------------------------------


def read_nature(nature: Mapping[str, Any] | str) -> Nature:
    """The nature of a manifest's model; earlier versions had a sentence."""
    if not isinstance(nature, str):
        return from_json(Nature, nature)
    words = nature.split(", ")
    bits = re.search(r"(\d)-bit weights \((\w+)\)", nature)
    container = bits[2] if bits else "GGUF" if "weights from GGUF" in words else ""
    tuned = {"instruct": True, "base": False}.get(words[0])
    kind = "" if bits or container or tuned is not None else nature
    return Nature(kind, tuned, int(bits[1]) if bits else None, container)


def upgraded(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan in today's form: version 1 held rules as sentences and left out what was not used. They are read here alone."""
    if "plan_version" in plan:
        return dict(plan)
    of_version_1 = {"queue": 1, "rescored_tokens": 0, "rounded_arithmetic": False, "cut": plan.get("prefix", 0)}
    _, *specs = str(plan.get("reference", "")).split(", cache and own law, interpolated")[-1].split(", ")
    return {
        **of_version_1,
        **plan,
        "sampling": {"steps": _steps(str(plan.get("sampling", "")))},
        "context_rule": _context_rule(str(plan.get("context_rule", ""))),
        "reference": {
            "order": 3,
            "tokens": plan.get("reference_tokens", 0),
            "specs": specs,
            "fingerprints": plan.get("reference_fingerprint", []),
        },
        "plan_version": 1,
    }


def _steps(sentence: str) -> list[dict[str, float]]:
    """From `temperature 0.7, top-k 50, top-p 0.9` or `temperature 1, full vocabulary`."""
    numbers = dict(re.findall(r"(temperature|top-k|top-p) ([\d.e+-]+)", sentence))
    steps: list[dict[str, float]] = []
    if float(numbers.get("temperature", 1)) != 1:
        steps.append({"temperature": float(numbers["temperature"])})
    steps += [{"top_k": int(numbers["top-k"])}] if "top-k" in numbers else []
    steps += [{"top_p": float(numbers["top-p"])}] if "top-p" in numbers else []
    return steps


def _context_rule(sentence: str) -> dict[str, Any]:
    """From `ids [1] first; at most 2048 tokens, …` or `nothing put first; the whole document so far`."""
    lead = re.match(r"ids \[([\d, ]*)\]", sentence)
    window = re.search(r"at most (\d+) tokens", sentence)
    return {
        "window": int(window[1]) if window else None,
        "lead": [int(i) for i in lead[1].split(",") if i.strip()] if lead else [],
    }
