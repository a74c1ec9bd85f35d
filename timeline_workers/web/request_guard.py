"""Guard: what stands before every request: whose host, whose page, which token, how much; and the headers
that keep a browser from running, framing or leaking what is served.

Sockets are only asked for their Host header here: ``dvr`` accepts and then closes them, as browsers do not
show why one was refused.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access

MOST_BYTES: Final = 16 << 20  # of a request,
STREAMED: Final = frozenset({"/api/history/import"})  # but for these, which are not held in memory
POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # an address may have the token in it
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_READING: Final = ("GET", "HEAD", "OPTIONS")


def is_api(scope: Scope) -> bool:
    """Whether a request is to the API, and not for a file of the page."""
    return str(scope["path"]).startswith("/api/")


class Guard:
    """``app`` behind the rules of ``access``. Pages need no token, ``/api/`` does."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._access.knows_host(headers.get("host")):
            said = f"{headers.get('host', '')!r} is no name of this server\n"
            await PlainTextResponse(said, 400)(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found.setdefault(name, value)
                if is_api(scope):
                    found.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, receive if scope["path"] in STREAMED else _counted(receive), with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not is_api(scope):
            return None
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        if scope["method"] not in _READING and not self._access.is_own(
            headers.get("origin"), headers.get("host")
        ):
            return _refused(
                403,
                "foreign-origin",
                f"a page of {headers.get('origin')} may change nothing here; allow it with --origin",
            )
        if not self._access.has_token(headers, query):
            response = _refused(401, "no-token", "send the token of this server: Authorization: Bearer TOKEN")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MOST_BYTES and scope["path"] not in STREAMED:
            return _refused(
                413, "too-large", f"a request may have {MOST_BYTES:,} bytes, and this has {length}"
            )
        return None


class _TooLargeError(ConnectionError):
    """A request that goes on and on."""


def _counted(receive: Receive) -> Receive:
    """``receive`` that gives up on a request that is larger than it said."""
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BYTES:
            raise _TooLargeError(f"a request may have {MOST_BYTES:,} bytes")
        return message

    return counting


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
