"""Who does the units of a long job: this process, or several that end with it. One interface, `map`.

A unit is a value that can be pickled, and so is the function that does it. What it gives depends on nothing else, so units may be
done in any order, by anybody, and again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from freerun.errors import DataError

U = TypeVar("U")
R = TypeVar("R")


class Executor(Protocol):
    """Whoever does units."""

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Iterator[tuple[U, R]]:
        """Every unit with what `work` makes of it, as they are finished."""
        ...


@dataclass(frozen=True)
class Local:
    """This process, one unit after the other."""

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Iterator[tuple[U, R]]:
        for unit in units:
            yield unit, work(unit)


@dataclass(frozen=True)
class Pool:
    """Several processes of one thread each. Ctrl-C is heard by this one alone, and they end with it, even where it is killed."""

    workers: int

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Iterator[tuple[U, R]]:
        """Every unit with what `work` makes of it, as they are finished.

        Raises:
            DataError: a worker was killed.
        """
        before = set(multiprocessing.active_children())
        with _one_thread_each():
            pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)
            try:
                waiting = iter(units)
                running: dict[Future[R], U] = {}
                _hand_out(pool, work, waiting, running, 2 * self.workers)
                while running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    _hand_out(pool, work, waiting, running, 2 * self.workers + len(done))
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


def executor(workers: int, n_units: int) -> Executor:
    """Whoever suits so many units: this process for one worker or one unit."""
    return Local() if workers == 1 or n_units == 1 else Pool(min(workers, n_units))


def _hand_out(
    pool: ProcessPoolExecutor, work: Callable[[U], R], waiting: Iterator[U], running: dict[Future[R], U], most: int
) -> None:
    with _without_interrupts():
        for unit in waiting:
            running[pool.submit(work, unit)] = unit
            if len(running) >= most:
                return


def end_with_parent() -> None:
    """Ctrl-C is for the process that writes; it ends the workers, and where it is killed they end by themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
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
