"""Vectors of texts from a named encoder: for those who want another eye on the texts than the model's own hidden states."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from freerun.errors import BackendError, first_line
from freerun.predictors.weights.tensors import check_tensors

BATCH = 32


class Encoder:
    """Mean of the last hidden states over a text's tokens (Reimers & Gurevych 2019), without padding, cut at the window."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str) -> None:
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self.fingerprint = fingerprint_of_weights(model)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "texts width"]:
        """One vector a text; zeros for a text without tokens."""
        rows = []
        for at in range(0, len(texts), BATCH):
            some = [t or " " for t in texts[at : at + BATCH]]
            most = min(int(getattr(self.model.config, "max_position_embeddings", 512)), 4096)
            read = self.tokenizer(some, return_tensors="pt", padding=True, truncation=True, max_length=most)
            read.pop("token_type_ids", None)
            if not read["input_ids"].shape[1]:
                rows.append(np.zeros((len(some), int(self.model.config.hidden_size)), np.float32))
                continue
            states = self.model(**read).last_hidden_state.float()
            seen = read["attention_mask"][:, :, None].float()
            rows.append(((states * seen).sum(1) / seen.sum(1).clamp(min=1)).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, int(self.model.config.hidden_size)), np.float32)


def load_encoder(path: str, *, name: str, trust_remote_code: bool = False) -> Encoder:
    """Load a transformer without its head, from a folder or a hub id; safetensors only.

    Raises:
        BackendError: nothing there, or no tokenizer that can pad.
    """
    transformers_logging.set_verbosity_error()
    try:
        model, loading = AutoModel.from_pretrained(
            path, use_safetensors=True, trust_remote_code=trust_remote_code, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # as in load_pretrained: four libraries, each with errors of its own
        raise BackendError(f"cannot load the encoder {name}: {first_line(error)}") from error
    missing = [n for n in loading["missing_keys"] if "pooler" not in n]  # not asked, and often not saved
    check_tensors(name, {**loading, "missing_keys": missing}, spare=True)  # its head, if it has one, is not used
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise BackendError(
                f"the tokenizer of {name} has no token to pad with, so it cannot read texts side by side"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return Encoder(model, tokenizer, name=name)


def fingerprint_of_weights(model: Any) -> str:
    """SHA-256 over names, shapes and values of all parameters, first 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
