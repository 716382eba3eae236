"""Which metric sees which organism, with size and power: a table of simulations that can be interrupted.

RUN/manifest.json    the plan with its hash; written first
RUN/cells/NAME.json  the counts of one unit of work, by one atomic rename, with their SHA-256
RUN/result.json, RUN/report.html   made from the counts
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from freerun.errors import DataError, UsageError
from freerun.jobs.power.cells import PowerPlan, Unit, run_unit
from freerun.jobs.power.result import power_result
from freerun.records.schema import SCHEMA_VERSION as RECORD_VERSION
from freerun.records.store import RunFolder, write_atomically
from freerun.report.pages.power import render_power
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance

FOLDER = "cells"


class Progress(Protocol):
    """Who is told how a long job goes on."""

    def say(self, message: str) -> None: ...
    def begin(self, total_tokens: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def advance(self, n_tokens: int) -> None: ...
    def end(self) -> None: ...


def power(
    plan: PowerPlan,
    *,
    out: str | Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    command: str = "",
) -> tuple[Path, dict[str, Any]]:
    """Simulate a power table, or go on with one that was interrupted; returns its folder and its result.

    Raises:
        UsageError: fewer than one worker. DataError: the folder holds something else, another process writes to it, it cannot be
            written to, or a worker was killed.
    """
    if not 1 <= workers <= 64:
        raise UsageError(f"--workers must lie between 1 and 64, not {workers}")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / f"power-{plan.hash[:8]}")
    folder.open(_manifest(plan, command or f"freerun power -o {folder.path}"))
    for leftover in (folder.path / FOLDER).glob(".*.json-*"):
        leftover.unlink(missing_ok=True)
    units = plan.units()
    found = {u.name: part for u in units if (part := read_part(folder.path, u, plan)) is not None}
    missing = [u for u in units if u.name not in found]
    if missing:
        tell = progress
        if tell is not None:
            tell.say(f"{len(missing)} of {len(units)} parts to simulate -> {folder.path}")
            tell.begin(sum(plan.tokens_of(u) for u in units))
            tell.advance(sum(plan.tokens_of(u) for u in units if u.name in found))
        try:
            for unit, part in _simulated(plan, missing, workers):
                _write_part(folder.path, unit, part)
                found[unit.name] = part
                if tell is not None:
                    tell.phase(f"{unit.organism} on {unit.base}")
                    tell.advance(plan.tokens_of(unit))
        finally:
            if tell is not None:
                tell.end()
    result = power_result(plan, [found[u.name] for u in units], folder.manifest())
    plain: dict[str, Any] = to_json(result)
    write_atomically(folder.path / "result.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_power(plain))
    return folder.path, plain


def _manifest(plan: PowerPlan, command: str) -> dict[str, Any]:
    settings = json.loads(json.dumps(asdict(plan)))
    return {
        "schema_version": RECORD_VERSION,
        "kind": "power",
        "plan": settings,
        "plan_hash": plan.hash,
        "command": command,
        "provenance": provenance(),
    }


# ---- parts -----------------------------------------------------------------------------------------------------------


def read_part(run: Path, unit: Unit, plan: PowerPlan) -> dict[str, Any] | None:
    """The counts of a unit; None where they are not there, damaged, or of another plan: they are simulated again then."""
    try:
        held = json.loads((run / FOLDER / f"{unit.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(held, dict) or not isinstance(held.get("part"), dict):
        return None
    part: dict[str, Any] = held["part"]
    sound = held.get("sha256") == _digest(part) and part.get("unit") == unit.key(plan.hash)
    return part if sound else None


def _write_part(run: Path, unit: Unit, part: Mapping[str, Any]) -> None:
    held = {"part": part, "sha256": _digest(part)}
    write_atomically(run / FOLDER / f"{unit.name}.json", json.dumps(held, indent=1, allow_nan=False) + "\n")


def _digest(part: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


# ---- who works -------------------------------------------------------------------------------------------------------


def _simulated(plan: PowerPlan, units: Sequence[Unit], workers: int) -> Iterator[tuple[Unit, dict[str, Any]]]:
    """Counts of units as they are finished: in this process, or in several that end with it."""
    if workers == 1 or len(units) == 1:
        for unit in units:
            yield unit, run_unit(plan, unit)
        return
    before = set(multiprocessing.active_children())
    with _one_thread_each():
        pool = ProcessPoolExecutor(min(workers, len(units)), multiprocessing.get_context("spawn"), initializer=_deaf)
        try:
            waiting = iter(units)
            running: dict[Future[dict[str, Any]], Unit] = {}
            _hand_out(pool, plan, waiting, running, 2 * workers)
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                _hand_out(pool, plan, waiting, running, 2 * workers + len(done))
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise DataError(
                "a worker was killed (often for want of memory): the same command goes on; --workers 1 needs least"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()


def _hand_out(
    pool: ProcessPoolExecutor,
    plan: PowerPlan,
    waiting: Iterator[Unit],
    running: dict[Future[dict[str, Any]], Unit],
    most: int,
) -> None:
    with _born_deaf():
        for unit in waiting:
            running[pool.submit(run_unit, plan, unit)] = unit
            if len(running) >= most:
                return


def _deaf() -> None:
    """Ctrl-C is for the process that writes; it ends the workers, and where it is killed they end by themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Processes that start inside have Ctrl-C blocked from their first instruction on; this one hears it when it leaves."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Libraries of the workers use one thread each: there are as many workers as cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                with suppress(KeyError):
                    del os.environ[name]
            else:
                os.environ[name] = value


# ---- results that are kept as data -----------------------------------------------------------------------------------


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """A page with the text between `<!-- power:NAME:begin … -->` and `<!-- power:NAME:end -->` replaced, for every block.

    Raises:
        DataError: a block that the page does not have.
    """
    for name, text in blocks.items():
        shape = re.compile(
            rf"(<!-- power:{re.escape(name)}:begin[^\n]*-->\n).*?(<!-- power:{re.escape(name)}:end -->)", re.DOTALL
        )
        if not shape.search(page):
            raise DataError(f"the page has no block power:{name}")
        page = shape.sub(partial(_put, text.strip()), page)
    return page


def _put(text: str, found: re.Match[str]) -> str:
    return f"{found[1]}{text}\n{found[2]}"
