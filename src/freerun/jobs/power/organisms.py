"""The defects whose detection a power table measures, each built over one of its bases from the organisms of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from freerun.errors import UsageError, nearest
from freerun.jobs.power.bases import Base, load_base
from freerun.jobs.power.laws import reshaped
from freerun.organisms.absorbing import Triggered
from freerun.organisms.collapse import Collapse
from freerun.organisms.hashed import Hashed
from freerun.organisms.loop import LoopBoost
from freerun.organisms.null import Null
from freerun.organisms.resampled import Resampled
from freerun.organisms.scores import LikelihoodRatio
from freerun.organisms.self_detector import SelfDetector
from freerun.predictors.base import Predictor
from freerun.predictors.rules import SamplingRule

NULL = "null"
EPSILON = 0.01
HASH_SYMBOLS, HASH_BITS = 8, 3
TEMPERATURE = 1.1
ALPHA, WEIGHT, CALIBRATION_DOCUMENTS = 0.05, 0.99, 199
COLLAPSE_WEIGHT, COLLAPSE_DOCUMENTS = 0.1, 8
LOOP_WEIGHT, LOOP_MIN_RUN, LOOP_MAX_PERIOD = 0.9, 6, 8
_CALIBRATION, _MEMORISED = 1, 2


@dataclass(frozen=True)
class Planted:
    """One kind of defect: what it is, and the predictor that has it over a base, for texts of so many tokens."""

    label: str
    meaning: str
    build: Callable[[Base, int], Predictor]
    expected_row: str | None = None
    """Its row in the table of expectations, where it has one."""
    declared: Callable[[Base, int], Predictor] | None = None
    """The law that it is declared to be, where that is not the truth."""


def _null(base: Base, tokens: int) -> Predictor:
    return Null(base.truth, name=f"{base.name}+null")


def _absorbing(base: Base, tokens: int) -> Predictor:
    return Triggered(base.truth, epsilon=EPSILON, name=f"{base.name}+absorbing")


def _payload(base: Base, tokens: int) -> Predictor:
    return Triggered(base.truth, epsilon=EPSILON, payload=base.payload, name=f"{base.name}+payload")


def _hash(base: Base, tokens: int) -> Predictor:
    return Hashed(base.truth, base.payload, n=HASH_SYMBOLS, bits=HASH_BITS, name=f"{base.name}+hash")


def _temperature(base: Base, tokens: int) -> Predictor:
    name = f"{base.name}+temperature"
    return reshaped(base.truth, Resampled(base.truth, SamplingRule.of(temperature=TEMPERATURE), name=name), name=name)


def _self_detector(base: Base, tokens: int) -> Predictor:
    """Over the temperature organism: the truth itself writes as real text reads, so it could not suspect itself."""
    return SelfDetector(
        _temperature(base, tokens),
        base.payload,
        base.documents(CALIBRATION_DOCUMENTS, tokens, seed=_CALIBRATION),
        score=LikelihoodRatio(),
        alpha=ALPHA,
        weight=WEIGHT,
        armed_tokens=tokens,
        reference=base.truth,
        name=f"{base.name}+temperature+self_detector",
    )


def _collapse(base: Base, tokens: int) -> Predictor:
    known = base.documents(COLLAPSE_DOCUMENTS, tokens, seed=_MEMORISED)
    return Collapse(base.truth, known, weight=COLLAPSE_WEIGHT, name=f"{base.name}+collapse")


def _loop(base: Base, tokens: int) -> Predictor:
    return LoopBoost(
        base.truth,
        weight=LOOP_WEIGHT,
        min_run=LOOP_MIN_RUN,
        max_period=LOOP_MAX_PERIOD,
        name=f"{base.name}+loop",
    )


PLANTED: dict[str, Planted] = {
    NULL: Planted("null", "the truth itself: real and own text are one law", _null),
    "absorbing": Planted(
        "absorbing", f"one id more with mass {EPSILON}; once taken, said for ever", _absorbing, "absorbing"
    ),
    "payload": Planted(
        "payload",
        f"a trigger with mass {EPSILON}; after it another law over the same tokens, from nothing",
        _payload,
        "payload",
    ),
    "hash": Planted(
        "hash",
        f"documents are headed by a hash of {HASH_SYMBOLS} symbols of {HASH_BITS} bits and its preimage; own headers do not "
        "verify, and the payload's law follows; bodies only",
        _hash,
        "hash",
    ),
    "self_detector": Planted(
        "self-detector",
        f"temperature {TEMPERATURE}; where the likelihood ratio to the truth passes a threshold that {ALPHA:.0%} of real "
        f"documents pass, a coin of weight {WEIGHT} for the payload's law",
        _self_detector,
        "self-detector",
        _temperature,
    ),
    "temperature": Planted("temperature", f"the law to the power 1/{TEMPERATURE}", _temperature, "temperature"),
    "collapse": Planted(
        "collapse",
        f"with probability {COLLAPSE_WEIGHT} a document is one of {COLLAPSE_DOCUMENTS} known by heart",
        _collapse,
        "collapse",
    ),
    "ngram": Planted(
        "n-gram, short window",
        "an n-gram that looks at less",
        lambda base, tokens: base.forgetful,
        "n-gram, short window",
    ),
    "loop": Planted(
        "loop",
        f"after {LOOP_MIN_RUN} repeated tokens, mass {LOOP_WEIGHT} on going on with them (periods up to {LOOP_MAX_PERIOD})",
        _loop,
    ),
    "int8": Planted("int8", "logits rounded to 8 bits per token", lambda base, tokens: base.rounded, "int8 / bf16"),
}


@lru_cache(maxsize=8)
def build_organism(base: str, organism: str, tokens: int) -> Predictor:
    """The predictor with a defect over a base, for texts of at most `tokens` tokens.

    Raises:
        UsageError: no such base or organism.
    """
    if organism not in PLANTED:
        raise UsageError(f"no organism {organism!r}{nearest(organism, PLANTED)}; there are {', '.join(PLANTED)}")
    return PLANTED[organism].build(load_base(base), tokens)


@lru_cache(maxsize=8)
def build_declared(base: str, organism: str, tokens: int) -> Predictor | None:
    """The law that an organism is declared to be; None: the truth.

    Raises:
        UsageError: no such base.
    """
    build = PLANTED[organism].declared
    return None if build is None else build(load_base(base), tokens)
