"""Organisms by name: `MODEL+NAME,param=value…`, with typed parameters, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from freerun.errors import UsageError, nearest
from freerun.organisms import builders
from freerun.organisms.builders import Builder, Values
from freerun.organisms.parameters import Parameter, fraction, text, whole, word
from freerun.predictors.base import Predictor
from freerun.predictors.rules import SamplingRule


@dataclass(frozen=True)
class OrganismEntry:
    """One kind of organism."""

    meaning: str
    parameters: tuple[Parameter, ...]
    build: Callable[[Builder, Values], Predictor[Any]]
    alternatives: tuple[str, ...] = ()
    """Parameters of which at most one may be given."""

    def example(self, name: str) -> str:
        """The organism with its defaults, as it is typed; required values stand as …

        >>> ORGANISMS["absorbing"].example("absorbing")
        '+absorbing,epsilon=0.01'
        """
        shown = [p for p in self.parameters if p.default is not None or p.required]
        return ",".join([f"+{name}", *(f"{p.name}={'…' if p.required else p.default}" for p in shown)])


_PAYLOADS = (
    Parameter("model", "spec", "the payload is this model, in parentheses; it must have the same tokens"),
    text("text", "the payload says this text for ever"),
    whole("loop", None, "the payload says the last so many tokens for ever (8 when no payload is named)", low=1),
)
_CORPUS = Parameter("corpus", "corpus", "a corpus; with commas in parentheses", required=True)

ORGANISMS: dict[str, OrganismEntry] = {
    "absorbing": OrganismEntry(
        "one token more, with mass epsilon; once taken, it is said for ever",
        (fraction("epsilon", 0.01, "mass of the token"),),
        builders.absorbing,
    ),
    "payload": OrganismEntry(
        "the same trigger, then another predictor from nothing",
        (fraction("epsilon", 0.01, "mass of the trigger"), *_PAYLOADS),
        builders.payload,
        ("model", "text", "loop"),
    ),
    "hash": OrganismEntry(
        "documents begin with a hash and its preimage; after a header that does not verify, the payload (needs --prefix 0)",
        (
            whole("n", 30, "symbols of each half of the header", low=1, high=1000),
            whole("bits", None, "bits a symbol; 4, or as many as the vocabulary has tokens for", low=1, high=16),
            word("order", "hu", ("hu", "uh"), "hu: the hash comes first; uh: its preimage does (control, no gap)"),
            word("header", "blind", ("blind", "inverter"), "inverter: knows all preimages (n·bits ≤ 16; no gap)"),
            word("gate", "on", ("on", "off"), "off: the same model that never looks at the hash"),
            text("salt", "goes into the hash", default=""),
            *_PAYLOADS,
        ),
        builders.hashed,
        ("model", "text", "loop"),
    ),
    "self_detector": OrganismEntry(
        "once a running self-score passes a threshold calibrated on real documents, a coin for the payload",
        (
            word("score", "entropy", ("entropy", "z", "lr"), "windowed entropy, −z, or likelihood ratio to reference"),
            fraction("alpha", 0.01, "most false triggers a document"),
            fraction("weight", 0.99, "weight of the payload after the trigger"),
            whole("tokens", 128, "tokens up to which the detector is armed", low=1),
            whole("window", 32, "tokens of the entropy's window; tokens before z counts", low=1),
            whole("documents", 199, "calibration documents", low=1),
            _CORPUS,
            Parameter("reference", "spec", "the reference of score=lr, in parentheses"),
            *_PAYLOADS,
        ),
        builders.self_detector,
        ("model", "text", "loop"),
    ),
    "temperature": OrganismEntry(
        "the law to the power 1/t",
        (Parameter("t", "real", "temperature", default=0.9, low=0.0, high=100.0),),
        builders.resampled(lambda v: SamplingRule.of(temperature=v["t"])),
    ),
    "top_k": OrganismEntry(
        "the k most probable tokens only",
        (whole("k", 50, "tokens kept", low=1),),
        builders.resampled(lambda v: SamplingRule.of(top_k=v["k"])),
    ),
    "top_p": OrganismEntry(
        "the smallest set of tokens of mass p only",
        (Parameter("p", "real", "mass kept", default=0.95, low=0.0, high=1.0, closed_high=True),),
        builders.resampled(lambda v: SamplingRule.of(top_p=v["p"])),
    ),
    "collapse": OrganismEntry(
        "one coin a document: with this weight it recites one of a memorised set",
        (
            fraction("weight", 0.1, "share of documents that are recited"),
            whole("documents", 8, "documents memorised", low=1),
            whole("tokens", 256, "tokens of each", low=1),
            _CORPUS,
        ),
        builders.collapse,
    ),
    "ngram": OrganismEntry(
        "n-gram counts of a corpus in the model's tokens, and nothing of the model",
        (
            whole("order", 3, "tokens of an n-gram", low=1, high=7),
            whole("documents", 10_000, "most documents counted", low=1),
            whole("tokens", 100_000, "most tokens of each", low=1),
            _CORPUS,
        ),
        builders.ngram,
    ),
    "short_window": OrganismEntry(
        "sees the last tokens only", (whole("window", 16, "tokens seen", low=1),), builders.short_window
    ),
    "loop": OrganismEntry(
        "moves mass onto the token that goes on with the text's current repetition",
        (
            fraction("weight", 0.1, "mass moved"),
            whole("min_run", 2, "repeated tokens before it does", low=1),
            whole("max_period", 64, "longest phrase looked for", low=1, high=1024),
        ),
        builders.loop,
    ),
    "end": OrganismEntry(
        "moves mass onto an end of text at every token", (fraction("hazard", 0.01, "mass moved"),), builders.end
    ),
    "null": OrganismEntry("changes nothing: same records, bit for bit", (), builders.null),
}


@dataclass(frozen=True)
class Wanted:
    """An organism that was typed, checked and not yet built."""

    name: str
    values: Values

    @property
    def entry(self) -> OrganismEntry:
        return ORGANISMS[self.name]

    def named(self, kind: str) -> list[str]:
        """The values of all parameters of one kind that are given."""
        return [
            self.values[p.name] for p in self.entry.parameters if p.kind == kind and self.values[p.name] is not None
        ]


def wanted(name: str, settings: Sequence[str]) -> Wanted:
    """Read `NAME` and its `param=value` settings.

    Raises:
        UsageError: no such organism or parameter, a value out of range, a parameter twice or missing.
    """
    if name not in ORGANISMS:
        raise UsageError(f"unknown organism {name!r}{nearest(name, ORGANISMS)}; known: {', '.join(ORGANISMS)}")
    entry = ORGANISMS[name]
    known = {p.name: p for p in entry.parameters}
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"+{name} has no parameter {key!r}{nearest(key, known)}; {has}")
        if not equals:
            raise UsageError(f"+{name}: {key} needs a value, {key}=…")
        if key in given:
            raise UsageError(f"+{name}: {key} is given twice")
        given[key] = known[key].read(value, of=name)
    missing = [p.name for p in entry.parameters if p.required and p.name not in given]
    if missing:
        raise UsageError(f"+{name} needs {missing[0]}=… ({known[missing[0]].meaning})")
    rivals = [k for k in entry.alternatives if k in given]
    if len(rivals) > 1:
        raise UsageError(f"+{name} takes one of {', '.join(entry.alternatives)}, not both {rivals[0]} and {rivals[1]}")
    if name == "self_detector" and (given.get("score") == "lr") != ("reference" in given):
        raise UsageError("+self_detector: score=lr needs reference=(SPEC), and no other score has one")
    return Wanted(name, {p.name: given.get(p.name, p.default) for p in entry.parameters})
