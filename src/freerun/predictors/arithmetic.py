"""In which arithmetic a predictor's laws are computed, as its weights tell."""

from __future__ import annotations

from freerun.predictors.base import Predictor

_EXACT_BYTES = 4
"""Bytes of a number in float32."""


def is_rounded(predictor: Predictor) -> bool:
    """Whether some weights have, or may have, fewer bits than float32 (bf16, fp16): a law computed twice then differs visibly."""
    return any(part.capabilities.rounded_arithmetic for part in predictor.parts()) or any(
        tensor.is_floating_point() and tensor.element_size() < _EXACT_BYTES
        for part in predictor.parts()
        for tensor in part.own_weights()
    )


def weight_bytes(predictor: Predictor) -> int:
    """Bytes of the parameters of a predictor and of those inside it; shared ones count once."""
    tensors = {t.data_ptr(): t for part in predictor.parts() for t in part.own_weights()}
    return sum(t.numel() * t.element_size() for t in tensors.values())
