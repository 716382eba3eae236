"""A page that is served from this process, for tests."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from freerun.explore.desk import Desk
from freerun.explore.reader import Reader
from freerun.explore.server import application
from freerun.explore.serving import bound
from freerun.explore.worker import Progress, Turn, Worker
from freerun.explore.writers import SourceReader
from freerun.predictors.base import Predictor
from freerun.predictors.ngram import byte_ngram

TOKEN = "a-token-of-tests"
TEXT = "to be or not to be that is the question whether tis nobler in the mind to suffer "


def toy() -> Predictor:
    """Bytes, three at a time."""
    return byte_ngram([TEXT * 3, "the cat sat on the mat. " * 4], order=4, name="ngram/toy")


def desk_of(predictor: Predictor, second: Predictor | None = None, *, sources: tuple[str, ...] = ("era",)) -> Desk:
    return Desk(Reader(predictor), SourceReader(predictor, sources), None if second is None else Reader(second))


def alone() -> Turn:
    """A turn that nobody waits behind."""
    return Turn(_NEVER, _NOBODY, nested=False)


class _Nobody:
    cancelled, short = False, True

    def tell(self, event: Any) -> None:
        assert isinstance(event, Progress)


class _Never:
    closed = False


_NOBODY: Any = _Nobody()
_NEVER: Any = _Never()


@dataclass
class Endless:
    """A question that has no end unless it is cancelled."""

    began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, asked: Any, turn: Turn) -> Any:
        turn.expect(10)
        self.began.set()
        try:
            while True:
                turn()
        finally:
            self.ended.set()


@dataclass(frozen=True)
class Site:
    """A page that is up."""

    desk: Desk
    worker: Worker
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def ask(self, question: str, body: Any, **headers: str) -> tuple[int, list[dict[str, Any]]]:
        """Status and lines of an answer."""
        status, text = self.send("POST", f"/api/{question}", json.dumps(body), **headers)
        return status, [json.loads(line) for line in text.splitlines()]

    def send(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        usual = {"Cookie": f"freerun-explore-{self.port}={self.token}", "Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {k: v for k, v in (usual | given).items() if v})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text


@contextmanager
def served(desk: Desk, *, port: int = 0, token: str = TOKEN, most_waiting: int = 8) -> Iterator[Site]:
    """Up for as long as the block runs."""
    listening = bound(port)
    number = int(listening.getsockname()[1])
    worker = Worker(most_waiting=most_waiting)
    config = uvicorn.Config(
        application(desk, worker, token=token, port=number),
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Site(desk, worker, number, token)
    finally:
        server.should_exit = True
        worker.close()
        thread.join(10)
        listening.close()
        assert not thread.is_alive()
