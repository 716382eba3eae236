"""One process at a time writes to a run's folder: a lock on `RUN/.lock` that dies with the process.

Where the file system knows no locks, or Python no `fcntl` and an open file can be removed, nothing is locked.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from freerun.errors import DataError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass
class _Lock:
    handle: int
    process: int
    owners: int = 0


_LOCKS: dict[Path, _Lock] = {}


def hold(owner: object, folder: Path) -> None:
    """Keep other processes from writing to `folder` until `owner` (and every other owner of it in this process) is gone.

    Raises:
        DataError: another process holds it. OSError: the folder cannot be written to.
    """
    key = folder.resolve()
    lock = _LOCKS.get(key)
    if lock is None or lock.process != os.getpid() or not _is_at(lock.handle, key / NAME):
        lock = _LOCKS[key] = _Lock(_acquired(folder, key / NAME), os.getpid())
    lock.owners += 1
    weakref.finalize(owner, _release, key, lock)


def held_folders() -> list[Path]:
    """Folders that this process is writing to."""
    return [path for path, lock in _LOCKS.items() if lock.process == os.getpid()]


def _release(key: Path, lock: _Lock) -> None:
    lock.owners -= 1
    if lock.owners or lock.process != os.getpid():
        return
    if _LOCKS.get(key) is lock:
        del _LOCKS[key]
    with contextlib.suppress(OSError):
        if fcntl is None:  # an open file cannot be removed there
            os.close(lock.handle)
            (key / NAME).unlink()
            return
        if _is_at(lock.handle, key / NAME):
            (key / NAME).unlink()
    with contextlib.suppress(OSError):
        os.close(lock.handle)


def _acquired(folder: Path, path: Path) -> int:
    """An open, locked file with this process's number in it."""
    while True:
        if fcntl is None:
            handle = _acquired_plainly(folder, path)
            break
        handle = os.open(path, _FLAGS, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.read(handle, 200)
            os.close(handle)
            raise _busy(folder, content) from None
        except OSError:  # no locks on this file system
            break
        if _is_at(handle, path):
            break
        os.close(handle)  # who held it has removed it meanwhile
    with contextlib.suppress(OSError):  # the number is for people: a full disk is said when a record is written
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode())
    return handle


def _acquired_plainly(folder: Path, path: Path) -> int:
    """Where an open file cannot be removed, one that can be removed belongs to nobody."""
    try:
        path.unlink(missing_ok=True)
        return os.open(path, _FLAGS | os.O_EXCL, 0o644)
    except (PermissionError, FileExistsError):
        if not path.exists():
            raise
    raise _busy(folder, b"")


def _busy(folder: Path, content: bytes) -> DataError:
    match = re.match(rb"(\d{1,10}) on ([\w.-]{1,64})\n", content)
    who = f" (pid {match[1].decode()} on {match[2].decode()})" if match else ""
    return DataError(
        f"another freerun is writing to {folder}{who}; wait until it is done, or choose another folder with -o"
    )


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        mine, there = os.fstat(handle), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
