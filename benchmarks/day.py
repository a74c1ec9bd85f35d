"""A day of events, and the stores that it can be played from: each is made in a folder or on a server.

Events of ``keys`` sessions lie evenly over the day, to the microsecond, and are the same for every store.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from timeline_workers.columns.key_table import Key
from timeline_workers.event_tables.declaration import TableDeclaration
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.history.model import Judged, Outcome, Position, RawEvent, Verdict, definition_of
from timeline_workers.history.open import open_history
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.reading import Reading
from timeline_workers.playback.history_names import MetricsByName
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.playback.recording import Recording
from timeline_workers.playback.tables_recording import TablesRecording

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
NAME: Final = "plays"
STORES: Final = ("sqlite", "parquet", "jsonl", "postgresql")
STATES: Final = ("play", "pause", "buffer", "seek")
SOURCE: Final = Source(topic=NAME, key="k", time="t")
CIRR: Final = (
    'duration_where(latest_event_to_state(state) == "buffer" && has_existed(state == "play") '
    '&& !has_existed_within(state == "seek", 5s) && latest_event_to_state(cdn) == "CDN1")'
)
BATCH: Final = 20_000


@dataclass(frozen=True, slots=True)
class Event:
    """An event; ``time``: microseconds."""

    time: int
    key: Key
    state: str

    def payload(self) -> dict[str, Any]:
        """What it says."""
        return {"t": self.time / SECOND, "k": self.key, "state": self.state, "cdn": "CDN1"}


def events(many: int, keys: int, seed: int) -> Iterator[Event]:
    """The events of the day, by time."""
    chance = random.Random(seed)
    for number in range(many):
        yield Event(number * DAY // many, f"s{chance.randrange(keys)}", chance.choice(STATES))


def batches(many: int, keys: int, seed: int) -> Iterator[list[Event]]:
    """The same, some at once."""
    batch: list[Event] = []
    for event in events(many, keys, seed):
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def declaration(address: str) -> TableDeclaration:
    """The table at an address."""
    on_server = {"table": NAME} if address.startswith("postgresql:") else {}
    said = {"address": address, "time": "t", "key": "k", "unit": None, **on_server}
    return TableDeclaration.model_validate(said)


async def make(store: str, where: str, many: int, keys: int, seed: int) -> str:
    """Store the day in ``store``: in the folder ``where``, or on the server there; its address."""
    if store == "sqlite":
        address = f"sqlite:{Path(where) / 'history.db'}"
        await _append(address, many, keys, seed)
        return address
    if store == "jsonl":
        path = Path(where) / "day.jsonl"
        with path.open("w") as file:
            for batch in batches(many, keys, seed):
                file.writelines(json.dumps(event.payload()) + "\n" for event in batch)
        return f"jsonl:{path}"
    if store == "parquet":
        folder = Path(where) / "day"
        folder.mkdir()
        for number, batch in enumerate(batches(many, keys, seed)):
            write_parquet(folder / f"{number:05}.parquet", batch)
        return f"parquet:{folder}/*.parquet"
    with connected(where) as connection:
        make_table(connection)
        for batch in batches(many, keys, seed):
            copy(connection, batch)
        connection.execute(f"create index on {NAME} (t)")
        connection.execute(f"create index on {NAME} (k, t)")
        connection.execute(f"analyze {NAME}")
    return where


def recording(address: str) -> Recording:
    """The player's recording of the day at an address; of SQLite a history's."""
    return TablesRecording(OpenTables({NAME: declaration(address)}))


async def history_recording(address: str) -> HistoryRecording:
    """The same over a history store."""
    metric = Metric(name="cirr", source=SOURCE, expression=CIRR)
    return HistoryRecording(await open_history(address), MetricsByName([metric]))


async def _append(address: str, many: int, keys: int, seed: int) -> None:
    definition = definition_of(Reading.of(SOURCE, check(parse(CIRR), None, text=CIRR)))
    store = await open_history(address)
    try:
        place = 0
        for batch in batches(many, keys, seed):
            raw, verdicts = [], []
            for event in batch:
                position = Position(0, 0, place)
                raw.append(RawEvent(position, json.dumps(event.payload()).encode(), event.time))
                verdicts.append(Verdict(position, Outcome.ACCEPTED, event.key, event.time))
                place += 1
            await store.append_events(NAME, raw, [Judged(definition, verdicts, {0: batch[-1].time})])
    finally:
        await store.close()


def write_parquet(path: Path, batch: Sequence[Event]) -> None:
    """A file of events."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "t": pa.array([at(event) for event in batch], pa.timestamp("us", "UTC")),
        "k": [event.key for event in batch],
        "state": [event.state for event in batch],
        "cdn": ["CDN1"] * len(batch),
    }
    written = path.with_suffix(".tmp")
    pq.write_table(pa.table(columns), written)
    written.rename(path)


def connected(address: str) -> Any:
    """A connection to a PostgreSQL server."""
    import psycopg

    return psycopg.connect(address, autocommit=True)


def make_table(connection: Any) -> None:
    """An empty table."""
    connection.execute(f"drop table if exists {NAME}")
    connection.execute(f"create table {NAME} (t timestamptz, k text, state text, cdn text)")


def copy(connection: Any, batch: Sequence[Event]) -> None:
    """Append events."""
    with connection.cursor() as cursor, cursor.copy(f"copy {NAME} from stdin") as rows:
        for event in batch:
            rows.write_row((at(event), event.key, event.state, "CDN1"))


def at(event: Event) -> datetime:
    """An event's time as databases have it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.time)
