"""POST requests: what an answer of HTTP means for a message, and how one is asked for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from timeline_workers.alerts.webhook_request import verdict
from timeline_workers.targets.sending import Answer, later

_SHOWN: Final = 200  # characters of what the answer says
_UNREACHABLE: Final = (aiohttp.ClientError, OSError, TimeoutError)


@asynccontextmanager
async def session(timeout: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose requests take ``timeout`` microseconds at most; it follows no redirection and takes
    no proxy."""
    limit = aiohttp.ClientTimeout(total=timeout / 1_000_000)
    async with aiohttp.ClientSession(timeout=limit) as made:
        yield made


async def post(made: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """What a POST was answered."""
    try:
        async with made.post(url, data=body, headers=dict(headers), allow_redirects=False) as answer:
            said = (await answer.content.read(4 * _SHOWN)).decode("utf-8", "replace")
            names = {name.lower(): value for name, value in answer.headers.items()}
            found, after = verdict(answer.status, names, now())
            text = " ".join(said.split())[:_SHOWN]
            why = f"{answer.status} {answer.reason or ''}".rstrip() + (f": {text}" if text else "")
            return Answer(verdict=found, why=why, after=after)
    except aiohttp.InvalidURL:
        return Answer(verdict="later", why="its address is no URL of HTTP")
    except _UNREACHABLE as error:
        return later(error)


def now() -> int:
    """The present instant, microseconds."""
    return time.time_ns() // 1000


def bearer(token: str | None) -> dict[str, str]:
    """The header of a token."""
    return {} if token is None else {"authorization": f"Bearer {token}"}
