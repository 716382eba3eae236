"""What became of the requests of a run, over all the processes that worked on it: `requests/SESSION.json` in its folder."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

from freerun.files import write_atomically
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.servers.faults import Tally
from freerun.predictors.servers.predictor import ServedModel
from freerun.records.requests import FOLDER, read_requests
from freerun.records.store import RunFolder
from freerun.results.finding import to_json
from freerun.results.requests import NO_REQUESTS, FailedRequest, Requests


def served_in(predictor: Predictor) -> ServedModel | None:
    """The served model that a predictor is, or whose text it reads."""
    if isinstance(predictor, OwnTextFrom):
        predictor = predictor.writer
    return predictor if isinstance(predictor, ServedModel) else None


def requests_of(predictor: Predictor) -> Requests | None:
    """The requests that this process sent; None where nothing is served."""
    served = served_in(predictor)
    if served is None:
        return None
    tally = served.client.tally
    failures = tuple(FailedRequest(f.path, f.kind, f.why, f.attempts) for f in tally.failed)
    return Requests(tally.answered, dict(sorted(tally.retried.items())), len(failures), failures)


_WRITTEN: WeakKeyDictionary[Tally, Requests] = WeakKeyDictionary()
"""What of each tally is written down: several runs of one process may use a model, and each request is counted once."""


class Log:
    """Keeps the requests of this process in a run's folder: written anew after every part, and at the end, however that comes."""

    def __init__(self, folder: Path, predictors: tuple[Predictor, ...]) -> None:
        self.predictors = predictors
        self.path = folder / FOLDER / f"{uuid.uuid4().hex[:12]}.json"
        self._mine: Requests | None = None

    def write(self) -> None:
        """Count what was sent since anything was written down, and write all that was counted here."""
        for predictor in self.predictors:
            served, seen = served_in(predictor), requests_of(predictor)
            if served is None or seen is None:
                continue
            new = seen.since(_WRITTEN.get(served.client.tally, NO_REQUESTS))
            _WRITTEN[served.client.tally] = seen
            self._mine = new if self._mine is None else replace(self._mine.plus(new), sessions=1)
        if self._mine is not None:
            write_atomically(self.path, json.dumps(to_json(self._mine), allow_nan=False) + "\n")


def requests_in(folder: Path) -> Requests | None:
    """Of all processes that worked in a folder."""
    return read_requests(RunFolder(folder))
