"""The model that is trained, as transformers has it: its own weights in float32, nothing merged, packed or rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from freerun.errors import BackendError, UsageError, first_line
from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights


def folder_of(spec: str) -> tuple[str, str | None]:
    """Where a model's files are: a folder or a hub id, and its revision.

    Raises:
        UsageError: a spec that is not a model of transformers by itself.
    """
    if spec in CATALOGUE:
        return str(catalogue_weights(CATALOGUE[spec], tell=lambda _: None)), None
    if not spec.startswith("hf/") or "+" in spec or "," in spec:
        raise UsageError(
            f"{spec!r} cannot be trained: give a model with weights of its own, hf/ORG/NAME, hf/./folder or one of "
            f"{', '.join(CATALOGUE)}, without options"
        )
    path, _, revision = spec.removeprefix("hf/").partition("@")
    return str(Path(path).expanduser()) if path.startswith((".", "~", "/")) else path, revision or None


def load_trainable(spec: str) -> tuple[Any, Any, str]:
    """A model of transformers with its tokenizer and its name.

    Raises:
        UsageError: see `folder_of`. BackendError: it cannot be loaded.
    """
    folder, revision = folder_of(spec)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, revision=revision, dtype=torch.float32, use_safetensors=True, attn_implementation="sdpa"
        )
        return model, AutoTokenizer.from_pretrained(folder, revision=revision), spec
    except Exception as error:  # of four libraries
        raise BackendError(f"cannot load {spec} for training: {first_line(error)}") from error
