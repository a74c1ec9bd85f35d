"""A TLS gateway in front of a server, as clusters have one: it ends TLS, may want a client's certificate or
an API key, and passes everything on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

UNAUTHENTICATED = "16"


@dataclass
class Gateway:
    """Where it listens, and the headers of the first request of each connection."""

    address: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def gateway(
    behind: str,
    certificate: Path,
    key: Path,
    *,
    clients_of: Path | None = None,
    api_key: str | None = None,
) -> AsyncIterator[Gateway]:
    """Run one in front of ``behind`` (host:port). ``clients_of``: the authority of client certificates, which
    are wanted then; ``api_key``: what requests must carry.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of)
    host, _, port = behind.rpartition(":")
    made = Gateway()
    open_now: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        open_now.add(this)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await _pass_on(made, reader, writer, host, int(port), api_key)
        finally:
            open_now.discard(this)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _pass_on(
    made: Gateway,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    api_key: str | None,
) -> None:
    observed = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    observed.initiate_connection()
    seen = b""  # a client asks without waiting for the server's first word
    request: RequestReceived | None = None
    while request is None:
        data = await reader.read(65_536)
        if not data:
            return
        seen += data
        requests = [e for e in observed.receive_data(data) if isinstance(e, RequestReceived)]
        request = requests[0] if requests else None
    headers = {str(name): str(value) for name, value in request.headers or []}
    made.requests.append(headers)
    if api_key is not None and headers.get("authorization") != f"Bearer {api_key}":
        refusal = [(":status", "200"), ("content-type", "application/grpc")]
        refusal += [("grpc-status", UNAUTHENTICATED), ("grpc-message", "the API key is not known")]
        observed.send_headers(request.stream_id or 1, refusal, end_stream=True)
        writer.write(observed.data_to_send())
        await writer.drain()
        return
    inner_reader, inner_writer = await asyncio.open_connection(host, port)
    inner_writer.write(seen)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, inner_writer))
            both.create_task(_copy(inner_reader, writer))
    except* OSError:
        pass  # one side went away
    finally:
        inner_writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    sink.close()
