"""What a checkpoint's own files declare: its ends of text, what it puts first, its window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freerun.errors import BackendError, UsageError
from freerun.predictors.markers import EndToken

END_NAMES = ("eos_token_id", "eot_token_id", "eom_token_id")
"""End of a sequence, of a turn, of a message: keys of configs, of tokenizers, and of GGUF metadata after `tokenizer.ggml.`."""

DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>", "<｜end▁of▁sentence｜>")
"""Spellings that end a document in the training data of whole families of models (GPT-2, Llama, Gemma, Qwen, DeepSeek …). Only a
special token counts: where the same letters are an ordinary token, text may hold them."""

BY_SPELLING = "its spelling"
BY_HAND = "--end-ids"
CATALOGUE_NAME = "the catalogue"


def leading_ids(tokenizer: Any) -> tuple[int, ...]:
    """The ids that the tokenizer itself puts before a text."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    wrapped = tokenizer.encode("a", add_special_tokens=True)
    for at in range(len(wrapped) - len(plain) + 1):
        if wrapped[at : at + len(plain)] == plain:
            return tuple(wrapped[:at])
    return ()


def declared_ends(
    model: Any, tokenizer: Any, control: Mapping[int, str], *, beside: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[EndToken, ...]:
    """Every id that anything declares as an end of text, the one that ends documents first, the others ascending.

    Asked are the config, its text part, the generation config and the tokenizer; `beside` is what other files say (GGUF metadata,
    the catalogue), by their name. A special token that is spelled as an end of document (`DOCUMENT_ENDS`) is one, declared or not:
    a chat model names the end of a turn there, and still ends documents as it was taught to.

    Raises:
        BackendError: something is declared that is not an id.
    """
    config = model.config
    sources = (
        ("config", config),
        ("config", config.get_text_config(decoder=True)),
        ("generation config", getattr(model, "generation_config", None)),
        ("tokenizer", tokenizer),
    )
    said: dict[int, list[str]] = {}

    def say(ids: Iterator[int] | tuple[int, ...], who: str) -> None:
        for i in ids:
            known = said.setdefault(i, [])
            if who not in known:
                known.append(who)

    for who, source in sources:
        for name in END_NAMES:
            say(_ids_in(getattr(source, name, None), f"{name} of the {who}"), who)
    for who, ids in (beside or {}).items():
        say(ids, who)
    for i, token in control.items():
        if token in DOCUMENT_ENDS:
            say((i,), BY_SPELLING)
    ends = [EndToken(i, control.get(i, ""), tuple(who)) for i, who in sorted(said.items())]
    return tuple(sorted(ends, key=lambda end: _document_end_rank(end, tokenizer)))


def _document_end_rank(end: EndToken, tokenizer: Any) -> tuple[bool, bool, int]:
    """Spelled as an end of document first, among those the tokenizer's own, then by id."""
    own = getattr(tokenizer, "eos_token_id", None) == end.token_id
    spelled = end.spelling in DOCUMENT_ENDS
    return not spelled, not (spelled and own), end.token_id


def _ids_in(value: Any, where: str) -> Iterator[int]:
    """The ids of a number or of (nested) lists of numbers; None declares nothing."""
    if value is None:
        return
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _ids_in(one, where)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield int(value)
    else:
        raise BackendError(
            f"{where} is {value!r}, which is not an id: mend the file, or say which ids end a text with --end-ids"
        )


def chosen_ends(ids: tuple[int, ...], control: Mapping[int, str], *, n_tokens: int, name: str) -> tuple[EndToken, ...]:
    """The ends that a user chose, in the order in which they were typed.

    Raises:
        UsageError: an id that the vocabulary does not have.
    """
    for i in ids:
        if not 0 <= i < n_tokens:
            raise UsageError(f"--end-ids: {name} has no id {i}; its ids are 0 to {n_tokens - 1}")
    return tuple(EndToken(i, control.get(i, ""), (BY_HAND,)) for i in dict.fromkeys(ids))


def read_end_ids(text: str) -> tuple[int, ...]:
    """Ids as they are typed after `--end-ids`.

    >>> read_end_ids("151643, 151645")
    (151643, 151645)

    Raises:
        UsageError: not whole numbers with commas between them.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--end-ids {text!r}: give ids with commas between them, for example --end-ids 0,2") from None


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
