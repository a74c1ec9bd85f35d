"""A web application on a real uvicorn, for tests, and a client that asks it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.types import ASGIApp

from timeline_workers.web.server import address_of, bind, server


@dataclass(frozen=True)
class Served:
    """An application that is served at ``address``."""

    address: str
    http: aiohttp.ClientSession

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """The JSON at a path below ``/api``, answered with ``status``; lists are given several times."""
        pairs = [
            (name, str(one))
            for name, value in query.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        async with self.http.get(f"{self.address}/api{path}", params=pairs) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def text(self, path: str, **query: Any) -> str:
        """The text at a path below ``/api``."""
        async with self.http.get(f"{self.address}/api{path}", params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    async def post(self, path: str, body: Any, status: int = 200, **query: Any) -> Any:
        """What is answered to a JSON object, to a text as YAML, or to a file."""
        sent = {"data": body} if isinstance(body, str | bytes | io.IOBase) else {"json": body}
        async with self.http.post(f"{self.address}/api{path}", params=query, **sent) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def delete(self, path: str, status: int = 200) -> Any:
        """What is answered to a deletion."""
        async with self.http.delete(f"{self.address}/api{path}") as answer:
            assert answer.status == status, await answer.text()
            return await answer.json() if answer.status != 204 else None


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Served]:
    """``app`` on a free port."""
    with bind("127.0.0.1", 0) as listening:
        runs = server(app)
        task = asyncio.create_task(runs.serve([listening]))
        try:
            async with aiohttp.ClientSession() as http:
                yield Served(address_of(listening), http)
        finally:
            runs.should_exit = True
            await task
