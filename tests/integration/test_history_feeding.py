"""The feeder's history on real servers: every event that was published is in the store once, with what became
of it, through kills of feeders and of the store.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from deploy.cluster_server import ClusterUnavailableError
from deploy.pulsar_standalone import Broker
from tests.history.stores import until_it_serves
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.integration.test_every_event import counting, publish
from timeline_workers.errors import HistoryError
from timeline_workers.history.followed_to import followed_to
from timeline_workers.history.model import Outcome, Position, RawEvent, StoredEvent, definition_of
from timeline_workers.history.open import open_history
from timeline_workers.metric.model import Metric
from timeline_workers.plan.reading import reading_of
from timeline_workers.settings.history_settings import sqlite_address

pytestmark = pytest.mark.integration

DEADLINE = 120.0
EVER = 4_000_000_000_000_000
LATENESS = 20.0
# Holds the write lock of a SQLite store until it is killed.
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("begin immediate")
print("held", flush=True)
time.sleep(3600)
"""


class Sqlite:
    """A store in a file, which another process locks while it is away."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.path = folder / "history.db"
        self.address = sqlite_address(self.path)
        self._stack = stack

    def go_away(self) -> None:
        self._holder = subprocess.Popen([sys.executable, "-c", HOLD, str(self.path)], stdout=subprocess.PIPE)
        self._stack.callback(self.come_back)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"held\n"

    def come_back(self) -> None:
        """The process that holds the lock is killed."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class PostgresStore:
    """A server of its own, which is killed (-9) while it is away."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        folder.chmod(0o755)
        self._server = Postgres(folder / "postgres", free_ports(1)[0])
        try:
            self._server.prepare()
        except ClusterUnavailableError as error:
            pytest.skip(str(error))
        self._log = stack.enter_context((folder / "postgres.log").open("wb"))
        self.address = f"postgresql://{USER}:{self._server.password}@127.0.0.1:{self._server.port}/postgres"
        stack.callback(self.go_away)
        self.come_back()

    def go_away(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def come_back(self) -> None:
        self._process = subprocess.Popen(self._server.command, stdout=self._log, stderr=self._log)
        until_it_serves(self._server)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sqlite | PostgresStore]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield Sqlite(tmp_path, stack)
        else:
            pytest.importorskip("asyncpg")
            # It may run under another account, to which the folders of tests are closed.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="history-postgres-"))
            yield PostgresStore(Path(folder), stack)


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory, broker: Broker | None, store: Sqlite | PostgresStore
) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("history"), topic_partitions=2, broker=broker) as made:
        made.addresses = made.addresses.model_copy(update={"history": store.address})
        made.start_worker()
        yield made


def some(rng: random.Random, count: int, begin: float) -> list[tuple[str, bytes]]:
    """Events, each with a number of its own; some are late, some are none."""
    found = []
    for _ in range(count):
        at = begin + rng.uniform(-2 * LATENESS, 5) * (rng.random() < 0.2)
        made = event(f"key-{rng.randrange(20)}", round(max(at, 0), 3), state="on", n=rng.getrandbits(50))
        found.append((made.key, made.payload if rng.random() < 0.95 else made.payload[:-1]))
    return found


async def stored(address: str, metric: Metric) -> list[StoredEvent]:
    """All events that the store has of a metric; none while it does not answer."""
    try:
        history = await open_history(address)
    except HistoryError:
        return []
    try:
        # First the events: what has a verdict with a time by then is among what is asked for next.
        raw = [
            one
            for partition in range(2)
            for one in await history.raw_events(metric.source.topic, partition, limit=100_000)
        ]
        definition = definition_of(reading_of(metric))
        timed = await history.events(definition, -EVER, EVER, outcomes=frozenset(Outcome))
        known = {one.position for one in timed}
        # What has no time is in no window.
        untimed = [one for one in raw if one.position not in known]
        refused = (None, None, Outcome.REFUSED, "", "", False, 0)
        return timed + [StoredEvent(*_raw(one), *refused) for one in untimed]
    finally:
        await history.close()


def _raw(one: RawEvent) -> tuple[Position, bytes, int]:
    return one.position, one.payload, one.published


async def all_are_stored(address: str, metric: Metric, published: list[bytes]) -> list[StoredEvent]:
    """Return what is stored when it is as much as was published."""
    found: list[StoredEvent] = []

    async def check() -> bool:
        nonlocal found
        found = await stored(address, metric)
        return len(found) >= len(published)

    await eventually(check, DEADLINE)
    assert Counter(one.payload for one in found) == Counter(published)
    return found


def check_verdicts(found: list[StoredEvent]) -> None:
    """What is refused is what is no JSON, and late what lay below the watermark of its partition."""
    marks: dict[int, float] = {}
    for one in sorted(found, key=lambda one: one.position):
        try:
            at = json.loads(one.payload)["t"]
        except ValueError:
            assert one.outcome is Outcome.REFUSED
            continue
        mark = marks.get(one.position.partition, float("-inf"))
        assert one.outcome is (Outcome.LATE if at < mark else Outcome.ACCEPTED)
        if one.outcome is Outcome.ACCEPTED:
            marks[one.position.partition] = max(mark, at - LATENESS)


@pytest.mark.long_on_pulsar
async def test_every_event_is_in_the_history_once(stack: Stack, store: Sqlite | PostgresStore) -> None:
    """A feeder is killed, and the store is away when the next one begins."""
    rng = random.Random(5)
    metric = counting("counted", "history-events", allowed_lateness=f"{LATENESS:g}s")
    await stack.apply(metric)
    stack.start_feeder()
    events = some(rng, 300, 1_000)
    publish(stack, "history-events", events)
    await all_are_stored(store.address, metric, [payload for _, payload in events])
    store.go_away()
    more = some(rng, 300, 1_050)
    publish(stack, "history-events", more)
    stack.stop("feeder", signal.SIGKILL)
    stack.start_feeder()
    events += more + (last := some(rng, 200, 1_100))
    publish(stack, "history-events", last)
    store.come_back()
    found = await all_are_stored(store.address, metric, [payload for _, payload in events])
    check_verdicts(found)
    last: dict[int, StoredEvent] = {}
    for one in sorted(found, key=lambda one: one.position):
        last[one.position.partition] = one

    async def follows() -> bool:
        history = await open_history(store.address)
        told = await followed_to(history, metric.source.topic, definition_of(reading_of(metric)))
        await history.close()
        return told == {partition: event.published for partition, event in last.items()}

    await eventually(follows)


@pytest.mark.long
@pytest.mark.long_on_pulsar
async def test_kills_leave_the_history_whole(stack: Stack, store: Sqlite | PostgresStore) -> None:
    """Two feeders where the broker shares a topic, one of which is killed every few seconds, and a store that
    goes away and comes back.
    """
    rng = random.Random(6)
    metric = counting("killed", "history-killed", allowed_lateness=f"{LATENESS:g}s")
    await stack.apply(metric)
    names = ["feeder", "other"] if stack.broker is not None else ["feeder"]
    for name in names:
        stack.start(name, "feeder")
    events: list[tuple[str, bytes]] = []
    is_away = False
    for step in range(12):
        more = some(rng, 400, 1_000 + 20 * step)
        publish(stack, "history-killed", more)
        events += more
        if step % 3 == 1:
            is_away = True
            store.go_away()
        elif is_away and step % 3 == 0:
            is_away = False
            store.come_back()
        name = rng.choice(names)
        stack.stop(name, signal.SIGKILL)
        stack.start(name, "feeder")
        await asyncio.sleep(rng.uniform(0.5, 3))
    if is_away:
        store.come_back()
    check_verdicts(await all_are_stored(store.address, metric, [payload for _, payload in events]))
    history = await open_history(store.address)
    assert (await history.status()).gaps == []
    await history.close()
