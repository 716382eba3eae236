"""The worker's side of the bench: load once, then measure on command, one JSON object a line on stdin and stdout.

A worker that is not asked waits in `readline` and takes no time. It knows nothing of freerun, so it runs in any environment. What
libraries print to stdout goes to stderr instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

Task = Callable[[dict[str, Any]], dict[str, Any]]
_own = os.dup(1)
os.dup2(2, 1)
_OUT = os.fdopen(_own, "w", buffering=1)


def serve(load: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Task]]]) -> None:
    """Answer requests until stdin ends. The first names how to load; the answer to it states facts (versions, threads, dtype)."""
    tasks: dict[str, Task] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["task"] == "load":
                facts, tasks = load(request)
                answer: dict[str, Any] = {"facts": facts}
            else:
                answer = _measured(tasks[request["task"]], request)
        except Exception as error:  # the reason goes into the table
            traceback.print_exc()
            said = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {said[0][:300] if said else ''}"}
        _OUT.write(json.dumps(answer) + "\n")
        _OUT.flush()


def _measured(task: Task, request: dict[str, Any]) -> dict[str, Any]:
    """Run a task with the peak of memory counted from its beginning (MiB; None where the system does not tell)."""
    gc.collect()
    trim()
    before = memory_mib(reset=True)
    answer = task(request)
    peak = memory_mib()["peak"]
    answer["rss_before_mib"] = before["now"]
    answer["peak_mib"] = peak
    return answer


def trim() -> None:
    """Give freed memory back to the system, so that what one task left does not count for the next."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory_mib(*, reset: bool = False) -> dict[str, float | None]:
    """Resident memory now and at its peak since the last reset, MiB (Linux; None elsewhere)."""
    try:
        if reset:
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")
        with open("/proc/self/status") as f:
            words = dict(line.split(":", 1) for line in f if line.startswith(("VmRSS", "VmHWM")))
    except OSError:
        return {"now": None, "peak": None}
    return {name: int(words[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returned."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def digest(rows: Sequence[Sequence[int]]) -> str:
    """What was read, in a few letters: contestants that read the same ids give the same."""
    return hashlib.sha256(json.dumps([[int(i) for i in row] for row in rows]).encode()).hexdigest()[:16]


def sampled(seconds: float, prompts: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The answer to a sampling task: what was read, how many tokens each row got, and the tokens themselves."""
    return {
        "seconds": seconds,
        "prompts": digest(prompts),
        "new_tokens": sorted({len(row) for row in new}),
        "tokens": sum(len(row) for row in new),
        "ids": [[int(i) for i in row] for row in new],
    }


def scored(
    seconds: float, texts: Sequence[Sequence[int]], log_probs_nats: Sequence[float], tokens: int
) -> dict[str, Any]:
    """The answer to a scoring task: `log_probs_nats` has one sum a text."""
    return {
        "seconds": seconds,
        "texts": digest(texts),
        "tokens": tokens,
        "nats_per_token": -float(sum(log_probs_nats)) / tokens,
    }
