"""Samples that someone else drew: read in many formats, written in ours, also from inside trainers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freerun.samples.trainers.openrlhf import from_openrlhf
    from freerun.samples.trainers.trl import from_trl
    from freerun.samples.trainers.verl import from_verl

__all__ = ["from_openrlhf", "from_trl", "from_verl"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'freerun.samples' has no attribute {name!r}")
    return getattr(import_module(f"freerun.samples.trainers.{name.removeprefix('from_')}"), name)
