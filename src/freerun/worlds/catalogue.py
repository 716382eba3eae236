"""Worlds by name, `world/NAME[,param=value…]`: the entries of all files of this folder."""

from __future__ import annotations

from typing import Any

from freerun.predictors.entries import collected, entry_of
from freerun.worlds.base import World, WorldEntry

WORLDS: dict[str, WorldEntry] = collected("freerun.worlds", WorldEntry)


def load_world(spec: str) -> World[Any]:
    """Build `NAME[,param=value…]`.

    Raises:
        UsageError: no such world or parameter, or a value that it cannot have.
    """
    name, *settings = spec.split(",")
    entry = entry_of(WORLDS, name, "world")
    return entry.build(**entry.read(settings))  # type: ignore[no-any-return]
