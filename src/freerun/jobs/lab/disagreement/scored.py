"""Scores of rungs in a run's folder: `RUN/rungs/N-HASH.npz`, whole or not there. What is there is not scored again."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from freerun.files import write_atomically
from freerun.jobs.lab.disagreement.ladders import Rung
from freerun.jobs.lab.disagreement.scoring import RungScores

FOLDER = "rungs"
_COLUMNS = tuple(f.name for f in fields(RungScores) if f.name != "rung")


def score_kept(
    run: Path,
    plan_hash: str,
    rungs: Sequence[Rung],
    score: Callable[[Rung], RungScores],
    tell: Callable[[int], None],
) -> list[RungScores]:
    """Scores of all rungs in their order; each is kept as soon as it is known. `tell` hears of the tokens of each rung.

    Raises:
        DataError: the folder cannot be written to.
    """
    out = []
    for number, rung in enumerate(rungs):
        path = run / FOLDER / f"{number:02d}-{_digest(plan_hash, rung)}.npz"
        scores = _read(path, rung)
        if scores is None:
            scores = score(rung)
            _write(path, scores)
        out.append(scores)
        tell(rung.ids.size)
    return out


def _digest(plan_hash: str, rung: Rung) -> str:
    """What the scores of a rung depend on."""
    said = hashlib.sha256(f"{plan_hash}/{rung.ladder}/{rung.name}/{rung.start}/{rung.stop}/".encode())
    for array in (rung.ids, rung.units, rung.writer):
        said.update(np.asarray(array, np.int64).tobytes())
    return said.hexdigest()[:16]


def _read(path: Path, rung: Rung) -> RungScores | None:
    """None where nothing is there, or something damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            return RungScores(rung, **{name: held[name] for name in _COLUMNS})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write(path: Path, scores: RungScores) -> None:
    data = io.BytesIO()
    np.savez_compressed(data, **{name: getattr(scores, name) for name in _COLUMNS})
    write_atomically(path, data.getvalue())
