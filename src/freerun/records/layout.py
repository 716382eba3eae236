"""How a run's work is cut into parts where a first look at a few documents comes before the rest.

It is not part of the plan: what a run measures does not depend on it, and neither does the plan hash. The manifest names the
documents of the first look, so that whoever goes on with the run cuts the rest around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.errors import DataError
from freerun.records.manifest import Manifest
from freerun.results.first_look import FirstLook

FIRST_PARTS = "first-"
"""What the names of the parts of a first look begin with."""


def layout_of(pairs: Sequence[int], n_units: int) -> dict[str, Any]:
    """What a manifest says of a first look at some pairs, which come from `n_units` independent units."""
    return {"first_look": {"pairs": list(pairs), "independent_units": n_units}}


def first_pairs(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of the pairs of a run's first look, in order; empty where it has none.

    Raises:
        DataError: the manifest says something else there.
    """
    if "layout" not in manifest:
        return ()
    try:
        pairs = tuple(int(n) for n in manifest["layout"]["first_look"]["pairs"])
        if not pairs or list(pairs) != sorted(set(pairs)) or pairs[0] < 0 or pairs[-1] >= manifest["counts"]["pairs"]:
            raise ValueError(pairs)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            "manifest.json cannot be read (layout names no documents); the run must be made again"
        ) from error
    return pairs


QUICK = " --quick"
"""What the command of a first look has after that of its audit."""


def as_first_look(manifest: Manifest) -> Manifest:
    """The manifest where the first look is all that there is: its counts are those, and its command asks for it alone."""
    n = len(first_pairs(manifest))
    held = manifest["layout"]["first_look"]
    counts = {**manifest["counts"], "pairs": n, "independent_units": held["independent_units"]}
    look = FirstLook(n, int(manifest["counts"]["pairs"]))
    alone = Manifest({**manifest, "counts": counts, "first_look": look, "command": f"{manifest['command']}{QUICK}"})
    alone.source = manifest.source
    return alone
