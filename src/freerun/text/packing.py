"""Packed files: gzip and Zstandard, by suffix or by their first bytes, unpacked up to a bound."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from freerun.errors import DataError

LEAST_BOUND_BYTES = 1 << 28
MOST_RATIO = 100
"""A file may become so many times larger than it is, or so many bytes, whichever is more; text packs 3 to 20 times."""
_PIECE_BYTES = 1 << 20


class Stream(Protocol):
    """What comes out of a packed file, piece by piece."""

    def read(self, n: int, /) -> bytes: ...


@dataclass(frozen=True)
class Packing:
    """A way to pack a file: its suffix, its name, its possible first bytes, and what opens it."""

    suffix: str
    name: str
    magic: tuple[bytes, ...]
    open: Callable[[BinaryIO], Stream]


def _gzip(file: BinaryIO) -> Stream:
    return gzip.GzipFile(fileobj=file)


def _zstd(file: BinaryIO) -> Stream:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")  # type: ignore[no-any-return]


_SKIPPED_FRAMES = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
"""What a file begins with that was packed in parallel."""
PACKINGS = (
    Packing(".gz", "gzip", (b"\x1f\x8b",), _gzip),
    Packing(".zst", "Zstandard", (b"\x28\xb5\x2f\xfd", *_SKIPPED_FRAMES), _zstd),
)


def packing_of(data: bytes) -> Packing | None:
    """Return the packing that the first bytes show."""
    return next((packing for packing in PACKINGS if data.startswith(packing.magic)), None)


def unpack(data: bytes, packing: Packing, label: str) -> bytes:
    """Return what is packed.

    Raises:
        DataError: damaged, cut off, or far larger inside than any text is.
    """
    bound = Bound(label, len(data))
    pieces: list[bytes] = []
    try:
        if not data:
            raise EOFError("it is empty")
        stream = packing.open(io.BytesIO(data))
        while piece := stream.read(_PIECE_BYTES):
            bound.spend(len(piece))
            pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{label} is a damaged {packing.name} file ({reason}); fetch or pack it again") from None
    return b"".join(pieces)


class Bound:
    """How many bytes may come out of a packed file; more are refused before they fill the memory."""

    def __init__(self, label: str, packed_bytes: int) -> None:
        self.label, self.packed_bytes = label, packed_bytes
        self.left = max(LEAST_BOUND_BYTES, MOST_RATIO * packed_bytes)

    def spend(self, n_bytes: int) -> None:
        """Count bytes that came out.

        Raises:
            DataError: they are more than may.
        """
        self.left -= n_bytes
        if self.left < 0:
            raise DataError(
                f"{self.label} has {self.packed_bytes:,} bytes and would become more than {MOST_RATIO} times as many, beyond "
                f"{LEAST_BOUND_BYTES >> 20} MiB: that is not text, or it repeats itself; unpack it yourself if it is meant"
            )
