"""GGUF weights dequantised into a transformers folder."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freerun.errors import BackendError, first_line
from freerun.predictors.weights.declared import END_NAMES
from freerun.predictors.weights.tensors import check_tensors

_CONTROL = 3
"""The token type of GGUF that stands for no text (`LLAMA_TOKEN_TYPE_CONTROL`)."""


@dataclass(frozen=True)
class GGUFMarkers:
    """What the metadata of a GGUF file says of its tokens, and transformers' converter does not keep."""

    end_ids: dict[str, int]
    """By the name of the key: `eos_token_id`, `eot_token_id`, `eom_token_id`."""
    control_ids: tuple[int, ...]


def gguf_markers(gguf: Path) -> GGUFMarkers:
    """Read the ends and control tokens that a GGUF file declares.

    Raises:
        BackendError: its metadata cannot be read.
    """
    from gguf import GGUFReader

    try:
        fields = GGUFReader(str(gguf)).fields
        ends = {name: int(fields[key].contents()) for name in END_NAMES if (key := f"tokenizer.ggml.{name}") in fields}
        types = fields["tokenizer.ggml.token_type"].contents() if "tokenizer.ggml.token_type" in fields else []
        return GGUFMarkers(ends, tuple(i for i, kind in enumerate(types) if int(kind) == _CONTROL))
    except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
        raise BackendError(f"the metadata of {gguf.name} cannot be read: {error}") from error


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write `folder` in safetensors, with the tokenizer, from a GGUF file.

    Raises:
        BackendError: the hf extra is missing, transformers cannot read this architecture, or tensors are missing, of another shape
            or left over.
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
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                gguf_file=gguf.name,
                dtype="float32",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # a damaged file fails in any of three libraries, each with a class of its own
        raise BackendError(f"transformers cannot read {gguf.name}: {first_line(error)}") from error
    check_tensors(gguf.name, loading, spare=False)
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


# ---- tokenizers alone --------------------------------------------------------------------------------------------------


def gguf_tokenizer(gguf: Path) -> Any:
    """The tokenizer of a GGUF file, without its weights; raises what transformers raises."""
    from transformers import AutoTokenizer

    _keep_quiet()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    _restore_pretokenizer(gguf, tokenizer)
    return tokenizer


def tokenizer_of_folder(folder: Path) -> Any:
    """The tokenizer of a folder; raises what transformers raises. No code of the folder's own is run."""
    from transformers import AutoTokenizer

    _keep_quiet()
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def _keep_quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
