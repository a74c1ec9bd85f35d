"""Moving a history over HTTP, forgetting, and having it read again: as the command line does."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from tests.web.recorded import Recorded
from tests.web.serving import Served, served
from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.history.model import Outcome
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.history.store import HistoryStore
from timeline_workers.history.transfer import export_history
from timeline_workers.web.access import Access
from timeline_workers.web.request_guard import MOST_BYTES
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

ALWAYS = -(2**60), 2**60
MANIFEST = b'{"version": 1, "definitions": {}, "nodes": {}, "gaps": []}'


async def nobody() -> TimelineClient:
    raise ConnectionFailedError("there is no Temporal here")


@asynccontextmanager
async def server(store: HistoryStore | None, *, read_only: bool = False) -> AsyncIterator[Served]:
    async with served(web_application(Site(nobody, Access(), store=store, read_only=read_only))) as found:
        yield found


@pytest.fixture
async def example(tmp_path: Path) -> AsyncIterator[Recorded]:
    recorded = await Recorded.worked_example(tmp_path / "one.db")
    yield recorded
    await recorded.store.close()


async def everything(store: HistoryStore) -> Any:
    """What an export keeps: all but system times."""
    status = await store.status()
    events = [
        (one.definition, e.position, e.payload, e.key, e.time, e.outcome)
        for one in status.definitions
        for e in await store.events(one.definition, *ALWAYS, outcomes=frozenset(Outcome))
    ]
    pieces = [
        (node.node, p.key, p.start, p.until, p.value, p.slope)
        for node in status.nodes
        for p in await store.pieces([node.node], *ALWAYS)
    ]
    return events, pieces


async def exported(server: Served, **query: str) -> bytes:
    async with server.http.get(f"{server.address}/api/history/export", params=query) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/x-tar"
        return await answer.read()


def unpacked(archive: bytes, folder: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        found.extractall(folder, filter="data")
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


async def test_an_export_is_the_folder_that_the_command_writes(example: Recorded, tmp_path: Path) -> None:
    async with server(example.store) as found:
        async for _ in export_history(example.store, tmp_path / "written", format="jsonl"):
            pass
        archive = await exported(found)
        assert unpacked(archive, tmp_path / "got") == contents(tmp_path / "written")
        part = unpacked(await exported(found, start="1970-01-01T00:00:14Z", end="20"), tmp_path / "part")
        lines = [line for name, text in part.items() if "events/" in name for line in text.splitlines()]
        times = [e[4] for e in (await everything(example.store))[0] if 14_000_000 <= e[4] < 20_000_000]
        assert len(lines) == len(times) > 0
        wrong = await found.get("/history/export", 400, start="soon")
        assert wrong["code"] == "wrong-question"


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
async def test_what_is_exported_is_imported(example: Recorded, tmp_path: Path, format: str) -> None:
    """Once: again, events change nothing and timelines are refused."""
    if format == "parquet":
        pytest.importorskip("pyarrow")
    other = await SqliteStore.open(tmp_path / "other.db")
    async with server(example.store) as one, server(other) as two:
        archive = await exported(one, format=format)
        done = await two.post("/history/import", archive)
        events, pieces = await everything(example.store)
        assert done == {"events": len(events), "pieces": len(pieces)}
        assert await everything(other) == (events, pieces)
        again = await two.post("/history/import", archive, 400)
        assert "has timelines of node" in again["message"]
        await two.post("/history/import", archive, events_only="true")
        assert await everything(other) == (events, pieces)
    await other.close()


async def test_an_archive_may_be_large_and_have_other_things(example: Recorded, tmp_path: Path) -> None:
    """What is no file of a history, or lies outside, is left out; other requests stay bounded."""
    other = await SqliteStore.open(tmp_path / "other.db")
    async with server(example.store) as one, server(other) as two:
        files = unpacked(await exported(one), tmp_path / "files")
        large = packed(
            {
                "zeros": bytes(MOST_BYTES + 1),
                "../outside": b"x",
                "/tmp/outside/history.json": b"x",
                **{f"./{name}": text for name, text in reversed(files.items())},
            }
        )
        await two.post("/history/import", io.BytesIO(large))
        assert await everything(other) == await everything(example.store)
        assert (await two.post("/history/rebuild", io.BytesIO(large), 413))["code"] == "too-large"
    await other.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no tar archive"),
        (b"anything", "no tar archive"),
        (packed({"events/day=2026-01-01/x.jsonl": b"{}"}), "has no history.json"),
        (packed({"history.json": b"[]"}), "is not what an export writes"),
        (packed({"history.json": MANIFEST, "events/day=1/x.jsonl": b"\xff"}), "is no file of a history"),
    ],
    ids=["empty", "no archive", "no manifest", "wrong manifest", "no rows"],
)  # fmt: skip
async def test_what_is_no_export_is_refused(tmp_path: Path, body: bytes, said: str) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    async with server(store) as found:
        refused = await found.post("/history/import", body, 400)
        assert refused["code"] == "wrong-question"
        assert said in refused["message"]
    await store.close()


async def test_forgetting_and_rebuilding_say_how_much(example: Recorded) -> None:
    async with server(example.store) as found:
        events, _ = await everything(example.store)
        below = [e for e in events if e[4] < 14_000_000]
        for wrong in ({}, {"before": 14, "older_than": "1s"}, {"before": "soon"}, {"older_than": "long"}):
            assert (await found.post("/history/forget", wrong, 400))["code"] in (
                "wrong-question",
                "wrong-metric",
            )
        gone = await found.post("/history/forget", {"before": 14})
        assert (gone["events"], gone["verdicts"]) == (len(below), len(below))
        assert gone["change_points"] > 0
        assert await found.post("/history/forget", {"older_than": "30d"}) == {
            "events": 0, "verdicts": 0, "change_points": 0,
        }  # fmt: skip
        assert await found.post("/history/rebuild", {}) == {"partitions": 0}  # it is followed by no feeder
        refused = await found.post("/history/rebuild", {"metrics": ["cirr"]}, 503)
        assert refused["code"] == "unreachable"


async def test_a_read_only_server_moves_nothing_in(example: Recorded) -> None:
    async with server(example.store, read_only=True) as found:
        before, archive = await everything(example.store), await exported(found)
        for path, body in (("import", archive), ("forget", {"before": 20}), ("rebuild", {})):
            assert (await found.post(f"/history/{path}", body, 403))["code"] == "read-only"
        assert await everything(example.store) == before
    async with server(None) as found:
        assert (await found.get("/history/export", 404))["code"] == "no-history"
        assert (await found.post("/history/import", archive, 404))["code"] == "no-history"
