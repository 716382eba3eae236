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


def longest_context(config: Any) -> int | None:
    """The most tokens that the model was made for; None where it does not say."""
    text = config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
