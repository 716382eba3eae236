"""The command line in a forked child, disturbed: what it is that goes wrong, and what the child said."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from freerun.commands.main import main

KILLED = -signal.SIGKILL
FINISHED = (0, 3)
"""Done, and done with too few documents for a verdict."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code (minus the signal that killed it), what it said on stderr, and its seconds."""

    code: int
    said: str
    seconds: float

    @property
    def finished(self) -> bool:
        return self.code in FINISHED


Sabotage = Callable[[], None]
"""Run in the child before the command: it breaks something there."""
Signals = Sequence[tuple[float, int]]
"""Seconds after the start, and the signal that is sent then."""


@dataclass(frozen=True)
class Child:
    """A child that has been started."""

    pid: int
    output: int
    began: float

    @classmethod
    def start(cls, words: Sequence[str], sabotage: Sabotage | None = None) -> Child:
        """Fork: everything is imported already, so that what goes wrong hits the work and not the imports."""
        handle, name = tempfile.mkstemp(prefix="faults-")
        os.unlink(name)
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(handle, 2)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # workers of a pool have it blocked
                if sabotage is not None:
                    sabotage()
                code = main(words)
            finally:
                os._exit(code)
        return cls(pid, handle, began)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.lseek(self.output, 0, os.SEEK_SET)
        said = b"".join(iter(lambda: os.read(self.output, 1 << 16), b"")).decode("utf-8", "replace")
        os.close(self.output)
        return Ended(code, said, time.monotonic() - self.began)


def run(words: Sequence[str], sabotage: Sabotage | None = None, signals: Signals = ()) -> Ended:
    """One run of the command line, disturbed or not."""
    child = Child.start(words, sabotage)
    for at, number in signals:
        time.sleep(max(0.0, child.began + at - time.monotonic()))
        child.send(number)
    return child.wait()


@contextlib.contextmanager
def counted(n: int) -> Iterator[Callable[[], bool]]:
    """A function that says whether its n-th call has come, and is true from then on."""
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls >= n

    yield due
