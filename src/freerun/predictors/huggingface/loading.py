"""From a folder or a hub id to a predictor that has been tried. What is not whole, or not what it says, is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from freerun.errors import BackendError, first_line
from freerun.predictors.huggingface.adapters import adapter_of, merged
from freerun.predictors.huggingface.checking import settle
from freerun.predictors.huggingface.device_trial import loop_agrees
from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.huggingface.templates import CHAT_TEMPLATE, closing_ids
from freerun.predictors.rules import Identity
from freerun.predictors.tokenizing import NOTHING_MORE, Declared, check_tokenizer_files, read_vocabulary
from freerun.predictors.weights.tensors import check_tensors, some

SPREAD = "spread"
"""In the place of a device: the model's layers are laid over all devices there are, and what does not fit stays in main memory."""
Tell = Callable[[str], None]


def load_pretrained(
    path: str,
    *,
    identity: Identity,
    dtype: str = "fp32",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    end_ids: tuple[int, ...] | None = None,
    lead: tuple[int, ...] | None = None,
    declared: Declared = NOTHING_MORE,
    spare_weights: bool = False,
    chat: bool = False,
    known_as: str | None = None,
    tell: Tell = lambda _: None,
) -> HuggingFacePredictor:
    """Load a model and its tokenizer from a folder or a hub id. Safetensors only; no code from the checkpoint unless asked.

    `end_ids` are the ends that a user chose, in place of all that these files and the `declared` ones name. An adapter folder is
    merged into its base where `peft` is installed. `spare_weights`: tensors that the model has no place for
    may be left out. `chat`: what the chat template closes a turn with ends a text, too. `known_as`: a hash of all files, under
    which the outcome of the trial is kept.

    Raises:
        UsageError: an id among `end_ids` that the vocabulary does not have.
        BackendError: nothing there, no network, weights in a format that can run code, not a causal model, tensors that are
            missing, left over or of another shape, no way to read it that can be trusted, unknown device.
    """
    if device == SPREAD and find_spec("accelerate") is None:
        raise BackendError("--device spread lays a model over all devices, for which it needs: pip install accelerate")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    adapter = adapter_of(path, identity.name, revision)
    base = path if adapter is None else adapter.base
    options_of_base = options if adapter is None or adapter.beside else {**options, "revision": None}
    with _readable(identity.name):
        config = AutoConfig.from_pretrained(base, **options_of_base)
    family = _class_of(identity.name, config, trust_remote_code)
    own = adapter is None or adapter.has_tokenizer
    tokenizer_of = path if own else base
    with _readable(identity.name, tokenizer_of):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_of, **(options if own else options_of_base))
    with _readable(identity.name):
        spread = {"device_map": "auto"} if device == SPREAD else {}
        model, loading = family.from_pretrained(
            base if adapter is None else adapter.base_folder,
            output_loading_info=True,
            config=config,
            dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            **spread,
            **options_of_base,
        )
    check_tensors(identity.name, loading, spare=spare_weights)
    if empty := [n for n, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]:
        raise BackendError(
            f"{identity.name}: {len(empty)} tensor(s) have no values after loading ({some(empty)}): this version of transformers "
            "cannot load this kind of model whole"
        )
    if adapter is not None:
        model = merged(model, adapter, identity.name)
    model.config.return_dict = True
    if device != SPREAD:
        model = model.to(_pick_device(device))
    if chat:
        declared = replace(declared, end_ids={**declared.end_ids, CHAT_TEMPLATE: closing_ids(tokenizer)})
    lead, markers = read_vocabulary(model, tokenizer, declared, lead=lead, chosen=end_ids, name=identity.name)
    try:
        predictor = HuggingFacePredictor(
            model, tokenizer, identity=identity, lead=lead, end_ids=markers.end_ids, markers=markers
        )
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise BackendError(
            f"{identity.name}: a first pass over one token fails ({type(error).__name__}: {error}), so this kind of model "
            "cannot be read by its tokens alone, or not with this version of transformers"
        ) from error
    given_up = settle(predictor, known_as=known_as).reading.describe()
    if given_up:
        tell(
            f"{identity.name}: {given_up}, since its laws would not be those of fresh passes otherwise; this is slower"
        )
        predictor.identity.facts["reading"] = given_up
    if predictor.device.type != "cpu":
        predictor.loops_on_device = loop_agrees(predictor)
    return predictor


@contextmanager
def _readable(name: str, tokenizer_of: str | None = None) -> Iterator[None]:
    """Say in one line what fails inside: a damaged file can fail in any of four libraries, each with a class of its own."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        if tokenizer_of is not None:
            check_tokenizer_files(tokenizer_of, name)
        raise BackendError(
            f"cannot load {name}: {first_line(error)} (a hub id needs the network; a folder needs config.json, a tokenizer and "
            "*.safetensors; `freerun models` lists what needs neither)"
        ) from error


# ---- what is refused ---------------------------------------------------------------------------------------------------

_NOT_TEXT = ("vision", "image", "audio", "speech", "video")


def _class_of(name: str, config: Any, trust_remote_code: bool) -> Any:
    """The class that loads a causal language model, by its config."""
    kind = getattr(config, "model_type", "") or "unknown"
    if getattr(config, "is_encoder_decoder", False):
        raise BackendError(
            f"{name} is an encoder–decoder model ({kind}): it predicts a second text from a first one, while freerun audits models "
            "that continue one text; give a causal (decoder-only) model"
        )
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if own_code and not trust_remote_code:
        raise BackendError(f"{name} brings code of its own, which is not run unless you add --trust-remote-code")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or own_code:
        return AutoModelForCausalLM
    said = (getattr(config, "architectures", None) or [""])[0]
    if said.endswith(("ForCausalLM", "LMHeadModel")) and hasattr(transformers, said):
        return getattr(transformers, said)
    named = [n for n in _NOT_TEXT if any(n in key for key in config.to_dict())]
    what = f"a model that reads {named[0]}" if named else "not a causal language model"
    raise BackendError(
        f"{name} is {what} (its config says {said or kind}): transformers has no law of the next token of a text for it; give a "
        "causal (decoder-only) language model"
    )


def _pick_device(device: str) -> torch.device:
    torch.backends.cuda.matmul.allow_tf32 = False
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"--device {device} is not available here; use --device auto or cpu") from error
    return chosen
