"""How a long job goes on: one bar over tokens on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from freerun.commands.terminal import shown


class Reporter:
    """One bar with named phases and the time left, from the tokens per second seen so far."""

    def __init__(self, stream: TextIO | None = None, *, every_seconds: float = 10.0) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.every = every_seconds
        self.bar: Any = None
        self.total = self.done = 0
        self.name = ""
        self.began = self.told = 0.0

    def say(self, message: str) -> None:
        line = shown(message)
        if self.bar is not None:
            self.bar.write(line, file=self.stream)
        else:
            print(line, file=self.stream, flush=True)

    def begin(self, total_tokens: int) -> None:
        self.total, self.done, self.began = total_tokens, 0, time.monotonic()
        self.told = self.began
        self.skipped = 0
        if self.stream.isatty():
            from tqdm import tqdm

            shape = "{desc:<18} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} tokens, {rate_fmt}, {remaining} left"
            self.bar = tqdm(
                total=total_tokens, file=self.stream, unit=" tok", bar_format=shape, smoothing=0.05, dynamic_ncols=True
            )

    def phase(self, name: str) -> None:
        self.name = name = shown(name)
        if self.bar is not None:
            self.bar.set_description_str(name)

    def advance(self, n_tokens: int) -> None:
        if n_tokens == 0:
            return
        self.done += n_tokens
        if self.bar is not None:
            self.bar.update(n_tokens)
            return
        now = time.monotonic()
        if now - self.began < 0.5:  # parts that were there already
            self.skipped = self.done
        if now - self.told < self.every or self.done >= self.total:
            return
        self.told = now
        rate = (self.done - self.skipped) / (now - self.began)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        print(
            f"{self.name}: {self.done:,} of {self.total:,} tokens, {rate:.0f} tokens/s, about {_duration(left)} left",
            file=self.stream,
            flush=True,
        )

    def end(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _duration(seconds: float) -> str:
    if seconds != seconds or seconds == float("inf"):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
