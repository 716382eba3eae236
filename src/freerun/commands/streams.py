"""Standard streams that nobody may be reading: what is printed can be lost, the exit code cannot.

`freerun … | head -1`, `2>&-` and `>&-` are ordinary in a pipeline. Inside `safe_streams` a stream that was closed is /dev/null, one
whose reader is gone drops what it is given, and a character that its encoding lacks becomes a question mark.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_NAMES = ("stdin", "stdout", "stderr")


class SafeStream(io.TextIOBase):
    """A text stream whose writes never raise; `error` is the first that it met, a gone reader aside."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner
        self.error: OSError | None = None
        self._lost = False

    def write(self, text: str) -> int:
        if not self._lost:
            try:
                self._write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def _write(self, text: str) -> None:
        try:
            self.inner.write(text)
        except UnicodeEncodeError:
            encoding = self.inner.encoding or "utf-8"
            self.inner.write(text.encode(encoding, "replace").decode(encoding))

    def flush(self) -> None:
        if not self._lost:
            try:
                self.inner.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Drop this and all that follows; what is still buffered goes to /dev/null, at the interpreter's exit too."""
        self._lost = True
        self.error = None if error.errno == errno.EPIPE else error
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.inner.fileno())
            os.close(null)

    def close(self) -> None:
        """Nothing: the stream belongs to the process."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return not self._lost and self.inner.isatty()

    def fileno(self) -> int:
        return self.inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inner.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.inner.errors

    @property
    def buffer(self) -> Any:
        return self.inner.buffer


@contextmanager
def safe_streams() -> Iterator[tuple[SafeStream, SafeStream]]:
    """Inside, `sys.stdout` and `sys.stderr` are safe streams, and all three standard streams exist."""
    _open_closed()
    before = sys.stdout, sys.stderr
    out, err = SafeStream(before[0]), SafeStream(before[1])
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Put /dev/null in the place of standard streams that were closed, so that no file of ours takes their number."""
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        mode = "r" if number == 0 else "w"
        setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
