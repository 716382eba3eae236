"""Jobs for trying executors out; they stand in a module of their own, since workers import them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freerun.errors import BackendError
from freerun.runs.executors.job import Job


@dataclass(frozen=True)
class Squares(Job[str, tuple[int, int]]):
    """A unit is a number as a word; some of them end their worker or fail. Gives the square and the worker's process."""

    folder: str

    def start(self) -> Callable[[str], tuple[int, int]]:
        with open(Path(self.folder) / "started", "a") as file:
            file.write(f"{os.getpid()}\n")
        return self.square

    def square(self, unit: str) -> tuple[int, int]:
        if unit.startswith("once-") and self.first(unit):
            os.kill(os.getpid(), signal.SIGKILL)
        if unit.startswith("deadly-"):
            os.kill(os.getpid(), signal.SIGKILL)
        if unit.startswith("wrong-"):
            raise BackendError("the model's law is NaN")
        return int(unit.rpartition("-")[2]) ** 2, os.getpid()

    def first(self, unit: str) -> bool:
        """Whether nobody has tried this unit before."""
        try:
            (Path(self.folder) / unit).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def needs(self, unit: str) -> str:
        return "even" if int(unit.rpartition("-")[2]) % 2 == 0 else "odd"

    def started(self) -> int:
        """How many workers there have been."""
        return len((Path(self.folder) / "started").read_text().split())
