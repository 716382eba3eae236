"""A loaded tokenizer beside its model: whether it can be used at all, and what of the vocabulary is not text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freerun.errors import BackendError
from freerun.predictors.markers import Markers
from freerun.predictors.vocabulary import control_tokens, rows_without_token
from freerun.predictors.weights.declared import chosen_ends, declared_ends, leading_ids

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json with merges.txt",
    "vocab.txt",
    "tekken.json",
)
"""What transformers reads tokenizers from."""


@dataclass(frozen=True)
class Declared:
    """What files other than the model folder's own say of its tokens."""

    end_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By who says it, for example `GGUF eot_token_id`."""
    control_ids: tuple[int, ...] = ()


NOTHING_MORE = Declared()


def read_vocabulary(
    model: Any,
    tokenizer: Any,
    declared: Declared,
    *,
    lead: tuple[int, ...] | None,
    chosen: tuple[int, ...] | None,
    name: str,
) -> tuple[tuple[int, ...], Markers]:
    """The ids that stand before a text (`lead`, or what the tokenizer puts there), and what of the vocabulary is not text.

    `chosen`: the ends that a user wants in place of those declared.

    Raises:
        UsageError: a chosen end that the output layer has no row for.
        BackendError: no tokenizer, one that puts an id first without a row, or something is declared that is not an id.
    """
    head = model.get_output_embeddings()
    rows = getattr(head, "weight", None)
    n_rows = int(model.config.get_text_config(decoder=True).vocab_size if rows is None else rows.shape[0])
    first = _checked_lead(tokenizer, lead, n_rows=n_rows, name=name)
    control = control_tokens(tokenizer, n_rows, declared.control_ids)
    if chosen is not None:
        ends = chosen_ends(chosen, control, n_tokens=n_rows, name=name)
    else:
        ends = declared_ends(model, tokenizer, control, beside=declared.end_ids)
    markers = Markers(
        ends=tuple(end for end in ends if 0 <= end.token_id < n_rows),
        ends_without_row=tuple(end for end in ends if not 0 <= end.token_id < n_rows),
        control=control,
        without_token=rows_without_token(tokenizer, n_rows),
    )
    return first, markers


def check_tokenizer_files(path: str, name: str) -> None:
    """Refuse a model's folder without a single file that a tokenizer could be in; anything else (a hub id) passes.

    Raises:
        BackendError: there is none.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        return
    words = ("token", "vocab", "merges", "tekken", ".model", "spiece")
    names = {p.name.lower() for p in folder.iterdir()} - {"special_tokens_map.json", "added_tokens.json"}
    if not any(word in n for n in names for word in words):
        raise _without_tokenizer(name)


def _without_tokenizer(name: str) -> BackendError:
    return BackendError(
        f"{name} has no tokenizer: copy its tokenizer files beside config.json (looked for: {', '.join(TOKENIZER_FILES)})"
    )


def _checked_lead(tokenizer: Any, lead: tuple[int, ...] | None, *, n_rows: int, name: str) -> tuple[int, ...]:
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
        raise _without_tokenizer(name)  # transformers makes one without a single word in it
    first = leading_ids(tokenizer) if lead is None else lead
    beyond = [i for i in first if not 0 <= i < n_rows]
    if beyond:
        raise BackendError(
            f"the tokenizer of {name} puts id {beyond[0]} first, and the model has rows for ids 0 to {n_rows - 1} only: tokenizer "
            "and weights are not of the same model"
        )
    return first
