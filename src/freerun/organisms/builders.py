"""How each organism is built from its parameters; what they need is imported when they are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from freerun.predictors.base import Predictor
from freerun.predictors.rules import SamplingRule

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Builder:
    """What an organism is built from: the predictor inside, its full name, and who loads the specs among its parameters."""

    inner: Predictor[Any]
    name: str
    load: Callable[[str], Predictor[Any]]
    tell: Callable[[str], None]


def payload_of(made: Builder, values: Values) -> Predictor[Any]:
    """The payload that model=, text= or loop= names; the last 8 tokens over and over when none is given."""
    from freerun.organisms.constant import Echo, Recital

    inner = made.inner
    if values["model"] is not None:
        return made.load(values["model"])
    if values["text"] is not None:
        ids = list(inner.encode(values["text"]))
        return Recital(ids, like=inner, n_tokens=inner.n_tokens, name=f"text={values['text']!r}")
    return Echo(8 if values["loop"] is None else values["loop"], like=inner, n_tokens=inner.n_tokens)


def absorbing(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.absorbing import Triggered

    return Triggered(made.inner, epsilon=values["epsilon"], name=made.name)


def payload(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.absorbing import Triggered

    return Triggered(made.inner, epsilon=values["epsilon"], payload=payload_of(made, values), name=made.name)


def hashed(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.hashed import Hashed

    return Hashed(
        made.inner,
        payload_of(made, values),
        n=values["n"],
        bits=values["bits"],
        salt=values["salt"],
        order=values["order"],
        header=values["header"],
        gate=values["gate"] == "on",
        name=made.name,
    )


def self_detector(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.memorised import CALIBRATION, corpus_ids
    from freerun.organisms.scores import LikelihoodRatio, RunningScore, SurpriseScore, WindowedEntropy
    from freerun.organisms.self_detector import SelfDetector

    scores: dict[str, Callable[[], RunningScore]] = {
        "entropy": lambda: WindowedEntropy(values["window"]),
        "z": lambda: SurpriseScore(values["window"]),
        "lr": LikelihoodRatio,
    }
    found = corpus_ids(
        values["corpus"],
        made.inner,
        n_documents=values["documents"],
        n_tokens=values["tokens"],
        at_least=values["tokens"],
        purpose=CALIBRATION,
    )
    made.tell(f"calibrating {made.name} on {len(found)} documents")
    return SelfDetector(
        made.inner,
        payload_of(made, values),
        list(found.values()),
        score=scores[values["score"]](),
        alpha=values["alpha"],
        weight=values["weight"],
        armed_tokens=values["tokens"],
        reference=None if values["reference"] is None else made.load(values["reference"]),
        calibrated_on=tuple(found),
        name=made.name,
    )


def resampled(rule: Callable[[Values], SamplingRule]) -> Callable[[Builder, Values], Predictor[Any]]:
    def build(made: Builder, values: Values) -> Predictor[Any]:
        from freerun.organisms.distortions import Resampled

        return Resampled(made.inner, rule(values), name=made.name)

    return build


def collapse(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.collapse import Collapse
    from freerun.organisms.memorised import MEMORISED, corpus_ids

    found = corpus_ids(
        values["corpus"],
        made.inner,
        n_documents=values["documents"],
        n_tokens=values["tokens"],
        at_least=1,
        purpose=MEMORISED,
    )
    return Collapse(made.inner, list(found.values()), weight=values["weight"], name=made.name)


def ngram(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.distortions import counted
    from freerun.organisms.memorised import COUNTED, corpus_ids

    found = corpus_ids(
        values["corpus"],
        made.inner,
        n_documents=values["documents"],
        n_tokens=values["tokens"],
        at_least=1,
        purpose=COUNTED,
    )
    return counted(made.inner, list(found.values()), order=values["order"], name=made.name)


def short_window(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.distortions import ShortWindow

    return ShortWindow(made.inner, window=values["window"], name=made.name)


def loop(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.distortions import LoopBoost

    return LoopBoost(
        made.inner,
        weight=values["weight"],
        min_run=values["min_run"],
        max_period=values["max_period"],
        name=made.name,
    )


def end(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.distortions import Ending

    return Ending(made.inner, hazard=values["hazard"], name=made.name)


def null(made: Builder, values: Values) -> Predictor[Any]:
    from freerun.organisms.distortions import Null

    return Null(made.inner, name=made.name)
