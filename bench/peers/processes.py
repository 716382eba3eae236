"""Seconds and memory of whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence


def alone(command: Sequence[str], *, accepted: Sequence[int] = (0,)) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of one process.

    Raises:
        RuntimeError: it ended with another code than those accepted.

    >>> seconds, mib = alone([sys.executable, "-c", "pass"])
    >>> 0 < seconds < 60 and mib > 1
    True
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in accepted:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command[2:5])} ended with {process.returncode}: {said.read()[-300:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return time.perf_counter() - began, used.ru_maxrss / unit
