"""Organisms by name, `MODEL+NAME,param=value…`: the entries of all files of this folder."""

from __future__ import annotations

from freerun.organisms.entry import OrganismEntry
from freerun.predictors.entries import collected, entry_of

ORGANISMS: dict[str, OrganismEntry] = collected("freerun.organisms", OrganismEntry)


def organism(name: str) -> OrganismEntry:
    """The entry of a name. Raises UsageError where there is none."""
    return entry_of(ORGANISMS, name, "organism")
