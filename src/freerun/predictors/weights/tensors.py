"""Whether the tensors of a file are those of the model that its config describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.errors import BackendError


def check_tensors(name: str, loading: Mapping[str, Any], *, spare: bool) -> None:
    """Hold transformers' account of a loading (`output_loading_info`) against what must be: the file has what the model needs, in
    its shapes, and the model takes what the file has. `spare`: what it does not take may be left out.

    Raises:
        BackendError: names the tensors.
    """
    if missing := sorted(loading["missing_keys"]):
        raise BackendError(
            f"the weights of {name} lack {len(missing)} tensors ({missing[0]} first), which would be random; get the whole "
            "checkpoint"
        )
    if unlike := sorted(loading["mismatched_keys"], key=str):
        tensor, *shapes = unlike[0] if isinstance(unlike[0], (tuple, list)) else (unlike[0],)
        sizes = " where its config says ".join("×".join(map(str, tuple(s))) for s in shapes)
        raise BackendError(
            f"the weights of {name} do not fit its config.json: {tensor}{f' is {sizes}' if sizes else ''} "
            f"({len(unlike)} tensor(s) in all); one of the two is of another model"
        )
    left = sorted(loading["unexpected_keys"])
    if left and not spare:
        raise BackendError(
            f"the weights of {name} hold {len(left)} tensor(s) that the model of its config.json has no place for ({some(left)}): "
            f"what would be measured is not what was trained{_likely(left)}. If they are really of no use, add ,spare-weights=drop "
            "after the model's name"
        )


def some(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _likely(names: Sequence[str]) -> str:
    """What left-over tensors usually are, by their names."""
    if any("lora_" in n for n in names):
        return "; these are LoRA tensors: merge them, or keep them in an adapter folder with its adapter_config.json"
    if any(n.startswith(("score.", "classifier.")) for n in names):
        return "; this is the head of a classifier"
    return ""
