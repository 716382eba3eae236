"""How a corpus is cut into tokens that all models of a family share: bytes, or a small byte-pair encoding.

Names: `bytes` · `bpe:N`, N tokens learned from the training documents (byte-level, so that every text can be cut) · a
`tokenizer.json` of the tokenizers library, with `@` and the beginning of its SHA-256 once it was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int

from freerun.errors import DataError, UsageError
from freerun.files import cannot, sha256_of

BYTES = "bytes"
N_BYTES = 256
LEAST_BPE, MOST_TOKENS = 300, 8192
"""A byte-level encoding has 256 tokens before its first merge; beyond so many, embeddings are most of a small model."""
FILE = "tokenizer.json"
"""A run's own, for other runs to share."""
_DIGITS = 16
_FILE = re.compile(rf"(.*\.json)(?:@([0-9a-f]{{{_DIGITS}}}))?")


class Tokens(Protocol):
    """Ids of texts, and text of ids."""

    n_tokens: int

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " tokens"]]: ...
    def spelled(self, ids: Int[np.ndarray, " tokens"]) -> str: ...


class Bytes:
    """Every byte is a token."""

    n_tokens = N_BYTES

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " tokens"]]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int64) for text in texts]

    def spelled(self, ids: Int[np.ndarray, " tokens"]) -> str:
        return bytes(int(i) for i in ids).decode("utf-8", "replace")


class FastTokens:
    """A tokenizer of the tokenizers library."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.n_tokens = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " tokens"]]:
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.int64) for e in encoded]

    def spelled(self, ids: Int[np.ndarray, " tokens"]) -> str:
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))

    def to_json(self) -> str:
        """The file that gives it again."""
        return str(self._tokenizer.to_str(pretty=True))


def named(name: str) -> str:
    """The name of a tokenizer as a plan has it, checked; a file's with what it holds.

    Raises:
        UsageError: no such tokenizer, or one with too many tokens. DataError: a file that is not a tokenizer.
    """
    if name == BYTES:
        return name
    if name.startswith("bpe:"):
        size = name.removeprefix("bpe:")
        if not re.fullmatch(r"\d{1,6}", size) or not LEAST_BPE <= int(size) <= MOST_TOKENS:
            raise UsageError(
                f"--tokenizer {name}: bpe:N learns N tokens from {LEAST_BPE} to {MOST_TOKENS:,}, as in bpe:512"
            )
        return name
    if not _FILE.fullmatch(name):
        raise UsageError(
            f"--tokenizer {name}: there are bytes, bpe:N (N tokens learned from the corpus) and a file tokenizer.json. A large "
            f"model's tokenizer does not fit small models: its embeddings alone would be most of them"
        )
    path, digest = _file(name)
    found = _digest(path)
    if digest and found != digest:
        raise DataError(f"{path} is not the tokenizer that this run began with (SHA-256 {found}, not {digest})")
    _read(path)
    return f"{path}@{found}"


def size_of(name: str) -> int:
    """Number of tokens, before anything is learned; `bpe:N` may learn fewer from a small corpus."""
    if name == BYTES:
        return N_BYTES
    return int(name.removeprefix("bpe:")) if name.startswith("bpe:") else _read(_file(named(name))[0]).n_tokens


def tokens_of(name: str, training: Iterable[str]) -> Tokens:
    """The tokenizer of a name; `training` are the documents that a byte-pair encoding is learned from.

    Raises:
        DataError: the file has changed or cannot be read.
    """
    if name == BYTES:
        return Bytes()
    if name.startswith("bpe:"):
        return _learned(int(name.removeprefix("bpe:")), training)
    return _read(_file(named(name))[0])


def _learned(size: int, training: Iterable[str]) -> FastTokens:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): the same documents give the same merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(training, trainer)
    return FastTokens(tokenizer)


def _file(name: str) -> tuple[Path, str]:
    """The file of a name, and what it held when it was first read; nothing where that is not said."""
    match = _FILE.fullmatch(name)
    assert match is not None
    return Path(match[1]), match[2] or ""


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)[:_DIGITS]
    except OSError as error:
        raise cannot("read", path, error) from error


def _read(path: Path) -> FastTokens:
    from tokenizers import Tokenizer

    try:
        tokens = FastTokens(Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises the base class
        raise DataError(f"{path} is not a tokenizer.json of the tokenizers library: {error}") from error
    if tokens.n_tokens > MOST_TOKENS:
        raise UsageError(
            f"--tokenizer {path}: its {tokens.n_tokens:,} tokens are more than the {MOST_TOKENS:,} that small models can have; "
            "bpe:512 learns a small one"
        )
    return tokens
