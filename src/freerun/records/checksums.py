"""Checksums of record parts: `checksums/NAME.sha256`, one line a file, as `sha256sum -c` reads them from the run's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from freerun.files import sha256_of

FOLDER = "checksums"
MARK = {"checksums": "sha256"}
"""In the metadata of a part that has checksums: where they are gone, that is damage and no older version."""

_LINE = re.compile(r"([0-9a-f]{64})  (\w+)/(\S+)\.parquet")


def path_of(run: Path, name: str) -> Path:
    return run / FOLDER / f"{name}.sha256"


def written(name: str, sums: Mapping[str, str]) -> str:
    """The lines of one part from the SHA-256 (hex) of its file of each kind.

    >>> print(written("real-00000", {"tokens": "ab" * 32})[60:], end="")
    abab  tokens/real-00000.parquet
    """
    return "".join(f"{digest}  {kind}/{name}.parquet\n" for kind, digest in sums.items())


def read(run: Path, name: str) -> dict[str, str] | None:
    """SHA-256 by kind; None where there are none, nothing in it where the file is damaged.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        text = path_of(run, name).read_bytes().decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    sums = {m[2]: m[1] for line in text.split("\n") if (m := _LINE.fullmatch(line))}
    return sums if text == written(name, sums) else {}


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def marks(metadata: Mapping[str, str]) -> bool:
    """Whether a part with these metadata has checksums."""
    return MARK.items() <= metadata.items()


def fault(run: Path, path: Path, metadata: Mapping[str, str]) -> str | None:
    """Why a file that is the whole of its part cannot be used; None: it fits its checksum, or is older than checksums."""
    try:
        sums = read(run, path.stem)
        if sums is None:
            return "its checksum is gone" if marks(metadata) else None
        return None if sums.get(path.parent.name) == sha256_of(path) else "it does not fit its checksum"
    except OSError as error:
        return str(error.strerror or error)
