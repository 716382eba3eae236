"""In which arithmetic a predictor's laws are computed, as its weights tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from freerun.predictors.base import Predictor

_EXACT_BYTES = 4
"""Bytes of a number in float32."""


def is_rounded(predictor: Predictor[Any]) -> bool:
    """Whether some weights have fewer bits than float32 (bf16, fp16): the same law computed twice then differs visibly."""
    return any(
        tensor.is_floating_point() and tensor.element_size() < _EXACT_BYTES
        for model in models_in(predictor)
        for tensor in model.parameters()
    )


def models_in(predictor: Any) -> Iterator[Any]:
    """The models with parameters that a predictor is made of, those of the predictors inside it included."""
    held = getattr(predictor, "model", None)
    if hasattr(held, "parameters"):
        yield held
    inside = [getattr(predictor, name, None) for name in ("inner", "organism")]
    components = getattr(predictor, "components", ())
    for one in [*inside, *(components if isinstance(components, list) else ())]:
        if isinstance(one, Predictor):
            yield from models_in(one)
