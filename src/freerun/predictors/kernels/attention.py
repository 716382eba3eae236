"""Attention of one new token a row, where several query heads share their keys (grouped-query attention).

PyTorch's kernel for CPUs reads shared keys once for every query head. Put as rows of one query matrix, the heads of a group read
them once: the same kernel and the same sums. transformers does so itself where there is a mask; this does it without one.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "freerun_grouped_sdpa"
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest difference from transformers' own logits that is put down to the order of sums, relative to the largest logit."""


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' sdpa, with the query heads of one new token gathered by the keys they share.

    query: [rows, heads, n, width]; key and value: [rows, groups, held, width]. Returns [rows, n, heads, width].
    """
    rows, heads, n, width = query.shape
    groups = key.shape[1]
    plain = n != 1 or heads == groups or attention_mask is not None or options.get("position_bias") is not None
    if plain or value.shape[-1] != width or options.get("softcap") is not None or options.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    gathered = query.reshape(rows, groups, heads // groups, width)
    told = torch.nn.functional.scaled_dot_product_attention(gathered, key, value, scale=options.get("scaling"))
    return told.reshape(rows, 1, heads, width), None


@torch.inference_mode()
def gather_queries(model: Any) -> bool:
    """Let a CPU model that attends by sdpa use `grouped_attention`, if it then says what it said before; whether it does.

    FREERUN_PLAIN=1 leaves it as it is.
    """
    config = model.config
    heads, groups = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    own = getattr(config, "_attn_implementation", None)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if os.environ.get("FREERUN_PLAIN") or own != "sdpa" or not on_cpu or not groups or heads == groups:
        return False
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    try:
        before = _third_token(model)
        model.set_attn_implementation(NAME)
        after = _third_token(model)
        size = before.abs().max().float()
        if bool((after - before).abs().max().float() <= _TOLERANCE.get(before.dtype, 0.0) * size):
            return True
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # a model with an attention of its own
        pass
    leave_queries(model)
    return False


def leave_queries(model: Any) -> None:
    """Let it attend as transformers has it again."""
    model.set_attn_implementation("sdpa")


def _third_token(model: Any) -> torch.Tensor:
    """Logits after two tokens read at once and a third by itself."""
    ids = torch.tensor([[3, 5, 7], [8, 4, 6]]) % model.config.get_text_config(decoder=True).vocab_size
    read = model(input_ids=ids[:, :2], use_cache=True)
    said = model(input_ids=ids[:, 2:], past_key_values=read.past_key_values, use_cache=True)
    return said.logits  # type: ignore[no-any-return]
