"""GGUF weights dequantised into a transformers folder."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from freerun.errors import BackendError


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write `folder` in safetensors, with the tokenizer, from a GGUF file.

    Raises:
        BackendError: the hf extra is missing, or transformers cannot read this architecture.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise BackendError("reading models needs the hf extra: pip install 'freerun[hf]'") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
        ):  # its progress bar cannot be turned off
            warnings.simplefilter("ignore")
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype="float32")
    except Exception as error:  # a damaged file fails in any of three libraries, each with a class of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(f"transformers cannot read {gguf.name}: {reason}") from error
    _restore_pretokenizer(gguf, tokenizer)
    # a model that came from GGUF refuses to be saved while it still remembers its quantizer
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _restore_pretokenizer(gguf: Path, tokenizer: Any) -> None:
    """SmolLM's tokenizer splits off every digit before anything else; the GGUF reader forgets it ("   19" comes out otherwise)."""
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(str(gguf)).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
        )
