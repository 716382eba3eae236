"""How many requests run at once, against servers that are simulated in time of their own."""

from __future__ import annotations

import asyncio

import pytest

from freerun.predictors.servers.limiter import Limiter


class Simulated:
    """A server of which `capacity` requests take a second each, and more share its speed."""

    def __init__(self, capacity: int, most: int = 256) -> None:
        self.now, self.capacity = 0.0, capacity
        self.limiter = Limiter(most, clock=lambda: self.now)

    async def rounds(self, n: int) -> list[int]:
        """n rounds, in each of which all that may run are answered together; the limit after each."""
        limits = []
        for _ in range(n):
            wanted = self.limiter.limit
            turns = [self.limiter.turn() for _ in range(wanted)]
            for t in turns:
                await t.__aenter__()
            self.now += max(1.0, wanted / self.capacity)
            for t in turns:
                self.limiter.succeeded()
                await t.__aexit__(None, None, None)
            limits.append(self.limiter.limit)
        return limits


@pytest.mark.parametrize("capacity", [1, 8, 64, 1000])
def test_it_climbs_to_what_the_server_gains_from(capacity: int) -> None:
    limits = asyncio.run(Simulated(capacity).rounds(400))
    settled = limits[100:]
    assert max(settled) <= min(256, max(8, 4 * capacity))
    assert min(settled) >= min(256, capacity) / 2


def test_it_follows_a_server_that_slows_down() -> None:
    server = Simulated(64)
    asyncio.run(server.rounds(200))
    high = server.limiter.limit
    server.limiter.refused()
    assert server.limiter.limit == high // 2


def test_requests_that_are_refused_together_halve_it_once() -> None:
    async def run() -> tuple[int, int, int]:
        server = Simulated(1000)
        await server.rounds(60)
        limiter = server.limiter
        before = limiter.limit
        turns = [limiter.turn() for _ in range(20)]
        for t in turns:
            await t.__aenter__()
        for t in turns:
            limiter.refused()
            await t.__aexit__(None, None, None)
        once = limiter.limit
        for _ in range(20):
            limiter.succeeded()
        limiter.refused()
        return before, once, limiter.limit

    before, once, twice = asyncio.run(run())
    assert once == before // 2
    assert twice <= once


def test_one_that_is_given_up_while_it_waits_takes_no_place() -> None:
    async def run() -> int:
        limiter = Limiter(1)
        first = limiter.turn()
        await first.__aenter__()
        waiting = [asyncio.ensure_future(_hold(limiter)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await first.__aexit__(None, None, None)
        done = await asyncio.gather(*waiting, return_exceptions=True)
        return sum(d == 1 for d in done)

    assert asyncio.run(run()) == 2


async def _hold(limiter: Limiter) -> int:
    async with limiter.turn():
        return limiter.running
