"""A proxy before a PostgreSQL server that refuses what Redshift, or a pooler, may not have."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_PREPARED = {b"P": "Parse", b"B": "Bind", b"D": "Describe", b"E": "Execute", b"C": "Close"}


@asynccontextmanager
async def refusing(address: str) -> AsyncIterator[str]:
    """The address of a server like the one at ``address``, without prepared statements and catalogs."""
    behind = urlsplit(address)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(behind.hostname, behind.port)
        back = asyncio.create_task(_copy(server, to_client))
        tasks.add(back)
        try:
            while True:  # until the client has begun, messages have no kind
                size = await client.readexactly(4)
                rest = await client.readexactly(struct.unpack("!i", size)[0] - 4)
                to_server.write(size + rest)
                if len(rest) > 4:
                    break
            while True:
                kind = await client.readexactly(1)
                size = await client.readexactly(4)
                rest = await client.readexactly(struct.unpack("!i", size)[0] - 4)
                refused = _PREPARED.get(kind) or ("the catalog" if b"pg_" in rest and kind == b"Q" else None)
                if refused is not None:
                    said = f"SERROR\0C0A000\0Mrefused: {refused}\0\0".encode()
                    to_client.write(b"E" + struct.pack("!i", len(said) + 4) + said)
                    to_client.write(b"Z" + struct.pack("!i", 5) + b"I")
                    continue
                to_server.write(kind + size + rest)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            to_server.close()
            to_client.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield address.replace(f":{behind.port}/", f":{port}/", 1)
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            to.write(data)
    except ConnectionError:
        return
    finally:
        to.close()
