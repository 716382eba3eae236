"""What the client costs beside a server that answers at once. `bench/servers.py` measures it; here it may be four times as slow."""

from __future__ import annotations

import importlib
import multiprocessing
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")

BENCH = Path(__file__).parents[3] / "bench"


def test_the_client_is_cheap_and_its_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    bench = importlib.import_module("servers")
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=bench.serve, args=(theirs, bench.TOKENS), daemon=True)
    server.start()
    found = bench.measure(f"http://127.0.0.1:{ours.recv()}")
    server.kill()
    server.join()
    assert found["bulk_us_a_token"] < 4 * bench.AIMS["bulk_us_a_token"]
    assert found["request_ms"] < 4 * bench.AIMS["request_ms"]
    assert found["more_memory_mib"] < 256 * found["answer_kib"] / 1024 * 4 + 16
