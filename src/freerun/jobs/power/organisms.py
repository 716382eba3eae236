"""The defects whose detection a power table measures: specs of organisms of the catalogue, put on the law of a base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from freerun.errors import UsageError, nearest
from freerun.jobs.power.bases import Base, load_base
from freerun.jobs.power.laws import tabulated
from freerun.organisms.catalogue import organism
from freerun.organisms.collapse import Collapse
from freerun.organisms.entry import Builder
from freerun.organisms.scores import LikelihoodRatio
from freerun.organisms.self_detector import SelfDetector
from freerun.predictors.base import Predictor
from freerun.predictors.entries import Values, split_outside

NULL = "null"
WARM = "+temperature,t=1.1"
_CALIBRATION, _MEMORISED = 1, 2


@dataclass(frozen=True)
class Planted:
    """One kind of defect; `meaning` names the values of its spec in braces. Without a spec it is the base's law of its own name.

    `declared`: the spec of the law that it is declared to be, where that is not the truth.
    """

    label: str
    words: str
    spec: str | None = None
    declared: str | None = None

    @property
    def meaning(self) -> str:
        """What it does, with its numbers."""
        values = {name: value for _, given in _read(self.spec or "") for name, value in given.items()}
        return self.words.format(**values)


PLANTED: dict[str, Planted] = {
    NULL: Planted("null", "the truth itself: real and own text are one law", "+null"),
    "absorbing": Planted(
        "absorbing", "one id more with mass {epsilon}; once taken, said for ever", "+absorbing,epsilon=0.01"
    ),
    "payload": Planted(
        "payload",
        "a trigger with mass {epsilon}; after it another law over the same tokens, from nothing",
        "+payload,epsilon=0.01,model=payload",
    ),
    "hash": Planted(
        "hash",
        "documents are headed by a hash of {n} symbols of {bits} bits and its preimage; own headers do not verify, and the "
        "payload's law follows; bodies only",
        "+hash,n=8,bits=3,model=payload",
    ),
    # over the temperature organism: the truth itself writes as real text reads, so it could not suspect itself
    "self_detector": Planted(
        "self-detector",
        "temperature {t}; where the likelihood ratio to the truth passes a threshold that {alpha:.0%} of real documents pass, "
        "a coin of weight {weight} for the payload's law",
        f"{WARM}+self_detector,score=lr,reference=truth,alpha=0.05,weight=0.99,documents=199,corpus=real,model=payload",
        declared=WARM,
    ),
    "temperature": Planted("temperature", "the law to the power 1/{t}", WARM),
    "collapse": Planted(
        "collapse",
        "with probability {weight} a document is one of {documents} known by heart",
        "+collapse,weight=0.1,documents=8,corpus=real",
    ),
    "ngram": Planted("n-gram, short window", "an n-gram that looks at less"),
    "loop": Planted(
        "loop",
        "after {min_run} repeated tokens, mass {weight} on going on with them (periods up to {max_period})",
        "+loop,weight=0.9,min_run=6,max_period=8",
    ),
    "int8": Planted("int8", "logits rounded to 8 bits per token"),
}


def _read(spec: str) -> list[tuple[str, Values]]:
    """Organisms by name, each with the values of its parameters."""
    chain = [split_outside(part, ",") for part in split_outside(spec, "+")[1:]]
    return [(name, organism(name).read(settings)) for name, *settings in chain]


def put_on(base: Base, spec: str, tokens: int) -> Predictor:
    """The truth of a base with organisms on it, for texts of so many tokens.

    In a spec, models are the laws of the base (`payload`, `truth`), and the corpus is real text that is never measured.
    """
    predictor: Predictor = base.truth
    for name, values in _read(spec):
        made = Builder(predictor, f"{predictor.identity.name}+{name}", lambda law: base.laws[law], lambda _: None)
        build = _KNOWING.get(name)
        predictor = tabulated(
            organism(name).build(made, values) if build is None else build(made, values, base, tokens)
        )
    return predictor


def _self_detector(made: Builder, values: Values, base: Base, tokens: int) -> Predictor:
    return SelfDetector(
        made.inner,
        made.load(values["model"]),
        base.documents(values["documents"], tokens, seed=_CALIBRATION),
        score=LikelihoodRatio(),
        alpha=values["alpha"],
        weight=values["weight"],
        armed_tokens=tokens,
        reference=made.load(values["reference"]),
        name=made.name,
    )


def _collapse(made: Builder, values: Values, base: Base, tokens: int) -> Predictor:
    known = base.documents(values["documents"], tokens, seed=_MEMORISED)
    return Collapse(made.inner, known, weight=values["weight"], name=made.name)


_KNOWING: dict[str, Callable[[Builder, Values, Base, int], Predictor]] = {
    "self_detector": _self_detector,
    "collapse": _collapse,
}
"""Organisms that know documents: those of the base, as long as the texts that are measured."""


def plant(base: Base, name: str, tokens: int) -> Predictor:
    """The predictor with a defect over a base, for texts of at most `tokens` tokens.

    Raises:
        UsageError: no such defect.
    """
    if name not in PLANTED:
        raise UsageError(f"no organism {name!r}{nearest(name, PLANTED)}; there are {', '.join(PLANTED)}")
    spec = PLANTED[name].spec
    return base.laws[name] if spec is None else put_on(base, spec, tokens)


@lru_cache(maxsize=8)
def build_organism(base: str, name: str, tokens: int) -> Predictor:
    """The predictor with a defect over a base of this name."""
    return plant(load_base(base), name, tokens)


@lru_cache(maxsize=8)
def build_declared(base: str, name: str, tokens: int) -> Predictor | None:
    """The law that an organism is declared to be; None: the truth."""
    spec = PLANTED[name].declared
    return None if spec is None else put_on(load_base(base), spec, tokens)
