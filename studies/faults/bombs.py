"""Small files that would become large ones: each is refused within a bounded memory."""

from __future__ import annotations

import gzip
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from studies.faults.child import Child

UNPACKED_BYTES = 1 << 30
_PIECE = b"a" * (1 << 20)


def _gzip(path: Path) -> None:
    """Many members of the same piece, packed once."""
    member = gzip.compress(_PIECE * 64)
    path.write_bytes(member * (UNPACKED_BYTES // (64 << 20)))


def _zstd(path: Path) -> None:
    """Many frames of the same piece, packed once."""
    frame = pa.compress(_PIECE * 64, codec="zstd", asbytes=True)
    path.write_bytes(frame * (UNPACKED_BYTES // (64 << 20)))


def _zip(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb.txt", "w", force_zip64=True) as file,
    ):
        for _ in range(UNPACKED_BYTES >> 24):
            file.write(_PIECE * 16)


def _bomb(name: str, pack: Callable[[Path], None]) -> Callable[[Path], dict[str, Any]]:
    def explode(place: Path) -> dict[str, Any]:
        path = place / f"bomb.{name}"
        pack(path)
        began = time.monotonic()
        child = Child.start(["audit", "world/markov", str(path), "-o", str(place / "bombed")])
        _, status, used = os.wait4(child.pid, 0)
        return {
            "packed_bytes": path.stat().st_size,
            "unpacked_bytes": UNPACKED_BYTES,
            "exit_code": os.waitstatus_to_exitcode(status),
            "largest_mib": used.ru_maxrss / 1024,
            "seconds": time.monotonic() - began,
        }

    return explode


BOMBS = {
    "txt.gz": _bomb("txt.gz", _gzip),
    "jsonl.zst": _bomb("jsonl.zst", _zstd),
    "zip": _bomb("zip", _zip),
}
