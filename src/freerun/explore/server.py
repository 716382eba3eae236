"""The web page and what it may ask: one folder of files, and one door for every question.

Every answer is a stream of lines of JSON: how far it is, then what it came to. Whoever hangs up ends the work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from freerun.errors import DataError
from freerun.explore.desk import (
    BesideRequest,
    Desk,
    ReadRequest,
    RunTextRequest,
    SampleRequest,
    WritersRequest,
)
from freerun.explore.guard import Guard
from freerun.explore.worker import Busy, Event, Failure, Progress, Turn, Worker
from freerun.results.finding import to_json
from freerun.results.json import from_json

MOST_BYTES = 1 << 20
"""Of a question."""
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_Job = Callable[[Turn], Any]


def application(desk: Desk, worker: Worker, *, token: str, port: int) -> Guard:
    """The page of one desk, behind its guard."""
    asked: dict[str, tuple[type[Any], Callable[[Any, Turn], Any], bool]] = {
        "read": (ReadRequest, desk.read, True),
        "run-text": (RunTextRequest, desk.run_text, True),
        "sample": (SampleRequest, desk.sample, False),
        "writers": (WritersRequest, desk.writers, False),
        "coherence": (WritersRequest, desk.coherence, False),
        "beside": (BesideRequest, desk.beside, False),
    }

    async def ask(request: Request) -> Response:
        name = request.path_params["question"]
        if name not in asked:
            return _refused(404, f"no question {name!r}")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "a question is JSON")
        kind, answer, short = asked[name]
        try:
            question = from_json(kind, json.loads(await _body(request)))
        except (ValueError, RecursionError, DataError) as error:
            return _refused(400, f"this question cannot be read: {error}")
        return Stream(worker, lambda turn: answer(question, turn), short=short)

    async def about(request: Request) -> Response:
        return JSONResponse(to_json(desk.about()))

    routes = [
        Route("/api/about", about),
        Route("/api/{question}", ask, methods=["POST"]),
        Route("/{path:path}", page_file),
    ]
    return Guard(Starlette(routes=routes), token=token, port=port)


async def page_file(request: Request) -> Response:
    """A file of the page; the report's own style is among them."""
    name = request.path_params["path"] or "index.html"
    report = name == "report.css"
    folder = files("freerun.report.pages") if report else files("freerun.explore").joinpath("page")
    parts = ["page.css"] if report else name.split("/")
    if any(not part or part.startswith(".") or "\\" in part for part in parts):
        return _refused(404, "no such file")
    file = folder.joinpath(*parts)
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or not file.is_file():
        return _refused(404, "no such file")
    return Response(file.read_bytes(), media_type=kind)


def _refused(code: int, why: str) -> Response:
    return JSONResponse({"error": why}, code, headers={"Retry-After": "1"} if code == 429 else None)


async def _body(request: Request) -> bytes:
    """Raises DataError: too long."""
    held = bytearray()
    async for part in request.stream():
        held += part
        if len(held) > MOST_BYTES:
            raise DataError(f"longer than {MOST_BYTES >> 20} MiB")
    return bytes(held)


class Stream(Response):
    """Puts a job into the queue and hands on what it tells, line by line."""

    def __init__(self, worker: Worker, job: _Job, *, short: bool) -> None:
        self.worker, self.job, self.short = worker, job, short

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        try:
            ticket = self.worker.submit(self.job, lambda event: _tell(loop, events, event), short=self.short)
        except Busy:
            await _refused(429, "busy: the model has enough to do; try again in a moment")(scope, receive, send)
            return
        left = asyncio.ensure_future(_until_left(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"application/x-ndjson")],
                }
            )
            while True:
                following = asyncio.ensure_future(events.get())
                await asyncio.wait({following, left}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    return
                event = following.result()
                over = not isinstance(event, Progress)
                await send({"type": "http.response.body", "body": _line(event), "more_body": not over})
                if over:
                    return
        finally:
            ticket.cancel()
            left.cancel()


def _tell(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    """Called by the worker's thread; after the server has gone nobody listens."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(events.put_nowait, event)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _line(event: Event) -> bytes:
    if isinstance(event, Progress):
        told: dict[str, Any] = {"progress": to_json(event)}
    elif isinstance(event, Failure):
        told = {"error": event.message}
    else:
        told = {"answer": to_json(event.value)}
    return json.dumps(told, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
