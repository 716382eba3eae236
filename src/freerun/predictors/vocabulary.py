"""The bytes that each id of a tokenizer stands for."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's table from printable characters to bytes (Radford et al. 2019, encoder.py)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): b for b in printable}
    spare = 256
    for b in range(256):
        if b not in printable:
            table[chr(spare)] = b
            spare += 1
    return table


_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def control_tokens(tokenizer: Any, n_tokens: int, more: Collection[int] = ()) -> dict[int, str]:
    """Spelling of every special token below `n_tokens`; `more`: ids that another file calls so (a GGUF's token types)."""
    spelled = {i: token for token, i in tokenizer.get_vocab().items()}
    special = {*tokenizer.all_special_ids, *more, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}
    return {i: spelled[i] for i in sorted(special) if 0 <= i < n_tokens and i in spelled}


def rows_without_token(tokenizer: Any, n_tokens: int) -> tuple[tuple[int, int], ...]:
    """First and last id of every run of ids below `n_tokens` that the tokenizer has no token for."""
    known = set(tokenizer.get_vocab().values())
    runs: list[tuple[int, int]] = []
    for i in range(n_tokens):
        if i in known:
            continue
        runs[-1:] = [(runs[-1][0], i)] if runs and runs[-1][1] == i - 1 else [*runs[-1:], (i, i)]
    return tuple(runs)


def token_starts(tokenizer: Any, text: str) -> list[int] | None:
    """The character of `text` at which each of its tokens begins; None for tokenizers that do not say (the slow ones)."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    read = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    return [int(start) for start, _ in read["offset_mapping"]]


def byte_table(tokenizer: Any, n_tokens: int, control: Collection[int] = ()) -> list[bytes]:
    """Bytes of every id, by the tokenizer's own decoder; markers and ids without a token stand for no bytes.

    Byte-level tokenizers (GPT-2's table) and SentencePiece ones (`▁` and `<0xAB>`) are known.
    """
    spelled = {i: token for token, i in tokenizer.get_vocab().items()}  # ids may have holes
    tokens = [spelled.get(i) for i in range(n_tokens)]
    special = set(tokenizer.all_special_ids)
    added = dict(tokenizer.added_tokens_decoder)
    special |= {i for i, t in added.items() if t.special} | set(control)
    table = _bytes_of_characters()
    byte_level = _is_byte_level(tokenizer)
    out = []
    for i, token in enumerate(tokens):
        if token is None or i in special:
            out.append(b"")
        elif i in added:
            out.append(added[i].content.encode())
        elif byte_level:
            out.append(_by_table(token, table))
        elif match := _BYTE_TOKEN.fullmatch(token):
            out.append(bytes([int(match[1], 16)]))
        else:
            out.append(token.replace("▁", " ").encode())
    return out


def _by_table(token: str, table: dict[str, int]) -> bytes:
    try:
        return bytes(map(table.__getitem__, token))
    except KeyError:  # spelled with a character that stands for no byte
        return token.encode()


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in f"{backend.pre_tokenizer} {backend.decoder}"
