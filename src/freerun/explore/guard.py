"""Who may ask: only this machine, only by its own name, only with the token, only from the page itself."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")
"""Names of this machine. Any other one in `Host` is a page that had its own name pointed here (DNS rebinding)."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_NO_TOKEN = (
    "This page belongs to whoever started it. Open the address that `freerun explore` printed in its terminal: "
    "it has the token in it.\n"
)


def new_token() -> str:
    """192 random bits."""
    return secrets.token_urlsafe(24)


class Guard:
    """Stands before the application. The token comes once in the address, and from then on in a cookie that scripts cannot read."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.cookie = f"freerun-explore-{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """What a request is told that may not go on; None: it may."""
        host = request.headers.get("host", "")
        if urlsplit(f"//{host}").hostname not in NAMES:
            return PlainTextResponse("This page answers to 127.0.0.1 and localhost only.\n", 403)
        if not _same_origin(request.headers, host):
            return PlainTextResponse("Only the page itself may ask.\n", 403)
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/":
            if not self._right(given):
                return PlainTextResponse(f"Wrong token. {_NO_TOKEN}", 403)
            away = RedirectResponse("/", 303)
            away.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
            return away
        if not self._right(request.cookies.get(self.cookie, "")):
            return PlainTextResponse(_NO_TOKEN, 403)
        return None

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a request comes from the page, or from an address that was opened."""
    origin = headers.get("origin")
    if origin is not None:
        return origin == f"http://{host}"
    site, mode = headers.get("sec-fetch-site", "same-origin"), headers.get("sec-fetch-mode", "")
    return site in ("same-origin", "none") or mode == "navigate"
