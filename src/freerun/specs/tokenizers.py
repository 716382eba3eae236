"""From what people type as a model to its tokenizer, without the model's weights where it has any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.entries import split_outside, unwrapped
from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights
from freerun.specs.provider import Tell
from freerun.specs.providers import provider_of
from freerun.specs.spec import load_predictor


class Tokenizer(Protocol):
    """Ids of texts, and the bytes of ids."""

    name: str
    special_ids: frozenset[int]
    """Ids that stand for no text, ends of text among them."""

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]]: ...
    def token_bytes(self, token_id: int) -> bytes: ...


class PredictorTokens:
    """The tokenizer of a predictor that costs nothing to build."""

    def __init__(self, predictor: Predictor, *, name: str) -> None:
        self.name, self._predictor = name, predictor
        self.special_ids = frozenset(predictor.end_ids)

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]]:
        return [np.asarray(self._predictor.encode(text), np.int32) for text in texts]

    def token_bytes(self, token_id: int) -> bytes:
        return self._predictor.token_bytes(token_id)


def load_tokenizer(spec: str, *, trust_remote_code: bool = False, tell: Tell = lambda _: None) -> Tokenizer:
    """The tokenizer of the model that a spec names; organisms and options on it change nothing.

    Raises:
        UsageError: no such model. BackendError, DataError: it cannot be loaded.
    """
    model = split_outside(spec, "+")[0]
    provider, name = provider_of(unwrapped(split_outside(model, ",")[0]))
    if not provider.weights:
        return PredictorTokens(load_predictor(model, tell=tell), name=spec)
    provider.check_installed()
    from freerun.predictors.huggingface.tokenizer import HuggingFaceTokenizer

    if spec in CATALOGUE or name in CATALOGUE:
        return HuggingFaceTokenizer(str(catalogue_weights(CATALOGUE[name], tell=tell)), name=name)
    if provider.name == "gguf":
        raise UsageError(
            f"--tokenizer {spec}: a GGUF file is converted whole, tokenizer and weights; name the model's folder or its hub id"
        )
    path, _, revision = name.partition("@")
    if name.startswith((".", "/", "~")):
        path, revision = str(Path(name).expanduser()), ""
    return HuggingFaceTokenizer(path, name=spec, revision=revision or None, trust_remote_code=trust_remote_code)
