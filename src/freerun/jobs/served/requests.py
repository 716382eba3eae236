"""What became of the requests of a run, over all the processes that worked on it: `requests/SESSION.json` in its folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

from freerun.files import write_atomically
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.servers.predictor import ServedModel
from freerun.records.requests import FOLDER, read_requests
from freerun.records.store import RunFolder
from freerun.results.finding import to_json
from freerun.results.requests import FailedRequest, Requests


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


class Log:
    """Keeps the requests of this process in a run's folder: written anew after every part, and at the end, however that comes."""

    def __init__(self, folder: Path, predictors: tuple[Predictor, ...]) -> None:
        self.predictors = predictors
        self.path = folder / FOLDER / f"{uuid.uuid4().hex[:12]}.json"

    def write(self) -> None:
        if (seen := total(self._each())) is not None:
            write_atomically(self.path, json.dumps(to_json(seen), allow_nan=False) + "\n")

    def _each(self) -> Iterator[Requests]:
        for predictor in self.predictors:
            if (seen := requests_of(predictor)) is not None:
                yield seen


def requests_in(folder: Path) -> Requests | None:
    """Of all processes that worked in a folder."""
    return read_requests(RunFolder(folder))


def total(each: Iterator[Requests]) -> Requests | None:
    """The requests to several servers in one process, as one session; None for none."""
    every = list(each)
    if not every:
        return None
    out = every[0]
    for other in every[1:]:
        out = out.plus(other)
    return Requests(out.answered, out.retried, out.failed, out.failures)
