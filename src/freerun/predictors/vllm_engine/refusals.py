"""What would change the logits before they are observed, and so is refused."""

from __future__ import annotations

from typing import Any

from freerun.predictors.vllm_engine.order import EXTRA

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "logit_bias": (None,),
    "allowed_token_ids": (None,),
    "bad_words": (None, []),
    "structured_outputs": (None,),
    "thinking_token_budget": (None,),
    "n": (1,),
}
"""Sampling parameters that act before our processor, or undo what it has done, with the values that do nothing."""


def check_parameters(params: Any) -> None:
    """Refuse a request of ours whose logits would not be the model's own.

    Raises:
        ValueError: as vLLM wants it said.
    """
    if not (params.extra_args and EXTRA in params.extra_args):
        return
    for name, values in _NEUTRAL.items():
        value = getattr(params, name, values[0])
        if value not in values:
            raise ValueError(
                f"{name}={value!r} changes the logits, so the law would not be the model's own; leave it out"
            )


def check_configuration(vllm_config: Any) -> None:
    """Refuse an engine that draws tokens elsewhere than after our processor.

    Raises:
        ValueError: speculative decoding, or a watermark.
    """
    for name, what in (("speculative_config", "speculative decoding"), ("watermark_config", "a watermark")):
        if getattr(vllm_config, name, None) is not None:
            raise ValueError(f"{what} is on: tokens would not be drawn where their law is observed; switch it off")
