"""The plan of a run in words that its reader knows; hashes and settings of the machinery stand apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from freerun.records.plan import ContextRule, PromptPlan, ReferencePlan, SamplingRule, upgraded
from freerun.report.pages.template import printed
from freerun.report.visible import visible
from freerun.results.json import from_json


@dataclass(frozen=True)
class PlanRow:
    """One line of the plan: what it is called and what it says."""

    label: str
    value: str


def _tokens(n: Any) -> str:
    return f"{n:,} tokens" if isinstance(n, int) and n != 1 else f"{n} token"


def _loop_rule(rule: Any) -> str:
    if not isinstance(rule, Mapping):
        return str(rule)
    copies, longest, least = (rule.get(name) for name in ("copies", "max_period", "min_tokens"))
    return f"{copies} copies of at most {longest} tokens in a row, {least} tokens in all at least"


def _reference(plan: Any) -> str:
    reference = from_json(ReferencePlan, plan)
    fingerprints = f" ({', '.join(reference.fingerprints)})" if reference.fingerprints else ""
    return f"{reference.describe()}{fingerprints}; counts at most {_tokens(reference.tokens)} of training text"


def _plain(value: Any) -> str:
    return str(printed(value))


def _yes(value: Any) -> str:
    return _plain(bool(value))


_ONLY_WHERE_USED = ("exemplars", "exemplar_tokens", "redacted", "skip_bad_rows")
_ONLY_WHERE_GIVEN = ("prompts",)
Spoken = Callable[[Any], str]
_ROWS: dict[str, tuple[str, Spoken]] = {
    "model": ("Model", str),
    "corpus": ("Corpus", str),
    "documents": ("Documents", str),
    "prompts": ("Prompts are fed", lambda plan: from_json(PromptPlan, plan).describe()),
    "prefix": ("Prefix", _tokens),
    "cut": ("Cut", lambda n: f"after {_tokens(n)}"),
    "tokens": ("Continuation", _tokens),
    "exemplars": ("Other documents before the prefix", str),
    "exemplar_tokens": ("Of each of them", _tokens),
    "continuations": ("Own texts a document", str),
    "sampling": ("Sampling", lambda rule: from_json(SamplingRule, rule).describe()),
    "rescored_tokens": ("Own text scored again by fresh passes", lambda n: f"about {_tokens(n)}"),
    "rounded_arithmetic": ("Arithmetic that rounds (bf16)", _plain),
    "control_temperature": ("Control, sampled at temperature", str),
    "seed": ("Seed", str),
    "reference": ("Reference", _reference),
    "embed_with": ("Texts are placed by", lambda name: "the model's own hidden states" if name is None else str(name)),
    "loop_rule": ("A loop", _loop_rule),
    "context_rule": ("Context", lambda rule: from_json(ContextRule, rule).describe()),
    "dtype": ("Number format", str),
    "device": ("Device", str),
    "threads": ("Processor cores", str),
    "batch": ("Sequences at once", str),
    "redacted": ("Text, ids and names left out", _yes),
    "skip_bad_rows": ("Rows without text left out", _yes),
}
"""Settings that a person chose or has to know, in the order of the page."""
_ROWS_OF_PROMPTS: dict[str, tuple[str, Spoken]] = {
    "prefix": ("Longest prompt", _tokens),
    "tokens": ("Response, at most", _tokens),
}
"""The same where documents are prompts with responses."""
_MACHINERY: dict[str, tuple[str, Spoken]] = {
    "model_fingerprint": ("Fingerprint of the model", str),
    "corpus_fingerprint": ("Fingerprint of the corpus", str),
    "encoder_fingerprint": ("Fingerprint of the encoder", str),
    "end_ids": ("Ids that end a text", _plain),
    "exemplar_separator_ids": ("Ids between exemplars", _plain),
    "queue": ("Batches in a queue", str),
    "schema_version": ("Version of the records", str),
    "plan_version": ("Version of the plan", str),
}
"""What the plan's hash goes over too: for whoever compares runs by hand."""


def plan_rows(result: Mapping[str, Any]) -> list[PlanRow]:
    """Return the settings of a result's plan; the device is the one that was used, where the run recorded it.

    >>> plan_rows({"plan": {"device": "auto", "queue": 2}, "provenance": {"device": "cpu"}})
    [PlanRow(label='Device', value='cpu (chosen by auto)')]
    """
    plan = dict(_plan(result))
    used = (result.get("provenance") or {}).get("device")
    asked = plan.get("device")
    if used and asked is not None:
        plan["device"] = used if asked == used else f"{used} (chosen by {asked})"
    rest = {name: (name.replace("_", " ").capitalize(), _plain) for name in plan if name not in _ROWS | _MACHINERY}
    own = _ROWS_OF_PROMPTS if plan.get("prompts") is not None else {}
    return _spoken(plan, _ROWS | own | rest)


def machinery_rows(result: Mapping[str, Any]) -> list[PlanRow]:
    """Return fingerprints and inner settings of a result's plan, empty ones left out."""
    return _spoken({name: value for name, value in _plan(result).items() if value not in (None, [], ())}, _MACHINERY)


def _plan(result: Mapping[str, Any]) -> Mapping[str, Any]:
    plan = result.get("plan")
    if not isinstance(plan, Mapping):
        return {}
    unused = {**dict.fromkeys(_ONLY_WHERE_USED, 0), **dict.fromkeys(_ONLY_WHERE_GIVEN), "cut": plan.get("prefix")}
    if plan.get("prompts") is not None:
        unused["cut"] = 0
    return {n: v for n, v in upgraded(plan).items() if n in plan and (n not in unused or v != unused[n])}


def _spoken(plan: Mapping[str, Any], words: Mapping[str, tuple[str, Spoken]]) -> list[PlanRow]:
    return [PlanRow(label, visible(say(plan[name]))) for name, (label, say) in words.items() if name in plan]
