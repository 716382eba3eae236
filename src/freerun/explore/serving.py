"""Serve the page until it is told to stop."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from freerun.errors import UsageError
from freerun.explore.desk import Desk
from freerun.explore.guard import new_token
from freerun.explore.server import application
from freerun.explore.worker import Worker

DEFAULT_PORT = 8321
"""The usual port, so that a saved address finds the page again."""
_WAIT_SECONDS = 2


def bound(port: int | None) -> socket.socket:
    """A socket on this machine alone; without a port the usual one, or a free one where that is taken.

    Raises:
        UsageError: the port that was asked for is taken or not allowed.
    """
    for wanted in [DEFAULT_PORT, 0] if port is None else [port]:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", wanted))
            listening.listen()  # whoever comes before the server is up waits for it
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            why = getattr(error, "strerror", None) or error
    raise UsageError(f"--port {port}: {why}; take another one, or leave --port out and a free one is found")


def serve(
    desk: Desk, listening: socket.socket, *, place: str = "", tell: Callable[[str], None], open_browser: bool
) -> None:
    """Answer until Ctrl-C or SIGTERM, then end the work and raise the signal again; `place`: where the page begins."""
    port, token = int(listening.getsockname()[1]), new_token()
    address = f"http://127.0.0.1:{port}/?token={token}{place}"
    worker = Worker()
    server = uvicorn.Server(
        uvicorn.Config(
            application(desk, worker, token=token, port=port),
            log_level="error",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_WAIT_SECONDS,
        )
    )
    tell(address)
    if open_browser:
        webbrowser.open(address)
    try:
        server.run(sockets=[listening])
    finally:
        worker.close()
