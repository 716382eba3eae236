"""A model's tokenizer alone, without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from freerun.errors import BackendError, first_line
from freerun.predictors.tokenizing import check_tokenizer_files
from freerun.predictors.vocabulary import byte_table


class HuggingFaceTokenizer:
    """Ids of texts, and the bytes of ids, by a tokenizer of transformers."""

    def __init__(self, path: str, *, name: str, revision: str | None = None, trust_remote_code: bool = False) -> None:
        """Load it from a folder or a hub id.

        Raises:
            BackendError: there is none, or it cannot be read.
        """
        transformers_logging.set_verbosity_error()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                path, revision=revision, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # a damaged file can fail in any of three libraries, each with a class of its own
            if Path(path).is_dir():
                check_tokenizer_files(path, name)
            raise BackendError(f"cannot load the tokenizer of {name}: {first_line(error)}") from error
        self.name = name
        self.special_ids = frozenset(int(i) for i in self._tokenizer.all_special_ids)
        self._bytes = byte_table(self._tokenizer, 1 + max(self._tokenizer.get_vocab().values()), ())

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]]:
        """Ids of each text; a marker such as `<|im_end|>` written in the text is text."""
        if not texts:
            return []
        found = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [np.asarray(ids, np.int32) for ids in found["input_ids"]]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that an id stands for; none for markers and ids that the tokenizer does not have."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""
