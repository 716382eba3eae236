"""Tiny models with random weights, one for every causal family that the installed transformers knows.

One rule shrinks any config class by the names of its fields; `EXCEPTIONS` holds what the rule cannot guess. The weights are drawn
so that the laws are far from uniform and depend on context and position: a cache that goes wrong changes them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

FAMILIES: tuple[str, ...] = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))

VOCABULARY, WIDTH, LAYERS, WINDOW, POSITIONS, ORIGINAL_POSITIONS = 64, 32, 2, 8, 48, 16

SIZES: tuple[tuple[str, int], ...] = (
    (r"original_max_position_embeddings", ORIGINAL_POSITIONS),
    (
        r"max_(position_embeddings|target_positions|source_positions|seq_len)|n_positions|n_ctx|context_length",
        POSITIONS,
    ),
    (r"(decoder_)?vocab_size(_per_layer_input)?", VOCABULARY),
    (r".*(sliding_window(_size)?|window_size|window_len)|local_attention|attention_chunk_size", WINDOW),
    (r"(mamba_)?chunk_size|block_size|.*_chunk_length|index_topk", WINDOW),
    (r".*(layers|n_layer|num_blocks|depth)", LAYERS),
    (r"index_n_heads", 16),  # with few, sums of rectified scores tie at zero, and ties are broken by chance
    (r".*(heads|n_head)", 4),
    (r"mamba_(d_head|head_dim)", 16),
    (r".*(head_dim|head_size|dim_head|d_head|d_kv|kv_channels|d_rel|state_size|d_state)", 8),
    (r"rotary_dim", 4),
    (r".*(num_experts|routed_experts|local_experts|zero_expert_num)", 4),
    (r".*(experts_per_tok(en)?|topk|top_k|moe_k|n_groups|ngroups|n_group|num_expert_group|o_groups)", 2),
    (r".*(shared_experts|num_dense_layers|first_k_dense_replace|topk_group|layer_offset)", 1),
    (r".*(layer_period|layer_interval|layer_step|_pattern|every_n_layers|attention_interval|layer_group_size)", 2),
    (r".*(intermediate_size|ffn_dim|ffn_size|ffn_hidden_size|mlp_dim|d_ff|d_inner|n_inner|dff|dim_ff)", 48),
    (r".*(lora_rank|dt_rank|time_step_rank)", 16),
)
"""The largest value of a whole number by its field's name, the first pattern that fits; `WIDTH` for any other."""

KEY_HEADS = re.compile(r".*(key_value_heads|kv_heads|kv_n_heads|query_groups)|linear_num_key_heads")
SPECIAL_IDS = re.compile(r".*(_token_id|_token_index|_token_ids)")
ORDINARY_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NOISE = re.compile(r".*(drop|jitter_noise).*")
UNSET = {
    "head_dim": 8,
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
"""What a family may leave unset and yet needs."""

_PARTS = ("sliding_attention", "full_attention")
_QWEN4: dict[str, Any] = {
    "indexer_n_heads": 8,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
    "ple_layer_ids": [1],
    "eos_token_id": 2,
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 97,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 1,
}
# 95% of 48 units switched off leaves two or three, and norms blow their rounding up to 3e-3 nats; of the real width many stay
_GEMMA3N: dict[str, Any] = {"intermediate_size": 48, "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0]}
_GEMMA4: dict[str, Any] = {"global_head_dim": 16}
_DOTS3: dict[str, Any] = {
    "sliding_window": WINDOW,
    "head_dim": 16,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 16,
    "swa_kv_lora_rank": 16,
    "swa_head_dim": 16,
    "swa_qk_nope_head_dim": 8,
    "swa_v_head_dim": 8,
}
_LLAMA4: dict[str, Any] = {"interleave_moe_layer_step": 2, "floor_scale": WINDOW}

EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "cohere": {"logit_scale": 0.5},
    "cohere2": {"logit_scale": 0.5},
    "cohere2_moe": {"logit_scale": 0.5},
    "cohere_compass_text": {
        "layer_types": list(_PARTS),
        "rope_parameters": {
            part: {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]} for part in _PARTS
        },
    },
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0}, "ffn_config": {"moe_top_k": 2}},
    "deepseek_v2": {"first_k_dense_replace": 1},
    "deepseek_v4": {
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
        "partial_rotary_factor": 0.5,
    },
    "dots1": {"first_k_dense_replace": 1, "layer_types": ["full_attention", "sliding_attention"]},
    "dots3_note": {"text_config": _DOTS3},
    "dots3_note_text": _DOTS3,
    "flint": {"mlp_only_layers": [0]},
    "gemma3n": {"text_config": _GEMMA3N},
    "gemma3n_text": _GEMMA3N,
    "gemma4": {"text_config": _GEMMA4},
    "gemma4_text": _GEMMA4,
    "gemma4_unified": {"text_config": _GEMMA4},
    "gemma4_unified_text": _GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "granitemoeshared": {"shared_intermediate_size": 48},
    "hunyuan_v1_moe": {"num_experts": 4, "moe_topk": 2},
    "inkling2_text": {
        "unpadded_vocab_size": VOCABULARY,
        "log_scaling_n_floor": ORIGINAL_POSITIONS,
        "n_layers_per_attn_res_block": 1,
    },
    "laguna": {"layer_types": ["full_attention", "sliding_attention"], "num_attention_heads_per_layer": [4, 8]},
    "lfm2": {"layer_types": ["full_attention", "conv"]},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"], "num_dense_layers": 1},
    "llama4": {"text_config": _LLAMA4},
    "llama4_text": _LLAMA4,
    "mamba2": {"head_dim": 16},
    "mellum": {"layer_types": list(_PARTS)},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"],
        "mlp_layer_types": ["dense", "sparse"],
        "index_block_size": 4,
        "index_topk_blocks": 2,
    },
    "ministral": {"layer_types": list(_PARTS)},
    "mllama": {"text_config": {"num_hidden_layers": 3, "cross_attention_layers": [1]}},
    "mpt": {"attn_config": {"attn_pdrop": 0}},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [8, 24],
        "num_buckets": 4,
        "max_position_embeddings": 64,
    },
    "xlm": {"causal": True},
    "xlnet": {"attn_type": "uni"},
    "xlstm": {"hidden_size": 64, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4},
    "zaya": {"layer_types": ["hybrid", "hybrid_sliding"], "sliding_window": WINDOW},
}
_DRAFTER = "a drafter: it reads its target's hidden states and keys, never token ids"
_CODEBOOKS = "the registry gives the class of its decoder the config of the whole, which that class cannot read"
LEFT_OUT: dict[str, str] = {
    "gemma3n": "its picture tower needs the timm package, for text too; gemma3n_text is the same model of text",
    "gemma4_assistant": _DRAFTER,
    "gemma4_unified_assistant": _DRAFTER,
    "musicgen": _CODEBOOKS,
    "musicgen_melody": _CODEBOOKS,
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """Another config of a family, over its exceptions. One that is not causal is for refusals."""

    family: str
    settings: Mapping[str, Any]
    causal: bool = True


_LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 4.0, 6.0, 8.0]}
_SOME_SLIDING = {
    "layer_types": ["full_attention", "sliding_attention"],
    "use_sliding_window": True,
    "sliding_window": WINDOW,
    "max_window_layers": 1,
}

VARIANTS: dict[str, Variant] = {
    "bert as decoder": Variant("bert", {"is_decoder": True}),
    "bert as encoder": Variant("bert", {"is_decoder": False}, causal=False),
    "big_bird full attention": Variant("big_bird", {"attention_type": "original_full"}),
    "bloom post-norm residual": Variant("bloom", {"apply_residual_connection_post_layernorm": True}),
    "deepseek_v3 full-rank queries": Variant("deepseek_v3", {"q_lora_rank": None}),
    "falcon alibi": Variant("falcon", {"alibi": True}),
    "falcon new decoder": Variant("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon rotary": Variant("falcon", {"alibi": False}),
    "falcon sequential": Variant("falcon", {"parallel_attn": False}),
    "gemma3_text two-way": Variant("gemma3_text", {"use_bidirectional_attention": True}, causal=False),
    "gemma4_text experts": Variant(
        "gemma4_text", {"enable_moe_block": True, "top_k_experts": 2, "moe_intermediate_size": 48}
    ),
    "gemma4_text shared keys": Variant(
        "gemma4_text", {"num_hidden_layers": 4, "layer_types": list(_PARTS) * 2, "num_kv_shared_layers": 2}
    ),
    "gpt_bigcode many key heads": Variant("gpt_bigcode", {"multi_query": False}),
    "gpt_neo local": Variant("gpt_neo", {"attention_types": [[["local"], 2]]}),
    "gpt_neox sequential": Variant("gpt_neox", {"use_parallel_residual": False}),
    "granitemoehybrid rope": Variant("granitemoehybrid", {"position_embedding_type": "rope"}),
    "llama dynamic rope": Variant(
        "llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}}
    ),
    "llama grouped keys": Variant("llama", {"num_key_value_heads": 2}),
    "llama linear rope": Variant(
        "llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}}
    ),
    "llama one key head": Variant("llama", {"num_key_value_heads": 1}),
    "llama three rope": Variant(
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": ORIGINAL_POSITIONS,
            }
        },
    ),
    "llama tied": Variant("llama", {"tie_word_embeddings": True}),
    "llama yarn": Variant(
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": ORIGINAL_POSITIONS,
            }
        },
    ),
    "mistral full": Variant("mistral", {"sliding_window": None}),
    "mistral sliding": Variant("mistral", {"sliding_window": WINDOW}),
    "mixtral sliding": Variant("mixtral", {"sliding_window": WINDOW}),
    "mpt alibi": Variant("mpt", {"attn_config": {"attn_pdrop": 0, "alibi": True}}),
    "olmo clipped": Variant("olmo", {"clip_qkv": 2.0}),
    "opt post-norm": Variant("opt", {"do_layer_norm_before": False}),
    "opt projected embeddings": Variant("opt", {"word_embed_proj_dim": 16}),
    "phi3 longrope": Variant("phi3", {"rope_parameters": {**_LONG, "rope_theta": 10_000.0}}),
    "phi3 short": Variant("phi3", {"max_position_embeddings": ORIGINAL_POSITIONS}),
    "phi3 sliding": Variant("phi3", {"sliding_window": WINDOW}),
    "qwen2 with some sliding layers": Variant("qwen2", _SOME_SLIDING),
    "qwen3 with some sliding layers": Variant("qwen3", _SOME_SLIDING),
    "reformer local": Variant("reformer", {"attn_layers": ["local", "local"]}),
    "roberta as encoder": Variant("roberta", {"is_decoder": False}, causal=False),
    "stablelm parallel": Variant("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "starcoder2 sliding": Variant("starcoder2", {"sliding_window": WINDOW}),
    "trocr sinusoids": Variant("trocr", {"use_learned_position_embeddings": False}),
    "xlm two-way": Variant("xlm", {"causal": False}, causal=False),
    "xlnet two-way": Variant("xlnet", {"attn_type": "bi"}, causal=False),
}


def shrunk(config: PreTrainedConfig, exceptions: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments that make the same kind of config, tiny. What a class derives from the rest stays derived."""
    inherited = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    fields = [
        f for f in dataclasses.fields(config) if f.init and (f.name not in inherited or SPECIAL_IDS.fullmatch(f.name))
    ]
    values = {field.name: vars(config).get(config.attribute_map.get(field.name, field.name)) for field in fields}
    derived = {field.name for field in fields if field.default is None}
    small = _layers(config, values)
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig):
            small[name] = type(value)(**shrunk(value, exceptions.get(name, {})))
        elif name in small or name in exceptions:
            continue
        elif value is None and name in UNSET:
            small[name] = UNSET[name]
        elif value is not None and (name not in derived or SPECIAL_IDS.fullmatch(name) or name == "rope_parameters"):
            small[name] = _small(name, value, values)
    if "is_decoder" in values:
        small["is_decoder"] = True
    return small | {
        name: value for name, value in exceptions.items() if not isinstance(values.get(name), PreTrainedConfig)
    }


def _small(name: str, value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, (bool, str)):
        return value
    if SPECIAL_IDS.fullmatch(name):
        return _special(name, value, values)
    if NOISE.fullmatch(name) and isinstance(value, (int, float)):
        return 0.0
    if KEY_HEADS.fullmatch(name):
        return min(
            value, 4 if value in (values.get("num_attention_heads"), values.get("linear_num_value_heads")) else 2
        )
    if name == "attention_multiplier":
        return UNSET["head_dim"] ** -0.5
    if isinstance(value, int):
        return min(value, next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), WIDTH))
    if name == "rope_parameters":
        return _rope(value)
    return value


def _special(name: str, value: Any, values: Mapping[str, Any]) -> Any:
    """Small ids stay; the large ones of pictures and sounds stand at the end of the vocabulary, each its own."""
    if isinstance(value, (list, tuple)):
        return sorted({_special(name, v, values) for v in value})
    if 0 <= value < 8:
        return value
    others = [n for n in values if SPECIAL_IDS.fullmatch(n) and n not in ORDINARY_IDS]
    return ORDINARY_IDS[name] if name in ORDINARY_IDS else VOCABULARY - 1 - others.index(name)


def _rope(value: Mapping[str, Any]) -> dict[str, Any]:
    small = {k: _rope(v) if isinstance(v, Mapping) else v for k, v in value.items()}
    if "original_max_position_embeddings" in small:
        small["original_max_position_embeddings"] = ORIGINAL_POSITIONS
    return small


def _layers(config: PreTrainedConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of every kind: the different rows of the lists that have one entry a layer."""
    count_name = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    count = values.get(count_name)
    if not isinstance(count, int) or count <= LAYERS:
        return {}
    lists = {
        name: value
        for name, value in values.items()
        if isinstance(value, (list, tuple)) and len(value) == count and list(value) != list(range(count))
    }
    rows = list(dict.fromkeys(zip(*lists.values(), strict=True)))
    if not rows:
        return {}
    rows = rows * LAYERS if len(rows) < LAYERS else rows
    return {name: list(column) for name, column in zip(lists, zip(*rows, strict=True), strict=True)} | {
        count_name: len(rows)
    }


def tiny_config(family: str) -> PreTrainedConfig:
    """The tiny config of a family, or of one of `VARIANTS`.

    Raises:
        KeyError: a name that is neither, or a family that is left out, with the reason.
    """
    variant = VARIANTS.get(family, Variant(family, {}))
    if variant.family in LEFT_OUT:
        raise KeyError(f"{family} is left out: {LEFT_OUT[variant.family]}")
    if variant.family not in FAMILIES:
        raise KeyError(f"{family} is not a causal family of this transformers, and no variant")
    with _quiet():
        kind = CONFIG_MAPPING[variant.family]
        return kind(**shrunk(kind(), EXCEPTIONS.get(variant.family, {}) | dict(variant.settings)))


def tiny_model(family: str, *, seed: int = 0) -> PreTrainedModel:
    """A tiny model of a family or variant: random weights, float32, CPU, eval mode. The same seed gives the same weights.

    Raises:
        KeyError: as `tiny_config`.
    """
    config = tiny_config(family)
    with _quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        draw_weights(model)
        scale_logits(model)
    return model


MIXING_GAIN, TOKENWISE_GAIN, EMBEDDING_STD, LOGIT_STD = 2.2, 1.2, 0.3, 2.7
TOKENWISE = re.compile(
    r".*(mlp|ffn|ff\.|feed_forward|fc|dense_(h|4h)|intermediate|expert|moe|lin1|lin2|channel).*", re.IGNORECASE
)
KEPT = re.compile(r"A_log|D|time_.*|.*bias|scale|dt_proj.*|mask_emb|.*extensor|probe")
STEP_BIASES = re.compile(r"(.*\.)?(dt_bias|dt_proj\.bias|dt_proj_bias)")
AFTER_NORM = re.compile(r".*\.post_(attention|feedforward)_layernorm")
LONGEST_STEP, SHORTEST_STEP = 0.1, 0.005


def draw_weights(model: PreTrainedModel) -> None:
    """Matrices with a gain above one, so that context decides; recurrent states that fade over ten to two hundred tokens."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            if STEP_BIASES.fullmatch(f"{path}.{name}"):
                step = torch.empty_like(weight).uniform_(math.log(SHORTEST_STEP), math.log(LONGEST_STEP)).exp()
                weight.copy_(torch.log(torch.expm1(step)))
            elif name == "A":
                weight.normal_()
            elif name == "A_log" and weight.squeeze().ndim == 1:
                weight.uniform_(0.0, math.log(2.0))
            elif AFTER_NORM.fullmatch(path) and hasattr(
                model.get_submodule(path.rpartition(".")[0]), "pre_feedforward_layernorm"
            ):
                weight.add_(3.0)
            elif isinstance(module, nn.Embedding):
                weight.normal_(0.0, EMBEDDING_STD)
            elif weight.ndim >= 2 and not KEPT.fullmatch(name) and not _makes_steps(model, path):
                convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                fan_in = weight[0].numel() if convolution else min(weight.shape[-2:])
                gain = TOKENWISE_GAIN if TOKENWISE.fullmatch(path) else MIXING_GAIN
                weight.normal_(0.0, gain / math.sqrt(fan_in))


def _makes_steps(model: PreTrainedModel, path: str) -> bool:
    return path.endswith("dt_proj") and hasattr(model.get_submodule(path.rpartition(".")[0]), "A_log")


def scale_logits(model: PreTrainedModel) -> None:
    """Scale the output matrix so that the logits of a law spread by `LOGIT_STD`; where it is the input matrix too, in steps."""
    head = model.get_output_embeddings()
    if head is None:
        return
    ids = torch.randint(3, VOCABULARY - 16, (1, 24))
    for _ in range(4):
        spread = model(input_ids=ids, use_cache=False).logits.std(-1).mean()
        head.weight.mul_(LOGIT_STD / spread)


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(before)
