"""Exact worlds as models."""

from __future__ import annotations

from freerun.specs.provider import Provider
from freerun.worlds.catalogue import WORLDS, load_world


def check_world(name: str) -> None:
    """Raises UsageError where no such world is; its parameters are checked when it is built."""
    if name.split(",")[0] not in WORLDS:
        load_world(name)


WORLD = Provider(
    "world",
    (("world/NAME[,param=value…]", "an exact process: its law is known, so the audit must find nothing"),),
    lambda name, options, tell: load_world(name),
    own_settings=True,
    exact=True,
    check=check_world,
)
