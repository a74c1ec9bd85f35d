"""Processes that make calls are killed, cut off from Temporal, and go on all the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.workflows.cluster import cluster
from tests.workflows.reconciler_process import calls
from timeline_workers.client.reconciler_client import Reconcilers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
BOUND = 60


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client() -> AsyncIterator[Client]:
    async with cluster() as made:
        yield made


class Proxy:
    """A way to Temporal that can be cut: then nothing comes through any more, and nothing is closed."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, other_writer]
        for pair in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._pass_on(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def process(
    address: str, folder: Path, *, worker: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that makes calls; ``worker``: and is a worker process, too."""
    module = "tests.workflows.reconciler_process"
    of_worker = ("timeline_workers", "worker", "--import", module, "--address", address)
    with (folder / f"log-{len(list(folder.iterdir()))}").open("wb") as log:
        made = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *(of_worker if worker else (module, address)),
            env={**os.environ, "RECONCILER_FOLDER": str(folder)},
            stderr=log,
        )
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()
        await made.wait()


async def until(holds: Callable[[], Any]) -> Any:
    async with asyncio.timeout(BOUND):
        while not (found := holds()):
            await asyncio.sleep(0.02)  # between two looks
    return found


def of(lines: Iterable[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["what"] == what]


def address_of(client: Client) -> str:
    return client.service_client.config.target_host


async def notify(client: Client, name: str, key: str, value: Any) -> None:
    await Reconcilers(client).notify(name, key, value)


async def test_r6_a_killed_process_costs_a_lease(client: Client, tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    async with process(address_of(client), tmp_path) as first:
        await until(lambda: (tmp_path / "log-1").exists())
        await notify(client, "held", "r6", 1)
        await until(lambda: of(calls(tmp_path), "begin"))
        async with process(address_of(client), tmp_path, worker=True):
            first.kill()
            killed = asyncio.get_running_loop().time()
            (tmp_path / "hang").unlink()
            (done,) = await until(lambda: of(calls(tmp_path), "done"))
    assert done["pid"] != first.pid
    # The lease, and what it takes until somebody has noticed and the other process has started.
    assert done["at"] - killed < 2 + 10
    began = of(calls(tmp_path), "begin")
    assert [line["pid"] for line in began] == [first.pid, done["pid"]]
    assert began[0]["token"] < began[1]["token"]


async def test_r7_a_cut_off_call_ends_before_another_begins(client: Client, tmp_path: Path) -> None:
    proxy = Proxy(address_of(client))
    (tmp_path / "hang").touch()
    async with process(await proxy.start(), tmp_path) as first:
        await notify(client, "held", "r7", 1)
        await until(lambda: of(calls(tmp_path), "begin"))
        async with process(address_of(client), tmp_path):
            proxy.cut()
            await until(lambda: len(of(calls(tmp_path), "begin")) > 1)
            (tmp_path / "hang").unlink()
            await until(lambda: of(calls(tmp_path), "done"))
        lines = calls(tmp_path)
        assert first.returncode is None, "it was cut off, and lives"
    await proxy.close()
    began, ended = of(lines, "begin"), of(lines, "end")
    assert began[0]["pid"] == ended[0]["pid"] == first.pid
    assert began[1]["pid"] != first.pid
    assert ended[0]["at"] < began[1]["at"]  # never together
    assert began[0]["token"] < began[1]["token"]
    assert json.loads((tmp_path / "resource").read_text())["token"] == began[1]["token"]


@pytest.mark.long
async def test_r8_a_stubborn_call_has_a_smaller_token(client: Client, tmp_path: Path) -> None:
    proxy = Proxy(address_of(client))
    async with process(await proxy.start(), tmp_path) as first:
        (tmp_path / "stubborn").write_text(str(first.pid))
        await notify(client, "held", "r8", 1)
        await until(lambda: of(calls(tmp_path), "begin"))
        async with process(address_of(client), tmp_path):
            proxy.cut()
            await until(lambda: of(calls(tmp_path), "swallowed"))
            await until(lambda: of(calls(tmp_path), "done"))
            (tmp_path / "stubborn").unlink()  # the older one goes on, and ends last
            await until(lambda: of(calls(tmp_path), "refused"))
    await proxy.close()
    older, newer = of(calls(tmp_path), "begin")
    (refused,) = of(calls(tmp_path), "refused")
    assert (older["pid"], refused["token"]) == (first.pid, older["token"])
    assert older["token"] < newer["token"]
    assert json.loads((tmp_path / "resource").read_text())["token"] == newer["token"]


@pytest.mark.long
async def test_an_own_process_is_killed_though_it_blocks(client: Client, tmp_path: Path) -> None:
    proxy = Proxy(address_of(client))
    (tmp_path / "hang").touch()
    async with process(await proxy.start(), tmp_path):
        await notify(client, "own-process", "own", 1)
        (began,) = await until(lambda: of(calls(tmp_path), "begin"))
        async with process(address_of(client), tmp_path):
            proxy.cut()
            await until(lambda: len(of(calls(tmp_path), "begin")) > 1)
            assert not Path(f"/proc/{began['pid']}").exists()
            (tmp_path / "hang").unlink()
            await until(lambda: of(calls(tmp_path), "done"))
    await proxy.close()
    assert len(of(calls(tmp_path), "done")) == 1
