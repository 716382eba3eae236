"""The bytes that each id of a tokenizer stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
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


def token_ends(tokenizer: Any, text: str) -> list[int] | None:
    """How many characters of `text` have been read after each of its tokens; None for slow tokenizers, which do not say.

    Characters that no token stands for (an accent that was composed or stripped) were read with the token before, white space with
    the one after.
    """
    if not getattr(tokenizer, "is_fast", False):
        return None
    read = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    spans = read["offset_mapping"]
    ends = []
    for (_, end), (following, _) in zip(spans, [*spans[1:], (len(text), 0)], strict=True):
        while end < following and not text[end].isspace():
            end += 1
        ends.append(int(end))
    return ends


def byte_table(tokenizer: Any, n_tokens: int, control: Collection[int] = ()) -> list[bytes]:
    """Bytes of every id, by the tokenizer's own decoder; markers and ids without a token stand for no bytes.

    Byte-level tokenizers (GPT-2's table), SentencePiece ones (`▁` and `<0xAB>`), WordPiece (`##` goes on with a word, anything
    else follows a space) and BPE with an end-of-word sign (`</w>`) are known.
    """
    spelled = {i: token for token, i in tokenizer.get_vocab().items()}  # ids may have holes
    tokens = [spelled.get(i) for i in range(n_tokens)]
    added = dict(tokenizer.added_tokens_decoder)
    special = control_tokens(tokenizer, n_tokens, control)
    spell = _speller(tokenizer)
    out = []
    for i, token in enumerate(tokens):
        if token is None or i in special:
            out.append(b"")
        elif i in added:
            out.append(added[i].content.encode())
        else:
            out.append(spell(token))
    return out


def _speller(tokenizer: Any) -> Callable[[str], bytes]:
    """From an ordinary token to its bytes, by the kind of the tokenizer."""
    if _is_byte_level(tokenizer):
        table = _bytes_of_characters()
        return lambda token: _by_table(token, table)
    decoder = _decoder(tokenizer)
    if decoder.get("type") == "WordPiece":
        goes_on = str(decoder["prefix"])
        return lambda token: (token.removeprefix(goes_on) if token.startswith(goes_on) else f" {token}").encode()
    if decoder.get("type") == "BPEDecoder":
        end_of_word = str(decoder["suffix"])
        return lambda token: token.replace(end_of_word, " ").encode()
    return _sentencepiece


def _sentencepiece(token: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode()


def _decoder(tokenizer: Any) -> dict[str, Any]:
    """What the decoder of a fast tokenizer says of itself; empty where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return {}
    return dict(json.loads(backend.decoder.__getstate__()))


def _by_table(token: str, table: dict[str, int]) -> bytes:
    try:
        return bytes(map(table.__getitem__, token))
    except KeyError:  # spelled with a character that stands for no byte
        return token.encode()


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in f"{backend.pre_tokenizer} {backend.decoder}"
