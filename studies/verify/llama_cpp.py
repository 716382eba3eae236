"""Samples by llama.cpp's own server (the xllamacpp wheel), from the GGUF file that the 135M model's weights were made from."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""What turns off every step that the server takes by default."""
DEFAULTS: dict[str, float] = {}
_SERVE = """
import sys
from xllamacpp import CommonParams, Server
p = CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_parallel, p.n_ctx, p.warmup = 2, 1024, False
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = Server(p)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def serving(gguf: Path) -> Iterator[str]:
    """The address of a server of this file, for as long as it is needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", _SERVE, str(gguf), str(port)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        if not any(line.strip() == b"ready" for line in iter(server.stdout.readline, b"")):
            raise RuntimeError("the server of the xllamacpp wheel does not start here")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


def by_llama_cpp(
    path: Path, prompts: list[np.ndarray], n_tokens: int, gguf: Path, *, first_seed: int = 1000, **settings: float
) -> None:
    """Ids are sent and ids come back, with the log-probabilities that the server reports. Every request has a seed of its own."""
    with serving(gguf) as address, ThreadPoolExecutor(2) as pool:
        asked = [
            {
                "prompt": prompt.tolist(),
                "n_predict": n_tokens,
                "seed": first_seed + row,
                "return_tokens": True,
                "n_probs": 1,
                "cache_prompt": False,
                **settings,
            }
            for row, prompt in enumerate(prompts)
        ]
        answers = pool.map(lambda body: _post(f"{address}/completion", body), asked)
        write_samples(path, [_completion(row, prompts[row], answer) for row, answer in enumerate(answers)])


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return dict(json.load(answer))


def _completion(row: int, prompt: np.ndarray, answer: dict[str, Any]) -> Completion:
    ids = np.array(answer["tokens"], np.int64)
    assert answer["tokens_evaluated"] == len(prompt), "the server put something before the ids"
    reported = _reported(ids, answer.get("completion_probabilities", []))
    finish = "stop" if answer["stop_type"] == "eos" else "length"
    return Completion(row, prompt_ids=prompt, completion_ids=ids, log_probs_nats=reported, finish_reason=finish)


def _reported(ids: np.ndarray, said: list[dict[str, Any]]) -> np.ndarray:
    """Log-probabilities by token. The server leaves tokens out of its list that end within a character, so ids are matched in
    their order; what is not there is NaN."""
    out, at = np.full(len(ids), np.nan), 0
    for entry in said:
        while at < len(ids) and ids[at] != entry["id"]:
            at += 1
        if at < len(ids):
            out[at] = min(entry["logprob"], 0.0)
            at += 1
    return out
