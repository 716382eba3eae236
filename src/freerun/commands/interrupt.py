"""Ctrl-C and SIGTERM: once ends the work with nothing half-written, twice ends the process at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REMINDER_SECONDS = 0.25
_PARTS = (
    "sequences/*.parquet",
    "two_laws/*.parquet",
    "scores/*.parquet",
    "*/part-*.jsonl",
    "models/*.json",
    "rungs/*.npz",
    "summaries/*.json",
)
"""Files of a run, one for every finished part; of a grid, one for every finished cell."""
_ABORTED = b"\nfreerun: aborted; finished parts are kept, the same command goes on from there\n"


@contextmanager
def told_once() -> Iterator[None]:
    """Inside, the first signal raises KeyboardInterrupt in the main thread and the second one ends the process.

    A signal that was ignored from the start (nohup, a job in the background) stays ignored. Compiled code may drop the exception
    where it calls Python and clears errors (NumPy does when it looks at a dtype): it is raised again until something unwinds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:
            os.write(2, _ABORTED)
            os._exit(INTERRUPTED)
        told = True
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, remind)
            signal.setitimer(signal.ITIMER_REAL, _REMINDER_SECONDS, _REMINDER_SECONDS)
        raise KeyboardInterrupt

    def remind(number: int, frame: FrameType | None) -> None:
        if not _unwinds():
            raise KeyboardInterrupt

    before = {s: signal.getsignal(s) for s in _SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, stop)
    try:
        yield
    finally:
        if told and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _unwinds() -> bool:
    """Whether an interrupt is being handled, here or in a caller: work that cleans up is left to finish."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def what_is_kept(words: Sequence[str]) -> str:
    """One sentence for whoever pressed Ctrl-C: what is on disk, and the command that goes on from there."""
    again = shlex.join(["freerun", *words])
    if words[:2] == ["lab", "organism"]:
        return f"interrupted; nothing half-written is left; the same command goes on from the last checkpoint: {again}"
    if words[:1] not in (["audit"], ["distance"], ["verify"], ["grid"]) and words[:2] != ["lab", "disagreement"]:
        return f"interrupted; nothing half-written is left; again: {again}"
    held = _finished_parts()
    if not held:
        return f"interrupted before it went to work; the same command goes on from what is there: {again}"
    kept = [f"{n} finished {'part is' if n == 1 else 'parts are'} kept in {run}" for run, n in held if n]
    if not kept:
        return f"interrupted before the first part was finished; the same command begins again: {again}"
    return f"interrupted; {', '.join(kept)}; the same command goes on from there: {again}"


def _finished_parts() -> list[tuple[Path, int]]:
    """The folders that this process was writing to, and the parts that are whole in each."""
    lock = sys.modules.get("freerun.records.lock")
    if lock is None:
        return []
    here = Path.cwd()
    found = []
    for folder in lock.held_folders():
        shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
        found.append((shown, sum(len(list(folder.glob(kind))) for kind in _PARTS)))
    return found
