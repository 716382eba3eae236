"""What a run's folder may hold before a process writes to it, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freerun.errors import DataError
from freerun.files import cannot
from freerun.records import checksums, lock
from freerun.records.manifest import Manifest, short

_CONTENT = (
    "sequences",
    "tokens",
    checksums.FOLDER,
    "answers",
    "sources",
    "requests",
    "served",
    "law_served.json",
    "served_law.json",
    "result.json",
    "report.html",
)
"""What stands in the folder of an audit beside its manifest."""
_WRITTEN = (
    "manifest.json",
    "result.json",
    "report.html",
    "law_served.json",
    "served_law.json",
    f"{checksums.FOLDER}/*.sha256",
    "requests/*.json",
    *(f"{table}/*.parquet" for table in ("tokens", "sequences", "answers", "sources", "two_laws")),
)


def check_is_run_or_new(folder: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        DataError: it does, or it cannot be read.
    """
    try:
        if (folder / "manifest.json").exists() or not folder.exists():
            return
        ours = {*leftovers(folder), folder / lock.NAME, *(folder / name for name in _CONTENT)}
        if folder.is_dir() and not set(folder.iterdir()) - ours:
            return
    except (OSError, ValueError) as error:
        raise cannot("write", folder, error) from error
    raise DataError(f"{folder} is there and is not a run; choose another folder with -o")


def check_same_plan(folder: Path, held: Manifest, manifest: Mapping[str, Any]) -> None:
    """Refuse a folder that holds the run of another plan.

    Raises:
        DataError: it does; what differs is named.
    """
    if held["plan_hash"] == manifest["plan_hash"]:
        return
    mine, theirs = manifest["plan"], held.get("plan", {})
    changed = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
    words = "; ".join(f"{k}: {short(theirs.get(k))} there, {short(mine.get(k))} asked" for k in changed[:4])
    raise DataError(f"{folder} holds a run of another plan ({words}); choose another folder with -o, or remove it")


def claim_new(folder: Path, owner: object) -> None:
    """Make a folder, or take an empty one, and keep other processes from it until `owner` is gone.

    Raises:
        DataError: it holds something, another process has it, or it cannot be made.
    """
    try:
        if folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - {folder / lock.NAME}):
            raise DataError(f"{folder} is there and holds something else; choose another folder with -o")
        folder.mkdir(parents=True, exist_ok=True)
        lock.hold(owner, folder)
    except OSError as error:
        raise cannot("write", folder, error) from error


def clear_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of a write has left.

    Raises:
        DataError: it cannot be removed.
    """
    for leftover in leftovers(folder):
        try:
            leftover.unlink(missing_ok=True)
        except OSError as error:
            raise cannot("write", leftover, error) from error


def leftovers(folder: Path) -> list[Path]:
    """What a kill in the middle of `write_atomically` leaves."""
    patterns = (Path(name).parent / f".{Path(name).name}-*" for name in _WRITTEN)
    return [path for pattern in patterns for path in folder.glob(str(pattern))]
