"""What a checkpoint's own files declare: its ends of text, what it puts first, its window."""

from __future__ import annotations

from typing import Any


def leading_ids(tokenizer: Any) -> tuple[int, ...]:
    """The ids that the tokenizer itself puts before a text."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    wrapped = tokenizer.encode("a", add_special_tokens=True)
    for at in range(len(wrapped) - len(plain) + 1):
        if wrapped[at : at + len(plain)] == plain:
            return tuple(wrapped[:at])
    return ()


def end_ids_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that the model's own files declare as an end of text."""
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        value = getattr(source, "eos_token_id", None)
        found.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    return tuple(sorted(int(i) for i in found))


_WINDOWS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "max_seq_length",
    "max_target_positions",
    "seq_length",
    "n_ctx",
    "context_length",
)
"""What configs call the most tokens that a model was made for, the usual name first."""


def longest_context(model: Any) -> int | None:
    """The most tokens that the model was made for: what its config says, and what its tables of positions hold; None where
    neither says."""
    text = model.config.get_text_config(decoder=True)
    said = (getattr(text, name, None) for name in _WINDOWS)
    declared = next((v for v in said if isinstance(v, int) and v > 0), None)
    limits = [n for n in (declared, *_position_tables(model)) if n is not None]
    return min(limits, default=None)


def _position_tables(model: Any) -> list[int]:
    """How many tokens each learned table of absolute positions has a place for. Some begin after the padding id (RoBERTa), or
    after an offset (OPT)."""
    found = []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        rows = getattr(module, "num_embeddings", None)
        if not isinstance(rows, int) or not _names_positions(last):
            continue
        skipped = getattr(module, "offset", 0) or 0
        if getattr(module, "padding_idx", None) is not None:
            skipped = max(skipped, module.padding_idx + 1)
        found.append(rows - skipped)
    return found


def _names_positions(name: str) -> bool:
    return name in ("wpe", "embed_positions", "position_embeddings", "positions_embed", "position_embedding", "pos_emb")
