"""The codec server: lets Temporal's UI and command line show payloads that only we can decrypt.

Temporal's protocol: ``POST /encode`` and ``POST /decode`` take ``{"payloads": […]}``, payloads as protobuf
writes them in JSON, and return the same with each payload encrypted or decrypted. A browser asks from the
UI's origin, so that must be allowed (CORS); a request from any other origin is refused. With a token, every
request must carry it as ``Authorization: Bearer TOKEN``.

Whoever may ask this server can read every payload: keep it on the loopback interface, or give it a token and
TLS in front.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from timeline_workers.errors import CodecError

MAX_REQUEST_BYTES = 64 << 20
_CORS = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "content-type, x-namespace, authorization",
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def codec_application(
    codec: PayloadCodec, origins: Sequence[str], token: str | None = None
) -> web.Application:
    """The web application. ``origins``: those a browser may ask from, such as ``http://127.0.0.1:8233``."""
    allowed = frozenset(origin.rstrip("/") for origin in origins)

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin not in allowed:
            return _refusal(403, f"the origin {origin} may not ask; allow it with --origin {origin}")
        headers = {} if origin is None else {**_CORS, "Access-Control-Allow-Origin": origin}
        try:
            if request.method == "OPTIONS":
                return web.Response(status=204, headers=headers)
            if token is not None and not _carries(request, token):
                return _refusal(401, "this server wants Authorization: Bearer TOKEN", headers)
            answer = await handler(request)
        except CodecError as error:
            return _refusal(422, str(error), headers)
        except (ParseError, ValueError) as error:
            return _refusal(400, f'no {{"payloads": […]}} of Temporal in JSON: {error}', headers)
        except web.HTTPException as error:
            return _refusal(error.status, error.reason, headers)
        answer.headers.update(headers)
        return answer

    async def encode(request: web.Request) -> web.Response:
        return await _answer(request, codec.encode_wrapper)

    async def decode(request: web.Request) -> web.Response:
        return await _answer(request, codec.decode_wrapper)

    app = web.Application(middlewares=[guard], client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/encode", encode)
    app.router.add_post("/decode", decode)
    return app


async def _answer(request: web.Request, convert: Callable[[Payloads], Awaitable[None]]) -> web.Response:
    body = json.loads(await request.read())
    if not isinstance(body, dict):  # the library takes a list for an object without fields
        raise ValueError("it is no object")
    payloads = ParseDict(body, Payloads())
    await convert(payloads)
    return web.json_response(MessageToDict(payloads))


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"message": message}, status=status, headers=headers)


def _carries(request: web.Request, token: str) -> bool:
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


async def serve(
    app: web.Application, host: str, port: int, stop: asyncio.Event, tell: Callable[[str], object]
) -> None:
    """Serve until ``stop`` is set; ``tell`` hears the URL once requests are taken. Raises OSError for an
    address that cannot be used.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        # The port that was chosen when 0 was asked for.
        bound = runner.addresses[0][1]
        tell(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        await stop.wait()
    finally:
        await runner.cleanup()
