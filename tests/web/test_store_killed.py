"""D23 with a real store: PostgreSQL is killed under a player and comes back; each record is said once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("asyncpg", reason="asyncpg is not here: pip install -e '.[dev]'")
from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from deploy.cluster_server import ClusterUnavailableError
from tests.web.serving import served
from timeline_workers.history.model import Judged, Outcome, Position, RawEvent, Verdict
from timeline_workers.history.postgres_store import PostgresStore
from timeline_workers.metric.model import Metric, Source
from timeline_workers.playback import DvrClient, EventsChannel
from timeline_workers.playback.codes import DvrCode
from timeline_workers.playback.history_names import MetricsByName, recorded_metric
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.replies import Failed, Frame, RecordsPart, State
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application

pytestmark = [pytest.mark.integration, pytest.mark.long]  # the quick one is on the virtual clock

SECOND = 1_000_000
METRIC = Metric(
    name="clicked",
    source=Source(topic="clicks", key="k", time="t"),
    expression="has_existed(n == 1)",
)


class Server:
    """A PostgreSQL server that can be killed, and started again with its data."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._postgres = Postgres(home / "postgres", free_ports(1)[0])
        self._postgres.prepare()
        self._process: subprocess.Popen[bytes] | None = None
        port, password = self._postgres.port, self._postgres.password
        self.address = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"

    async def start(self) -> None:
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._postgres.command, stdout=log, stderr=log)
        while not await asyncio.to_thread(self._postgres.serves):
            assert self._process.poll() is None, (self._home / "log").read_text()[-500:]
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def postgres() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="store-killed-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL may run under another account
        try:
            server = Server(home)
        except ClusterUnavailableError as error:
            pytest.skip(str(error))
        try:
            yield server
        finally:
            server.kill()


async def filled(address: str) -> PostgresStore:
    """A store with an event a second for forty seconds."""
    store = await PostgresStore.open(address)
    raw = [RawEvent(Position(0, 0, n), json.dumps({"k": "s1", "t": n, "n": n}).encode()) for n in range(40)]
    verdicts = [Verdict(one.position, Outcome.ACCEPTED, "s1", n * SECOND) for n, one in enumerate(raw)]
    definition = recorded_metric(METRIC).definition
    await store.append_events("clicks", raw, [Judged(definition, verdicts, {0: 0})])
    return store


async def test_d23_a_killed_store_comes_back() -> None:
    with postgres() as server:
        await server.start()
        store = await filled(server.address)
        recording = HistoryRecording(store, MetricsByName([METRIC]))
        settings = Settings(ahead_time=SECOND // 5)  # what is read ahead does not reach over the outage
        async with (
            served(application(recording, Access(), settings=settings)) as web,
            DvrClient(web.address) as player,
        ):
            await player.open(EventsChannel(channel="ev", events="clicks"))
            await player.play(0, 39, speed=20)
            seen: list[int] = []
            said: list[str] = []
            async for message in player.window():
                if isinstance(message, Frame):
                    for part in message.channels.values():
                        assert isinstance(part, RecordsPart)
                        seen += [record[2]["n"] for record in part.records]
                if isinstance(message, State):
                    said.append(message.status)
                if isinstance(message, Failed):
                    said.append(message.code)
                if 5 in seen and not said.count("killed"):
                    server.kill()
                    said.append("killed")
                if {DvrCode.STORE_DOWN, "buffering"} <= set(said) and "back" not in said:
                    await server.start()
                    said.append("back")
            assert seen == list(range(40))
            assert said[-1] == "ended"
            assert said.index("killed") < said.index("buffering") < said.index("back")
            assert player.sockets == 1
        await store.close()
