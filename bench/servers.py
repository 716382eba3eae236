"""What the client of served models costs: `python bench/servers.py --json docs/data/bench-servers.json` (under a minute).

A server in another process answers at once with prepared bytes, so all the time of this process is the client's own: making
requests, HTTP, reading and checking answers, and observations. Seconds are of this process's processor; memory is its resident peak
over what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers.machine import describe

from freerun.predictors.servers.address import read_address
from freerun.predictors.servers.client import Client
from freerun.predictors.servers.llama_server import LlamaServer
from freerun.predictors.servers.vllm import VLLM

TOKENS, TEXTS, IN_FLIGHT = 256, 128, 256
FORCED_TOKENS, FORCED_TEXTS = 128, 16
AIMS = {"bulk_us_a_token": 20.0, "request_ms": 1.0}


def answers(n: int) -> dict[str, bytes]:
    """What each path answers, but for the length of the prompt that llama.cpp's server counts."""
    entry = {"7": {"logprob": -1.2345678901234567, "rank": 3, "decoded_token": " the"}}
    choice = {"prompt_logprobs": [None, *[entry] * (n - 1)], "prompt_token_ids": [7] * n, "token_ids": [7]}
    vllm = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": n}}
    row = {"id": 7, "token": " the", "bytes": [32], "logprob": -1.2345678901234567}
    settings = {f"setting {i}": i for i in range(50)}  # the server echoes about so many
    llama = {"model": "m", "tokens": [7], "stop_type": "limit", "generation_settings": settings}
    llama["completion_probabilities"] = [row | {"top_logprobs": [row]}]
    return {"/v1/completions": json.dumps(vllm).encode(), "/completion": json.dumps(llama).encode()[:-1]}


class AtOnce(asyncio.Protocol):
    """HTTP as short as it can be."""

    prepared: dict[str, bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (at := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:at].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self.buffer) < at + 4 + length:
                return
            body, self.buffer = self.buffer[at + 4 : at + 4 + length], self.buffer[at + 4 + length :]
            path = head.split(b" ")[1].decode()
            answer = self.prepared[path]
            if path == "/completion":
                answer += b', "tokens_evaluated": %d}' % (body[: body.find(b"]")].count(b",") + 1)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


def serve(pipe: Any, n: int) -> None:
    AtOnce.prepared = answers(n)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(AtOnce, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Processor and wall seconds for each unit of work."""
    cpu, wall = time.process_time(), time.perf_counter()
    n = work()
    return (time.process_time() - cpu) / n, (time.perf_counter() - wall) / n


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(url: str) -> dict[str, float]:
    ids = [7] * TOKENS
    client = Client(url, at_once=IN_FLIGHT)
    vllm = VLLM(client, read_address("vllm", f"m@{url}", environment={}))
    llama = LlamaServer(client, read_address("llama-server", f"m@{url}", environment={}))
    llama._slots, llama._model, llama._n_tokens = list(range(FORCED_TEXTS)), "m", 100

    def bulk(texts: int) -> int:
        for _, scores in client.each(lambda: vllm.score(ids, 1) for _ in range(texts)):
            scores.observed()
        return texts * TOKENS

    def forced() -> int:
        list(client.each(lambda: llama.score([7] * FORCED_TOKENS, 1) for _ in range(FORCED_TEXTS)))
        return FORCED_TEXTS * (FORCED_TOKENS - 1)

    bulk(8)
    bulk_cpu, bulk_wall = timed(lambda: bulk(TEXTS))
    forced_cpu, forced_wall = timed(forced)
    client.limiter.limit = IN_FLIGHT
    before = peak_bytes()
    bulk(3 * IN_FLIGHT)
    after = peak_bytes()
    client.close()
    return {
        "bulk_us_a_token": bulk_cpu * 1e6,
        "bulk_wall_us_a_token": bulk_wall * 1e6,
        "request_ms": forced_cpu * 1e3,
        "request_wall_ms": forced_wall * 1e3,
        "in_flight": IN_FLIGHT,
        "more_memory_mib": (after - before) / 2**20,
        "answer_kib": len(answers(TOKENS)["/v1/completions"]) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, TOKENS), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    runs = [measure(url) for _ in range(chosen.repeats)]
    server.terminate()
    found = {k: float(np.median([r[k] for r in runs])) for k in runs[0]}
    found["more_memory_mib"] = max(r["more_memory_mib"] for r in runs)  # the first one grows it
    result = {"machine": describe(), "aims": AIMS, "repeats": chosen.repeats, "median": found, "runs": runs}
    print(json.dumps(found, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
