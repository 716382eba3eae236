"""How many requests run at once: as many as the server gains from, fewer when it refuses or slows down."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

FIRST = 4
GROWTH = 1.5
GAIN = 1.05
"""More at once is kept where it raises the throughput by this factor."""
WINDOWS_AT_REST = 8
"""Windows until more at once is tried again after it did not help."""


class Limiter:
    """A limit that climbs while throughput climbs with it, steps back where it does not, and is halved by a refusal.

    A window is as many finished requests as the limit allows at once. Used from one event loop only.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.limit, self._clock = most, min(FIRST, most), clock
        self.running = self._most_running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began, self._done, self._before, self._rest = clock(), 0, 0.0, 0
        self._smaller = self.limit
        self._refused_until_done = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        while self.running >= self.limit:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake()
                raise
        self.running += 1
        self._most_running = max(self._most_running, self.running)
        try:
            yield
        finally:
            self.running -= 1
            self._wake()

    def succeeded(self) -> None:
        """A request was answered; at the end of a window the limit is set anew."""
        self._done += 1
        self._refused_until_done = max(0, self._refused_until_done - 1)
        if self._done < self.limit:
            return
        seconds = max(self._clock() - self._began, 1e-9)
        rate = self._done / seconds
        full = self._most_running >= self.limit
        self._began, self._done, self._most_running = self._clock(), 0, self.running
        if self._rest > 0:
            self._rest -= 1
            self._before = rate
        elif not full:
            self._before = rate  # nobody waits: the limit is not what bounds the throughput
        elif rate >= GAIN * self._before or self.limit == self._smaller:
            self._before, self._smaller = rate, self.limit
            self.limit = min(self.most, max(self.limit + 1, int(self.limit * GROWTH)))
            self._wake()
        else:
            self.limit, self._rest = self._smaller, WINDOWS_AT_REST

    def refused(self) -> None:
        """The server said that it has too much to do, or broke: half as many, once for all that were under way together."""
        if self._refused_until_done > 0:
            return
        self._refused_until_done = self.running
        self.limit = max(1, self.limit // 2)
        self._smaller, self._rest = self.limit, WINDOWS_AT_REST
        self._began, self._done, self._before = self._clock(), 0, 0.0

    def _wake(self) -> None:
        for _ in range(max(0, self.limit - self.running)):
            while self._waiting and self._waiting[0].done():
                self._waiting.popleft()
            if not self._waiting:
                return
            self._waiting.popleft().set_result(None)
