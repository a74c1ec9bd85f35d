"""The guard of the web application: hosts, origins, tokens, sizes, and the headers of what is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

pytest.importorskip("fastapi")
from tests.web.serving import Served, served
from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.web.access import Access
from timeline_workers.web.page_files import page_files
from timeline_workers.web.request_guard import MOST_BYTES
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

CHECK = {"expression": "has_existed(x == 1)"}


async def nobody() -> TimelineClient:
    raise ConnectionFailedError("nobody is there")


def app(access: Access) -> Site:
    return Site(nobody, access)


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Served]:
    site = app(Access(token="secret", hosts=("timeline.example",), origins=("https://example.org",)))
    async with served(web_application(site)) as one:
        yield one


async def status(
    guarded: Served, method: str = "GET", path: str = "/api/server", body: object = None, **headers: str
) -> tuple[int, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with guarded.http.request(method, guarded.address + path, headers=sent, json=body) as answer:
        found = await answer.json() if answer.content_type == "application/json" else {}
        return answer.status, found.get("code", "")


async def test_the_api_needs_the_token(guarded: Served) -> None:
    token = {"Authorization": "Bearer secret"}
    assert await status(guarded) == (401, "no-token")
    assert await status(guarded, Authorization="Bearer wrong") == (401, "no-token")
    assert await status(guarded, **token) == (200, "")
    assert await status(guarded, path="/api/server?token=secret") == (200, "")
    assert await status(guarded, path="/api/nothing") == (401, "no-token")
    assert await status(guarded, path="/api/metrics", **token) == (503, "unreachable")
    assert (await status(guarded, path="/"))[0] in (200, 404)  # the page itself is no secret


async def test_only_own_pages_may_change_anything(guarded: Served) -> None:
    own = {"Authorization": "Bearer secret"}
    for origin, expected in (
        ("https://evil.example", (403, "foreign-origin")),
        ("null", (403, "foreign-origin")),
        ("https://example.org", (200, "")),
        (guarded.address, (200, "")),
    ):
        assert await status(guarded, "POST", "/api/check", CHECK, Origin=origin, **own) == expected
    deleted = await status(guarded, "DELETE", "/api/metrics/x", Origin="https://evil.example", **own)
    assert deleted == (403, "foreign-origin")


async def test_foreign_hosts_are_refused_everywhere(guarded: Served) -> None:
    for path in ("/", "/api/server", "/api/openapi.json"):
        assert (await status(guarded, path=path, Host="evil.example"))[0] == 400
        assert (await status(guarded, path=path, Host="127.0.0.1.evil.example:80"))[0] == 400
    assert await status(guarded, path="/api/server?token=secret", Host="timeline.example:443") == (200, "")


async def test_browsers_are_told_what_they_may(guarded: Served) -> None:
    for path in ("/", "/api/server", "/api/server?token=secret"):
        async with guarded.http.get(guarded.address + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self';")
            assert "unsafe" not in policy
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_endless_requests_are_cut_off(guarded: Served) -> None:
    sizes: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sizes.append(1 << 20)
            yield b"x" * sizes[-1]

    async def ended() -> None:
        async with guarded.http.post(f"{guarded.address}/api/check?token=secret", data=endless()) as answer:
            assert answer.status >= 400
            raise aiohttp.ClientError

    with pytest.raises(aiohttp.ClientError):
        await ended()
    assert sum(sizes) < 4 * MOST_BYTES


async def test_files_of_the_page_are_served(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "main-1.js").write_text("0")
    async with served(page_files(tmp_path)) as page:
        async with page.http.get(page.address) as answer:
            assert (await answer.text(), answer.headers["Cache-Control"]) == ("<!doctype html>", "no-cache")
        async with page.http.get(f"{page.address}/assets/main-1.js") as answer:
            assert "immutable" in answer.headers["Cache-Control"]
    async with served(page_files(tmp_path / "none")) as page, page.http.get(page.address) as answer:
        assert "not part of this installation" in await answer.text()
