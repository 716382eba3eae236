"""Query heads gathered by the keys they share attend as they do one by one."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from freerun.predictors.kernels import attention
from freerun.predictors.kernels.attention import NAME, gather_queries


def llama(groups: int, *, vocab_size: int = 50, **changes: object) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=groups,
        **changes,
    )
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def steps(model: LlamaForCausalLM, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of a text read at once and of four more tokens, one by one."""
    torch.manual_seed(1)
    ids = torch.randint(3, 50, (3, 12))
    seen = {} if mask is None else {"attention_mask": mask[:, :8]}
    out = model(input_ids=ids[:, :8], use_cache=True, **seen)
    said = [out.logits]
    for t in range(8, 12):
        seen = {} if mask is None else {"attention_mask": mask[:, : t + 1]}
        out = model(input_ids=ids[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True, **seen)
        said.append(out.logits)
    return torch.cat(said, dim=1)


@pytest.mark.parametrize("padded", [False, True])
def test_same_logits(padded: bool) -> None:
    mask = None
    if padded:
        mask = torch.ones(3, 12, dtype=torch.long)
        mask[1, :3] = 0
    wanted = steps(llama(2), mask)
    model = llama(2)
    assert gather_queries(model)
    assert model.config._attn_implementation == NAME
    got = steps(model, mask)
    real = slice(None) if mask is None else mask.bool()
    torch.testing.assert_close(got[real], wanted[real], atol=1e-5, rtol=0)


def test_heads_with_keys_of_their_own_and_other_attention_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gather_queries(llama(6))
    eager = llama(2, attn_implementation="eager")
    assert not gather_queries(eager)
    assert eager.config._attn_implementation == "eager"
    monkeypatch.setenv("FREERUN_PLAIN", "1")
    assert not gather_queries(llama(2))


@pytest.mark.parametrize("n", [2, 8])
def test_a_vocabulary_may_be_small(n: int) -> None:
    assert gather_queries(llama(2, vocab_size=n))


def test_an_attention_that_would_differ_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    own = attention.grouped_attention
    monkeypatch.setattr(attention, "grouped_attention", lambda *a, **k: (own(*a, **k)[0] * 0.5, None))
    model = llama(2)
    assert not gather_queries(model)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(steps(model), steps(llama(2)), atol=0, rtol=0)
