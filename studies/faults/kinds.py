"""The faults: for each kind what is broken, how many times, and what is left for a second run to go on from."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freerun import files
from freerun.records import lock
from freerun.worlds.base import World
from studies.faults.child import Child, Ended, Sabotage, run

Rng = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """Where a fault happens: an audit or a grid, its folder, how long it takes undisturbed, and a finished copy of it.

    `again`: the command that goes on from there."""

    words: tuple[str, ...]
    again: tuple[str, ...]
    folder: Path
    seconds: float
    finished: Path

    def copy_finished(self) -> None:
        shutil.copytree(self.finished, self.folder, dirs_exist_ok=True)


@dataclass(frozen=True)
class Fault:
    """One kind. `inject` does the damage and returns how the run ended that met it; None: nothing ran yet."""

    kind: str
    what: str
    n: int
    inject: Callable[[Scene, Rng], Ended | None]
    scene: str = "audit"
    in_ci: int = 1
    """So many of them in the tests."""


# ---- signals -----------------------------------------------------------------------------------------------------------


def kill(scene: Scene, rng: Rng) -> Ended:
    return run(scene.words, signals=[(float(rng.uniform(0, scene.seconds)), signal.SIGKILL)])


def interrupt_once(scene: Scene, rng: Rng) -> Ended:
    return run(scene.words, signals=[(float(rng.uniform(0, scene.seconds)), signal.SIGINT)])


def interrupt_twice(scene: Scene, rng: Rng) -> Ended:
    at = float(rng.uniform(0, scene.seconds))
    return run(scene.words, signals=[(at, signal.SIGINT), (at + float(rng.uniform(0, 0.05)), signal.SIGINT)])


def kill_worker(scene: Scene, rng: Rng) -> Ended:
    """A random worker of the pool, as soon as a random number of parts is there."""
    child = Child.start(scene.words)
    wanted = int(rng.integers(0, 6))
    while len(list(scene.folder.glob("sequences/*.parquet"))) < wanted and alive(child.pid):
        time.sleep(0.005)
    if workers := workers_of(child.pid):
        os.kill(int(rng.choice(workers)), signal.SIGKILL)
    return child.wait()


def alive(pid: int) -> bool:
    """Whether a child still runs (it is not waited for)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(pid: int) -> list[int]:
    """Processes that a process has started to work; the one that tracks shared memory is none."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for word in task.read_text().split():
            try:
                spawned = b"spawn_main" in Path(f"/proc/{word}/cmdline").read_bytes()
            except OSError:
                continue
            found += [int(word)] if spawned else []
    return found


# ---- disks -------------------------------------------------------------------------------------------------------------


def broken_writes(number: int, n: int, *, call: str) -> Sabotage:
    """From the n-th write on, the file system refuses."""

    def sabotage() -> None:
        left = n
        real = getattr(os if call == "fsync" else files.tempfile, call)

        def refuse(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(number, os.strerror(number))
            return real(*args, **named)

        setattr(os if call == "fsync" else files.tempfile, call, refuse)

    return sabotage


def full_disk(scene: Scene, rng: Rng) -> Ended:
    return run(scene.words, broken_writes(errno.ENOSPC, int(rng.integers(0, 40)), call="fsync"))


def no_room_for_a_file(scene: Scene, rng: Rng) -> Ended:
    """Files can be no longer than so many bytes: a write stops in the middle."""

    def sabotage() -> None:
        import resource

        most = int(rng.integers(100, 60_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return run(scene.words, sabotage)


def read_only(scene: Scene, rng: Rng) -> Ended:
    return run(scene.words, broken_writes(errno.EROFS, int(rng.integers(0, 40)), call="mkstemp"))


def vanished(scene: Scene, rng: Rng) -> Ended:
    child = Child.start(scene.words)
    time.sleep(float(rng.uniform(0, scene.seconds)))
    shutil.rmtree(scene.folder, ignore_errors=True)
    return child.wait()


def some_file(scene: Scene, rng: Rng) -> Path:
    kept = ("*.parquet", "*.sha256", "*.json")
    every = sorted(p for pattern in kept for p in scene.folder.rglob(pattern))
    return every[int(rng.integers(len(every)))]


def truncated(scene: Scene, rng: Rng) -> None:
    scene.copy_finished()
    path = some_file(scene, rng)
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, len(data)))])


def flipped(scene: Scene, rng: Rng) -> None:
    scene.copy_finished()
    path = some_file(scene, rng)
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def removed(scene: Scene, rng: Rng) -> None:
    scene.copy_finished()
    some_file(scene, rng).unlink()


# ---- inside ------------------------------------------------------------------------------------------------------------


def clock_jumps(scene: Scene, rng: Rng) -> Ended:
    """Every clock goes forwards and backwards by up to ten years."""
    seed = int(rng.integers(1 << 30))

    def sabotage() -> None:
        jumps = np.random.default_rng(seed)
        for name in ("time", "monotonic", "perf_counter"):
            real = getattr(time, name)
            setattr(time, name, lambda real=real: real() + float(jumps.uniform(-3e8, 3e8)))

    return run(scene.words, sabotage)


def at_a_call(rng: Rng, most: int, act: Callable[[], None], *, once: bool) -> Sabotage:
    """A world does something else at a random one of its passes."""
    n = int(rng.integers(1, most))

    def sabotage() -> None:
        calls = 0
        for name in ("score", "generate"):
            real = getattr(World, name)

            def broken(self: Any, *args: Any, real: Any = real, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == n or (not once and calls > n):
                    act()
                return real(self, *args, **named)

            setattr(World, name, broken)

    return sabotage


def out_of_memory(scene: Scene, rng: Rng) -> Ended:
    def act() -> None:
        raise MemoryError("cannot allocate 9 GiB")

    return run(scene.words, at_a_call(rng, 12, act, once=bool(rng.integers(2))))


def nan_laws(scene: Scene, rng: Rng) -> Ended:
    from freerun.errors import BrokenLaw

    def act() -> None:
        raise BrokenLaw("the model's law is NaN")

    return run(scene.words, at_a_call(rng, 12, act, once=False))


# ---- two at once -------------------------------------------------------------------------------------------------------


def two_drivers(scene: Scene, rng: Rng, sabotage: Sabotage | None = None) -> Ended:
    """A second one starts while the first works; what the one said that was refused is returned, if one was."""
    first = Child.start(scene.words, sabotage)
    time.sleep(float(rng.uniform(0, scene.seconds)))
    second = Child.start(scene.words, sabotage)
    ends = [first.wait(), second.wait()]
    return next((e for e in ends if not e.finished), ends[0])


def two_drivers_without_locks(scene: Scene, rng: Rng) -> Ended:
    """On a network share that knows no locks."""

    def sabotage() -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        assert lock.fcntl is not None
        lock.fcntl = type("fcntl", (), {"flock": staticmethod(refuse), "LOCK_EX": 2, "LOCK_NB": 4})  # type: ignore[assignment]

    return two_drivers(scene, rng, sabotage)


FAULTS = (
    Fault("SIGKILL", "the process is killed at a random moment", 44, kill, in_ci=6),
    Fault("SIGKILL of a grid", "the process of a grid is killed at a random moment", 12, kill, "grid", in_ci=1),
    Fault("SIGKILL of a worker", "a worker of two is killed while it works", 6, kill_worker, "pool", in_ci=1),
    Fault("SIGKILL of the driver", "the process that two workers work for is killed", 6, kill, "pool", in_ci=1),
    Fault("Ctrl-C once", "SIGINT at a random moment", 18, interrupt_once, in_ci=2),
    Fault("Ctrl-C twice", "a second SIGINT within 50 ms", 14, interrupt_twice, in_ci=1),
    Fault("full disk", "no room from a random write on", 22, full_disk, in_ci=2),
    Fault("file too large", "writes stop in the middle of a file", 12, no_room_for_a_file, in_ci=1),
    Fault("read-only folder", "no new files from a random write on", 14, read_only, in_ci=1),
    Fault("vanished folder", "the run's folder is removed at a random moment", 14, vanished, in_ci=1),
    Fault("truncated file", "a file of a finished run is cut", 28, truncated, in_ci=6),
    Fault("flipped bit", "one bit of a file of a finished run", 42, flipped, in_ci=8),
    Fault("removed file", "a file of a finished run is gone", 12, removed, in_ci=2),
    Fault("truncated file of a grid", "a file of a finished grid is cut", 8, truncated, "grid", in_ci=1),
    Fault("flipped bit in a grid", "one bit of a file of a finished grid", 12, flipped, "grid", in_ci=1),
    Fault("clock jumps", "all clocks jump by years, both ways", 8, clock_jumps, in_ci=1),
    Fault("out of memory", "a pass finds no memory, once or from then on", 14, out_of_memory, in_ci=1),
    Fault("NaN laws", "the model gives NaN from a random pass on", 10, nan_laws, in_ci=1),
    Fault("two drivers", "a second process starts on the same run", 10, two_drivers, in_ci=1),
    Fault(
        "two drivers, no locks", "the same where the file system knows no locks", 10, two_drivers_without_locks, in_ci=1
    ),
)
