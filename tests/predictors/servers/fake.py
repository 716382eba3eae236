"""A server that speaks every dialect, has an exact law, and misbehaves when it is told to.

Its law is a table: the next token depends on the last one alone, so every log-probability can be looked up. Faults are given by the
path, the body and the number of the attempt at the same request, so that a run with faults asks for the same things as one without.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.predictors.servers.samplers import sampled_law

N_TOKENS = 264
"""256 bytes, a beginning of text, an end of text, and six rows without a token."""
BEGIN, END, PADDED = 256, 257, 258
NEVER = 33
"""An id that the law never gives after a space (b"!" after b" ")."""
TRANSPORT = ("hang", "reset", "cut", "half_json", "gzip", "drip", "busy", "broken", "gateway", "huge", "not_json")
CONTENT = ("count", "shift", "nan", "null", "positive", "model", "no_null_first", "empty", "number")
Faulty = Callable[[str, dict[str, Any], int], str | None]


def table() -> np.ndarray:
    """log q(next | last), rows × ids."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(N_TOKENS, N_TOKENS)) * 1.5
    letters = np.array([chr(i).isascii() and (chr(i).isalnum() or chr(i) == " ") for i in range(256)])
    logits[:, :256][:, ~letters] -= 6
    logits[:, 256:] -= 9
    logits[ord(" "), NEVER] = -np.inf
    with np.errstate(divide="ignore"):
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))


TABLE = table()
BOMB = gzip.compress(b" " * 10_000_000)


def byte_tokenizer(folder: Path) -> Path:
    """A folder with a tokenizer of single bytes, as transformers reads it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from freerun.predictors.vocabulary import _bytes_of_characters

    vocabulary = _bytes_of_characters()
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|begin|>")
    whole.save_pretrained(str(folder))
    (folder / "config.json").write_text(json.dumps({"vocab_size": N_TOKENS, "eos_token_id": END}))
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20}))
    return folder


class Fake:
    """The server. `seen` holds every request as (path, body, headers)."""

    def __init__(self, faults: Faulty = lambda path, body, attempt: None, *, folder: Path | None = None) -> None:
        self.faults, self.folder = faults, folder
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.attempts: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.running = self.most_running = 0
        self.processed = False
        """Log-probabilities of draws are those of the cooled law."""
        self.zero_last_ids = False
        self.noise_nats = 0.0
        self.ids_in_answers = True
        self.delay_seconds = 0.0
        self.chances = np.random.default_rng(0)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- http ----------------------------------------------------------------------------------------------------------

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines if x)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                body = json.loads(raw) if raw else {}
                path = first.split()[1]
                self.seen.append((path, body, headers))
                self.running += 1
                self.most_running = max(self.most_running, self.running)
                try:
                    if not await self.reply(path, body, headers, writer):
                        return
                finally:
                    self.running -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def reply(self, path: str, body: dict[str, Any], headers: dict[str, str], writer: Any) -> bool:
        """Write one answer; False: the connection is done with."""
        mark = path + json.dumps(body, sort_keys=True)
        fault = self.faults(path, body, self.attempts[mark])
        self.attempts[mark] += 1
        if fault is not None:
            self.injected[fault] += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault in ("busy", "broken", "gateway", "forbidden"):
            status = {"busy": 429, "broken": 500, "gateway": 503, "forbidden": 401}[fault]
            said = {"error": {"message": f"no: {headers.get('authorization', '')}"}}
            await self.send(writer, json.dumps(said).encode(), status, {"Retry-After": "0"})
            return True
        if fault == "absent":
            await self.send(writer, b"", 404)
            return True
        if fault == "dropped":
            await self.send(writer, json.dumps(self.answer(path, body)).encode(), 200)
            return False
        if fault == "redirect":
            await self.send(writer, b"", 307, {"Location": "http://elsewhere.example:9/v1"})
            return True
        answer = self.answer(path, body)
        if fault in CONTENT:
            answer = spoiled(answer, fault)
        data = json.dumps(answer).encode()
        if fault == "gzip":
            await self.send(writer, BOMB, 200, {"Content-Encoding": "gzip"})
        elif fault == "huge":
            await self.send(writer, data + b" " * (1 << 22), 200)
        elif fault == "endless":
            writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(64):
                writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                await writer.drain()
        elif fault == "not_json":
            await self.send(writer, b"<html>Bad gateway</html>", 200)
        elif fault == "half_json":
            await self.send(writer, data[: len(data) // 2], 200)
        elif fault == "cut":
            writer.write(_head(200, len(data), {}) + data[: len(data) // 2])
            await writer.drain()
            return False
        elif fault == "drip":
            writer.write(_head(200, len(data), {}))
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        else:
            await self.send(writer, data, 200 if answer is not None else 404)
        return True

    async def send(self, writer: Any, data: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        writer.write(_head(status, len(data), headers or {}) + data)
        await writer.drain()

    # ---- what it says --------------------------------------------------------------------------------------------------

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        n = body.get("max_tokens", body.get("n_predict", body.get("sampling_params", {}).get("max_new_tokens", 0)))
        if len(body.get("prompt", body.get("input_ids", []))) + n > 64:
            return None  # more than its context holds
        plain = {
            "/version": {"version": "0.33.0"},
            "/v1/models": {"data": [{"id": "m", "max_model_len": 64, "root": str(self.folder)}]},
            "/get_model_info": {"model_path": "org/m", "tokenizer_path": str(self.folder), "vocab_size": N_TOKENS},
            "/get_server_info": {"version": "0.5.23", "context_length": 64},
            "/props": {
                "default_generation_settings": {"n_ctx": 64, "params": {"temperature": 0.8, "min_p": 0.05}},
                "total_slots": 4,
                "model_alias": "m",
                "build_info": "b11549",
            },
        }
        if path == "/v1/models" and self.folder is None:
            return {"data": [{"id": "m", "meta": {"n_vocab": N_TOKENS, "n_params": 1}}]}
        if path in plain:
            return plain[path]
        if path == "/v1/completions":
            return self.completions(body)
        if path == "/generate":
            return self.sglang(body)
        if path == "/tokenize":
            return {"tokens": self.tokens_of(body)}
        return self.llama(body) if path == "/completion" else None

    def log_prob(self, last: int, token: int) -> float:
        return float(TABLE[last, token]) + self.noise_nats * float(self.chances.normal())

    def scores(self, ids: list[int]) -> list[float | None]:
        return [None, *(self.log_prob(a, b) for a, b in pairwise(ids))]

    def draws(self, ids: list[int], n: int, body: dict[str, Any], seed: Any) -> tuple[list[int], list[float]]:
        """Tokens from the law that was asked for, by a generator of the prompt and the seed."""
        digest = hashlib.sha256(json.dumps([ids, seed]).encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        temperature, bias = body.get("temperature", 1.0), dict(map(tuple, body.get("logit_bias", [])))
        out, said, last = [], [], ids[-1]
        for _ in range(n):
            logits = TABLE[last].copy()
            for token, extra in bias.items():
                if token < N_TOKENS:
                    logits[token] = max(logits[token], -1e5) + extra
            if temperature == 0:
                token = int(logits.argmax())
                cooled = TABLE[last]
            else:
                cooled = sampled_law(logits, body, ids, out)
                token = int(rng.choice(N_TOKENS, p=np.exp(cooled) / np.exp(cooled).sum()))
            out.append(token)
            said.append(float(cooled[token]) if self.processed else self.log_prob(last, token))
            last = token
            if token == END:
                break
        return out, said

    def completions(self, body: dict[str, Any]) -> Any:
        ids, n, seed = body["prompt"], body["max_tokens"], body.get("seed")
        drawn, said = self.draws(ids, n, body, seed)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if drawn[-1] == END else "length", "text": "…"}
        if body.get("prompt_logprobs") is not None:
            choice["prompt_logprobs"] = [
                None if x is None else {str(i): {"logprob": _written(x), "rank": self.rank(a, i), "decoded_token": "�"}}
                for x, i, a in zip(self.scores(ids), ids, [0, *ids], strict=False)
            ]
        if body.get("echo"):
            tokens, values = [*ids, *drawn], [*self.scores(ids), *said]
        else:
            tokens, values = drawn, said
        k = body.get("logprobs")
        if k is not None:
            choice["logprobs"] = {
                "tokens": [f"token_id:{t}" if self.ids_in_answers else "�" for t in tokens],
                "token_logprobs": [None if v is None else _written(v) for v in values],
                "top_logprobs": [
                    {f"token_id:{i}": _written(float(TABLE[a, i])) for i in np.argsort(-TABLE[a])[: min(k, 20)]}
                    for a in [ids[-1], *drawn[:-1]]
                ]
                if not body.get("echo")
                else None,
            }
        if body.get("return_token_ids") and self.ids_in_answers:
            choice |= {"token_ids": drawn, "prompt_token_ids": ids}
        return {"model": body["model"], "choices": [choice], "usage": {"prompt_tokens": len(ids)}}

    def rank(self, last: int, token: int) -> int:
        return int((TABLE[last] > TABLE[last, token]).sum()) + 1

    def sglang(self, body: dict[str, Any]) -> Any:
        ids, asked = body["input_ids"], body["sampling_params"]
        drawn, said = self.draws(ids, asked["max_new_tokens"], asked, asked.get("sampling_seed"))

        def shown(i: int) -> int:
            return 0 if self.zero_last_ids and i >= N_TOKENS - 4 else i

        meta: dict[str, Any] = {
            "prompt_tokens": len(ids),
            "finish_reason": {"type": "stop", "matched": END} if drawn[-1] == END else {"type": "length"},
            "output_token_logprobs": [[_written(v), shown(i), None] for v, i in zip(said, drawn, strict=True)],
        }
        if body.get("logprob_start_len") == 0:
            pairs = zip(self.scores(ids), ids, strict=True)
            meta["input_token_logprobs"] = [[None if v is None else _written(v), shown(i), None] for v, i in pairs]
        if k := body.get("top_logprobs_num"):
            meta["output_top_logprobs"] = [[[float(v), i, None] for i, v in enumerate(TABLE[ids[-1]][:k])]]
        return {"text": "…", "output_ids": drawn, "meta_info": meta}

    def tokens_of(self, body: dict[str, Any]) -> list[int]:
        if body["parse_special"] and body["content"] == "<|endoftext|>":
            return [END]
        return [*([BEGIN] if body["add_special"] else []), *body["content"].encode()]

    def llama(self, body: dict[str, Any]) -> Any:
        """As llama.cpp's server: the log-probability before any bias; nothing of tokens that end within a character."""
        ids, k = body["prompt"], body["n_probs"]
        drawn, said = self.draws(ids, body["n_predict"], body, body.get("seed"))
        entries, text, last = [], b"", ids[-1]
        for token, value in zip(drawn, said, strict=True):
            text += self.bytes_of(token)
            if not _open_end(text):
                order = np.argsort(-TABLE[last])[:k]
                tops = [
                    {"id": int(i), "logprob": _written(float(TABLE[last, i])), "bytes": [*self.bytes_of(int(i))]}
                    for i in order
                ]
                entries.append({"id": token, "logprob": _written(value), "top_logprobs": tops})
            last = token
        shown = {"completion_probabilities": entries} if entries and k else {}
        ended = drawn[-1] == END
        return {
            "model": "m",
            "tokens": drawn,
            "tokens_evaluated": len(ids),
            "truncated": False,
            "stop_type": "eos" if ended else "limit",
            **shown,
        }

    @staticmethod
    def bytes_of(token: int) -> bytes:
        return bytes([token]) if token < 256 else b""


def _open_end(text: bytes) -> bool:
    """Whether a text ends within a character."""
    from freerun.predictors.servers.llama_server import cut_short

    return cut_short(text)


def _written(value: float) -> float:
    """As JSON can hold it."""
    return -9999.0 if value == -np.inf else value


def _head(status: int, n: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {n}"]
    return "\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def spoiled(answer: Any, fault: str) -> Any:
    """An answer with one thing wrong in it, in whatever dialect it is."""
    answer = json.loads(json.dumps(answer))
    if fault == "empty":
        return {}
    if fault == "number":
        return 5
    if fault == "model":
        if "model" in answer:
            return {**answer, "model": "another"}
        return {**answer, "meta_info": {**answer.get("meta_info", {}), "prompt_tokens": 1}}
    lists = list(_lists(answer, fault))
    if not lists:
        return {}
    for found in lists:
        _spoil(found, fault)
    return answer


def _lists(answer: Any, fault: str) -> Iterator[list[Any]]:
    """The lists of log-probabilities of an answer, or of the ids beside them."""
    if not isinstance(answer, dict):
        return
    for choice in answer.get("choices", []):
        if "prompt_logprobs" in choice:
            yield choice["prompt_logprobs"]
        elif "logprobs" in choice:
            yield choice["logprobs"]["tokens" if fault == "shift" else "token_logprobs"]
    meta = answer.get("meta_info", {})
    for name in ("input_token_logprobs", "output_token_logprobs"):
        if name in meta:
            yield meta[name]
            return
    if "completion_probabilities" in answer:
        yield answer["completion_probabilities"]


def _spoil(values: list[Any], fault: str) -> None:
    if fault == "count":
        values.pop()
    elif fault == "shift":
        values[:] = [_other_id(v) for v in values]
    elif fault == "no_null_first":
        values[0] = values[-1] if values[0] is None or _starts_null(values) else None
    else:
        at = len(values) // 2
        values[at] = _with_value(values[at], {"nan": float("nan"), "null": None, "positive": 0.5}[fault])


def _other_id(entry: Any) -> Any:
    """An entry as that of the next id."""
    if isinstance(entry, str):
        return f"token_id:{int(entry.removeprefix('token_id:')) + 1}"
    if isinstance(entry, list):
        return [entry[0], entry[1] + 1, *entry[2:]]
    if isinstance(entry, dict) and "id" in entry:
        return {**entry, "id": entry["id"] + 1}
    return {str(int(k) + 1): v for k, v in entry.items()} if isinstance(entry, dict) else entry


def _starts_null(values: list[Any]) -> bool:
    return isinstance(values[0], list) and values[0][0] is None


def _with_value(entry: Any, value: Any) -> Any:
    if isinstance(entry, dict) and "logprob" in entry:
        return {**entry, "logprob": value}
    if isinstance(entry, dict):
        return {k: {**v, "logprob": value} for k, v in entry.items()}
    return [value, *entry[1:]] if isinstance(entry, list) else value


@contextmanager
def serving(fake: Fake, tls: Any = None) -> Iterator[Fake]:
    """The server on a free port of this machine, in a thread of its own."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> Any:
        server = await asyncio.start_server(fake.handle, "127.0.0.1", 0, limit=1 << 24, ssl=tls)
        fake.port = server.sockets[0].getsockname()[1]
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(start())
        loop.call_soon(ready.set)
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
