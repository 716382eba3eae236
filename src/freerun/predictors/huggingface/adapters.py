"""Adapter folders (LoRA and its kin): found by their config, merged into their base by `peft`, or refused as what they are."""

from __future__ import annotations

import json
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers.utils import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from freerun.errors import BackendError, first_line
from freerun.predictors.weights.tensors import some

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """An adapter and its base. `beside`: the base's weights lie in the same folder, and `base_folder` shows them without it."""

    path: str
    base: str
    base_folder: str
    beside: bool
    has_tokenizer: bool
    scratch: ExitStack
    revision: str | None = None


def adapter_of(path: str, name: str, revision: str | None = None) -> Adapter | None:
    """The adapter that a folder or hub id is, or holds beside a model; None where there is none.

    Raises:
        BackendError: there is one, and no `peft` to apply it, no safetensors, or no word of its base.
    """
    folder = Path(path)
    local = folder.is_dir()
    try:
        found = str(folder / CONFIG) if local else find_adapter_config_file(path, revision=revision)
    except OSError:  # no network, or no such thing: said when the model is looked for
        found = None
    if found is None or not Path(found).is_file():
        return None
    try:
        said = json.loads(Path(found).read_text(encoding="utf-8"))
        kind, base = str(said.get("peft_type") or "adapter"), said.get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise BackendError(f"{name}: its {CONFIG} is not JSON ({error}); save the adapter again") from error
    if find_spec("peft") is None:
        raise BackendError(
            f"{name} is an adapter ({kind}) of {base or 'a model it does not name'}, not a model by itself: pip install "
            "'freerun[peft]' to have it applied, or merge it into its base and give that folder"
        )
    if local and not (folder / WEIGHTS).is_file():
        raise BackendError(
            f"{name} is an adapter ({kind}) without {WEIGHTS} (other weight files can run code and are not read)"
        )
    scratch = ExitStack()
    own = [p for p in folder.glob("*.safetensors") if p.name != WEIGHTS] if local else []
    has_tokenizer = local and bool(list(folder.glob("tokenizer*")))
    if own and (folder / "config.json").is_file():
        alone = scratch.enter_context(tempfile.TemporaryDirectory(prefix="freerun-base-"))
        for file in folder.iterdir():
            if file.is_file() and file.name not in (CONFIG, WEIGHTS):
                (Path(alone) / file.name).symlink_to(file.resolve())
        return Adapter(path, path, alone, True, True, scratch, revision)
    if not base:
        raise BackendError(
            f"{name} is an adapter ({kind}) whose {CONFIG} does not name its base model; add base_model_name_or_path"
        )
    where = base_folder_of(folder) if local else None
    place = str(base) if where is None else str(where)
    return Adapter(path, place, place, False, has_tokenizer, scratch, revision)


def base_folder_of(folder: Path) -> Path | None:
    """The folder of the base that a local adapter names, as it stands or seen from the adapter; None where it is none."""
    try:
        base = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return None
    places = (Path(str(base)).expanduser(), folder / str(base)) if base else ()
    return next((p for p in places if p.is_dir()), None)


def merged(model: Any, adapter: Adapter, name: str) -> Any:
    """The base model with the adapter in its weights.

    Raises:
        BackendError: it does not fit, or cannot be merged.
    """
    from peft import PeftModel

    with adapter.scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by names that will be others
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
        try:
            together = PeftModel.from_pretrained(model, adapter.path, revision=adapter.revision, use_safetensors=True)
            _check_taken(together, adapter, name)
            return together.merge_and_unload()
        except BackendError:
            raise
        except Exception as error:  # peft's own errors are of many classes
            raise BackendError(
                f"{name}: the adapter cannot be merged into {adapter.base}: {first_line(error)}"
            ) from error


def _check_taken(together: Any, adapter: Adapter, name: str) -> None:
    """All of the adapter's tensors are in the model, and it needs no others."""
    from peft import get_peft_model_state_dict

    file = Path(adapter.path) / WEIGHTS
    if not file.is_file():  # of the hub: peft has it in its cache
        found = cached_file(adapter.path, WEIGHTS, revision=adapter.revision)
        file = Path(str(found))
    with safe_open(file, framework="pt") as held:
        there = set(held.keys())
    wanted = set(get_peft_model_state_dict(together, save_embedding_layers=False))
    if left := sorted(there - wanted):
        raise BackendError(
            f"{name}: the adapter has {len(left)} tensor(s) that its base {adapter.base} has no place for ({some(left)}): it was "
            "trained on another model"
        )
    if missing := sorted(wanted - there):
        raise BackendError(
            f"{name}: the adapter lacks {len(missing)} tensor(s) that its {CONFIG} asks for ({some(missing)}); save it again"
        )
