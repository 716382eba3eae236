"""Organisms by name, `MODEL+NAME,param=value…`: the entries of all files of this folder."""

from __future__ import annotations

from freerun.errors import UsageError, nearest
from freerun.organisms.entry import OrganismEntry
from freerun.predictors.entries import collected

ORGANISMS: dict[str, OrganismEntry] = collected("freerun.organisms", OrganismEntry)


def organism(name: str) -> OrganismEntry:
    """The entry of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in ORGANISMS:
        raise UsageError(f"unknown organism {name!r}{nearest(name, ORGANISMS)}; known: {', '.join(ORGANISMS)}")
    return ORGANISMS[name]
