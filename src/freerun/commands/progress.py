"""How a long job goes on: one bar over tokens on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from freerun.commands.terminal import shown
from freerun.counted import counted
from freerun.results.so_far import SoFar

_WARM_UP_SECONDS, _WARM_UP_SHARE = 25.0, 0.05
"""Before either, the tokens per second say how long it takes to begin, not how long it takes."""


class Reporter:
    """One bar with named phases and the time left, from the tokens per second seen so far; below it what is known so far."""

    def __init__(self, stream: TextIO | None = None, *, every_seconds: float = 10.0) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.every = every_seconds
        self.bar: Any = None
        self.line: Any = None
        self.total = self.done = 0
        self.name = ""
        self.began = self.told = self.line_shown = 0.0
        self.so_far = self.so_far_told = ""

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
        self.so_far = self.so_far_told = ""
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

    def known(self, so_far: SoFar) -> None:
        self.so_far = in_words(so_far)
        self._show_line()

    def _show_line(self) -> None:
        """What is known so far below the bar, at most a few times a second."""
        now = time.monotonic()
        if self.bar is None or self.so_far == self.so_far_told or now - self.line_shown < 0.25:
            return
        if self.line is None:
            from tqdm import tqdm

            shape = "{desc}"
            self.line = tqdm(total=0, position=1, file=self.stream, bar_format=shape, dynamic_ncols=True, leave=False)
        self.line.set_description_str(self.so_far)
        self.line_shown, self.so_far_told = now, self.so_far

    def advance(self, n_tokens: int) -> None:
        if n_tokens == 0:
            return
        self.done += n_tokens
        if self.bar is not None:
            self.bar.update(n_tokens)
            self._show_line()
            return
        now = time.monotonic()
        if now - self.began < 0.5:  # parts that were there already
            self.skipped = self.done
        if now - self.told < self.every or self.done >= self.total:
            return
        self.told = now
        rate = (self.done - self.skipped) / (now - self.began)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        warm = now - self.began >= _WARM_UP_SECONDS or self.done - self.skipped >= _WARM_UP_SHARE * self.total
        ahead = f", {rate:.0f} tokens/s, about {_duration(left)} left" if warm else ""
        print(f"{self.name}: {self.done:,} of {self.total:,} tokens{ahead}", file=self.stream, flush=True)
        if self.so_far != self.so_far_told:
            print(self.so_far, file=self.stream, flush=True)
            self.so_far_told = self.so_far

    def end(self) -> None:
        for bar in (self.line, self.bar):
            if bar is not None:
                bar.close()
        self.line = self.bar = None


def in_words(so_far: SoFar) -> str:
    """What is known so far, in one line of which the first 80 columns say most; nothing where nothing is known."""
    parts = []
    if so_far.n_impossible:
        parts.append("loss infinite")
    elif (loss := so_far.loss_nats_per_token) is not None:
        parts.append(f"loss {loss.value:.2f} (running {loss.low:.2f} to {loss.high:.2f})")
    if so_far.odds is not None:
        bets = f"{counted(so_far.n_bet, 'bet')}, valid at any time"
        parts.append(f"{_odds(so_far.odds)} against own text = real text ({bets})")
    return f"so far: {'; '.join(parts)}" if parts else ""


def _odds(e_value: float) -> str:
    """An e-value as odds.

    >>> _odds(35.2), _odds(1.26), _odds(0.25), _odds(3e7)
    ('35 to 1', '1.3 to 1', '1 to 4', 'over 1,000,000 to 1')
    """

    def number(x: float) -> str:
        return f"{x:,.0f}" if x >= 9.5 else f"{x:.1f}".removesuffix(".0")

    if e_value > 1e6:
        return "over 1,000,000 to 1"
    return f"{number(e_value)} to 1" if e_value >= 1.0 else f"1 to {number(1.0 / e_value)}"


def _duration(seconds: float) -> str:
    if seconds != seconds or seconds == float("inf"):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
