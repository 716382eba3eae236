"""Files that appear whole or not at all, and what to do where one cannot be read or written."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path

from freerun.errors import DataError

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_HANDLES = {errno.EMFILE, errno.ENFILE}
_SHORT_OF = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sha256_of(path: Path) -> str:
    """Of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, flushed to disk, then renamed.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise cannot("write", path, error) from error


def cannot(act: str, path: Path, error: OSError | ValueError) -> DataError:
    """What went wrong with a file, and what to do about it; `act` is read or write."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _SHORT_OF:
        way = "free some room and run the same command again: what is finished is kept"
    elif number in FORBIDDEN:
        way = "make it writable, or choose another place" if act == "write" else "make it readable"
    elif number in NO_HANDLES:
        way = "close other programs or raise `ulimit -n`, and run the same command again"
    else:
        way = "choose another place" if act == "write" else "check the disk"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(f"cannot {act} {path}: {reason}; {way}")
