"""Organisms by name, `MODEL+NAME,param=value…`: the entries of all files of this folder."""

from __future__ import annotations

from freerun.organisms.entry import OrganismEntry
from freerun.predictors.entries import collected

ORGANISMS: dict[str, OrganismEntry] = collected("freerun.organisms", OrganismEntry)
