"""What became of the requests of a run's processes, one file a process; see `jobs.served.requests`."""

from __future__ import annotations

import json

from freerun.errors import DataError
from freerun.records.store import RunFolder
from freerun.results.json import from_json
from freerun.results.requests import Requests
from freerun.results.served import LawServed

FOLDER = "requests"
LAW_SERVED = "law_served.json"
SERVED_LAW = "served_law.json"
"""What the servers of a run say of a few tokens; see `jobs.served.same_law`."""


def read_requests(folder: RunFolder) -> Requests | None:
    """Of all processes that worked on a run; None where nothing was served.

    Raises:
        DataError: a damaged file (named).
    """
    out: Requests | None = None
    for path in sorted((folder.path / FOLDER).glob("*.json")):
        try:
            one = from_json(Requests, json.loads(path.read_text()))
        except (OSError, ValueError, DataError, RecursionError):
            raise DataError(
                f"{path} is damaged; remove it (the requests of one process are then not counted)"
            ) from None
        out = one if out is None else out.plus(one)
    return out


def read_law_served(folder: RunFolder) -> LawServed | None:
    """What the verification of the served text found; None where there was none.

    Raises:
        DataError: a damaged file.
    """
    path = folder.path / LAW_SERVED
    if not path.exists():
        return None
    try:
        return from_json(LawServed, json.loads(path.read_text()))
    except (OSError, ValueError, DataError, RecursionError):
        raise DataError(f"{path} is damaged; remove it, and run the same command again") from None
