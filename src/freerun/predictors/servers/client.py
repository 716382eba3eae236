"""One HTTP client for every kind of server: bounded, adaptive, patient, and deaf to what it did not ask for.

It runs on an event loop in a thread of its own, so that it works where a loop is running already (notebooks). No proxy settings
are read from the environment, TLS certificates are verified, redirects are refused, compressed answers are refused (so none can
be a bomb), and no answer is read beyond the bytes that were allowed.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from freerun.errors import BackendError
from freerun.predictors.servers.address import KEY_VARIABLE, Key
from freerun.predictors.servers.faults import BadAnswer, Failure, Fault, Patience, Tally, retry_after_seconds
from freerun.predictors.servers.limiter import Limiter

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, T]]

SMALL_ANSWER_BYTES = 1 << 20
CONNECT_SECONDS = 20.0
_EXCERPT = 200
_BUSY = (408, 425, 429, 502, 503, 504, 529)
"""Statuses of a server that has too much to do, or whose proxy waits for it."""
_CLOSED = ("HTTP 401", "HTTP 403")
"""Kinds of faults of a server that wants another key."""


class Client:
    """Requests to one server. Methods that are coroutines run on the client's loop, inside jobs."""

    def __init__(
        self,
        url: str,
        *,
        key: Key | None = None,
        at_once: int = 256,
        timeout_seconds: float = 600.0,
        patience: Patience | None = None,
    ) -> None:
        self.url, self._key, self.at_once, self.timeout_seconds = url, key, at_once, timeout_seconds
        self.patience = patience or Patience()
        self.limiter = Limiter(at_once)
        self.tally = Tally()
        self._chance = random.Random()  # spreads retries in time, decides nothing that is recorded
        self._open_at = 0.0
        """Loop time before which nothing is sent: the server asked to be left alone."""
        self._session: aiohttp.ClientSession | None = None

    # ---- from outside the loop -------------------------------------------------------------------------------------

    def each(self, jobs: Iterable[Job[T]], *, at_once: int | None = None) -> Iterator[tuple[int, T]]:
        """Run jobs, at most `at_once` together, and yield the number and result of each as it is finished.

        A job is started only when there is room for it, so what is held in memory is bounded by `at_once`.

        Raises:
            BackendError: one failed in the end; the others are stopped.
        """
        loop, done = _loop(), SimpleQueue[tuple[int, Future[T]]]()
        running: set[Future[T]] = set()
        waiting = enumerate(jobs)

        def start() -> None:
            for i, job in waiting:
                future = asyncio.run_coroutine_threadsafe(job(), loop)
                running.add(future)
                future.add_done_callback(lambda f, i=i: done.put((i, f)))  # type: ignore[misc]
                return

        try:
            for _ in range(min(self.at_once, at_once or self.at_once)):
                start()
            while running:
                i, future = done.get()
                running.discard(future)
                start()
                yield i, future.result()
        finally:
            for future in running:
                future.cancel()

    def run(self, job: Job[T]) -> T:
        """One job."""
        return next(self.each([job]))[1]

    def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            _close(session)

    # ---- inside jobs -----------------------------------------------------------------------------------------------

    async def ask(
        self,
        path: str,
        body: dict[str, Any] | None,
        read: Callable[[Any], T],
        *,
        most_bytes: int = SMALL_ANSWER_BYTES,
        attempts: int | None = None,
        probe: bool = False,
    ) -> T:
        """POST a body (None: GET) and give what `read` makes of the JSON that comes back.

        `read` raises BadAnswer for an answer that is not one to this request; it is asked for again, `attempts` times in all where
        that is given. `probe`: whether the server can do this is what is asked, so a failure is an answer and is not counted as
        one.

        Raises:
            BackendError: it failed in the end.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        loop = asyncio.get_running_loop()
        failures, unusable, refusals, refused_since = 0, 0, 0, None
        allowed = self.patience.attempts if attempts is None else attempts
        while True:
            try:
                async with self.limiter.turn():
                    await self._until_open(loop)
                    answer = await self._attempt(path, data, most_bytes)
                    self.limiter.succeeded()
                result = read(answer)
            except Fault as fault:
                if fault.kind in ("HTTP 429", "HTTP 503"):
                    refusals += 1
                    refused_since = loop.time() if refused_since is None else refused_since
                    spent = loop.time() - refused_since > self.patience.busy_seconds
                else:
                    failures += 1
                    unusable += isinstance(fault, BadAnswer)
                    spent = failures >= allowed or unusable >= self.patience.answers
                if fault.busy:
                    self.limiter.refused()
                too_long = (fault.wait_seconds or 0.0) > self.patience.longest_asked_seconds
                if spent or too_long or not fault.again:
                    raise self._final(path, fault, failures + refusals, counted=not probe) from None
                self.tally.retried[fault.kind] += 1
                wait = self.patience.wait(failures + refusals, self._chance)
                if fault.wait_seconds is not None:
                    wait = fault.wait_seconds + min(wait, 1.0) * self._chance.random()
                    self._open_at = max(self._open_at, loop.time() + fault.wait_seconds)
                await asyncio.sleep(wait)
            else:
                self.tally.answered += 1
                return result

    async def _until_open(self, loop: asyncio.AbstractEventLoop) -> None:
        while (left := self._open_at - loop.time()) > 0:
            await asyncio.sleep(left)

    async def _attempt(self, path: str, data: bytes | None, most_bytes: int) -> Any:
        """One request and its answer's JSON; every way to fail is a Fault."""
        import aiohttp

        try:
            async with asyncio.timeout(self.timeout_seconds):
                session = self._opened()
                method = "GET" if data is None else "POST"
                async with session.request(method, self.url + path, data=data, allow_redirects=False) as response:
                    self._check_head(response)
                    raw = await _bounded(response, most_bytes)
                    if response.status != 200:
                        raise self._refusal(response, raw)
        except aiohttp.ServerTimeoutError:
            raise Fault("no connection", f"cannot connect within {CONNECT_SECONDS:g} s", busy=True) from None
        except TimeoutError:
            raise Fault("time-out", f"no answer within {self.timeout_seconds:g} s", busy=True) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise Fault("TLS", f"its certificate is not trusted ({error.certificate_error})", again=False) from None
        except aiohttp.ClientConnectorError as error:
            raise Fault("no connection", f"cannot connect ({error.os_error.strerror or error.os_error})") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Fault("broken connection", f"the connection broke ({type(error).__name__})", busy=True) from None
        return self._parsed(raw)

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            if self._key is not None:
                headers["Authorization"] = self._key.header()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
            weakref.finalize(self, _close, self._session)
        return self._session

    def _check_head(self, response: aiohttp.ClientResponse) -> None:
        if 300 <= response.status < 400:
            where = urlsplit(response.headers.get("Location", "")).netloc
            raise Fault(
                "redirect",
                f"it redirects to {self._hidden(where) or 'another place'}, which is not followed; name the right address instead",
                again=False,
            )
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise BadAnswer(f"the answer is compressed ({self._hidden(coding)[:20]}), which was not asked for")

    def _refusal(self, response: aiohttp.ClientResponse, raw: bytes) -> Fault:
        """What an HTTP status other than 200 means."""
        status = response.status
        said = self._hidden(_said(raw))
        busy = status in _BUSY or status == 500
        wait = retry_after_seconds(response.headers.get("Retry-After")) if status in (429, 503) else None
        return Fault(
            f"HTTP {status}",
            f"HTTP {status}{f' ({said})' if said else ''}",
            again=busy or status > 500,
            busy=busy,
            wait_seconds=wait,
        )

    def _parsed(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise BadAnswer("the answer is not whole JSON") from None

    def _hidden(self, said: str) -> str:
        return said if self._key is None else self._key.hidden_in(said)

    def hidden(self, said: str) -> str:
        """What the server says of itself, without the key in it. A key of few letters is not a secret, and part of many words."""
        return self._hidden(said) if self._key is not None and self._key.is_long else said

    def _final(self, path: str, fault: Fault, attempts: int, *, counted: bool) -> BackendError:
        if counted:
            self.tally.failed.append(Failure(path, fault.kind, fault.why, attempts))
        tries = "" if attempts <= 1 else f" after {attempts} attempts"
        if not self.tally.answered or fault.kind in _CLOSED:
            return BackendError(f"{self.url}{path} failed{tries}: {fault.why}; {self._what_may_be_wrong(fault)}")
        retried = self.tally.describe()
        return BackendError(
            f"{self.url}{path} failed{tries}: {fault.why}"
            + (f"; before that {retried}" if retried else "")
            + "; what was finished before is kept, and the same command goes on from there"
        )

    def _what_may_be_wrong(self, fault: Fault) -> str:
        """With the address or the key."""
        if fault.kind in _CLOSED:
            return f"put its key into {KEY_VARIABLE}" if self._key is None else "it does not take the key that was sent"
        if fault.kind == "HTTP 404":
            return "is it the kind of server that the name says, and is the path in the address right?"
        https = ", and does it speak https?" if fault.kind == "no connection" and self.url.startswith("https:") else "?"
        return f"is the server running there{https}"


def _said(raw: bytes) -> str:
    """The message in an error's body, as one short line."""
    words = raw[:4096].decode("utf-8", "replace")
    try:
        value = json.loads(raw)
        error = value.get("error", value) if isinstance(value, dict) else value
        if isinstance(error, dict):
            words = str(error.get("message", error.get("detail", "")))
        elif isinstance(error, str):
            words = error
    except (ValueError, RecursionError):
        pass
    line = " ".join(words.split())
    return line if len(line) <= _EXCERPT else line[:_EXCERPT] + "…"


async def _bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body, as far as it was allowed to go."""
    if (response.content_length or 0) > most_bytes:
        raise BadAnswer(f"the answer has {response.content_length:,} bytes, and {most_bytes:,} were allowed")
    parts, n = [], 0
    async for part in response.content.iter_any():
        n += len(part)
        if n > most_bytes:
            raise BadAnswer(f"the answer has more than the {most_bytes:,} bytes that were allowed")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# ---- the loop's thread ---------------------------------------------------------------------------------------------------

_THREAD = "freerun-http"
_LOCK = threading.Lock()
_LOOPS: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all clients, in a thread that ends with the process."""
    with _LOCK:
        if not _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=partial(_serve, loop), name=_THREAD, daemon=True).start()
            _LOOPS.append(loop)
        return _LOOPS[0]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _close(session: aiohttp.ClientSession) -> None:
    """Close a session whose client is gone."""
    if session.closed or not _LOOPS or not _LOOPS[0].is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(session.close(), _LOOPS[0])
    if threading.current_thread().name != _THREAD:
        with suppress(Exception):
            closing.result(2)
