"""Sending events: to a Pulsar topic, or to standard output as JSON lines."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import BinaryIO

import pulsar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from timeline_workers.errors import TimelineError
from timeline_workers.servers.embedded.embedded_servers import running_addresses
from timeline_workers.servers.embedded.servers_watch import room_problem
from timeline_workers.servers.pulsar.pulsar_client import check_broker, connect, explained, pulsar_url
from timeline_workers.settings.timeline_settings import Settings

from .event import Event

MAX_PENDING = 20_000
_PACE_EVERY = 100


class SendError(TimelineError):
    """The broker did not store some of the events."""


def to_stdout(events: Iterable[Event], out: BinaryIO) -> int:
    """Write each event as one line; return how many."""
    count = 0
    for count, event in enumerate(events, 1):  # noqa: B007 (the last number is the count)
        out.write(event.payload + b"\n")
    return count


def paced(events: Iterable[Event], rate: float) -> Iterable[Event]:
    """Let at most ``rate`` events a second through; 0: as fast as they come."""
    if rate <= 0:
        yield from events
        return
    began = monotonic()
    for number, event in enumerate(events):
        if number % _PACE_EVERY == 0 or rate < _PACE_EVERY:
            ahead = began + number / rate - monotonic()
            if ahead > 0:
                sleep(ahead)
        yield event


@dataclass(frozen=True, slots=True)
class Stored:
    """``count`` events are stored; ``last``: per partition of the topic, the last place as workers tell it in
    ``status``, (major, minor): ledger id, and entry id * 65536 + index in the entry.
    """

    count: int
    last: dict[int, tuple[int, int]]


def to_pulsar(
    events: Iterable[Event], topic: str, *, total: int | None = None, url: str | None = None
) -> Stored:
    """Send the events to ``topic`` under their keys, in order per key.

    Returns when the broker has stored all of them; when ``events`` raises, what it gave before is stored.
    Shows a progress bar on standard error, on a terminal.
    Raises ConnectionFailedError, TopicError, or SendError.
    """
    address = pulsar_url() if url is None else url
    _check_room(address)
    client = connect(address)
    tally = _Tally()
    try:
        check_broker(client, address, topic)
        with explained(address, topic):
            sender = client.create_producer(
                topic,
                batching_enabled=True,
                block_if_queue_full=True,
                batching_max_messages=2_000,
                batching_max_publish_delay_ms=5,
                max_pending_messages=MAX_PENDING,
                max_pending_messages_across_partitions=4 * MAX_PENDING,
                compression_type=pulsar.CompressionType.LZ4,
            )
        with _bar() as progress:
            task = progress.add_task(f"to {topic}", total=total)
            try:
                for number, event in enumerate(events, 1):
                    tally.sent = number
                    sender.send_async(event.payload, tally.take, partition_key=event.key or None)
                    if number % 1_000 == 0:
                        _check_room(address)
                        progress.update(task, completed=number)
            finally:
                # Also when the events come to a bad end: what was taken from them is stored.
                with explained(address, topic):
                    sender.flush()
            progress.update(task, completed=tally.sent)
        stored = tally.wait()
        sender.close()
        return stored
    finally:
        client.close()


def _check_room(address: str) -> None:
    """Raise SendError when the disk of the embedded broker at ``address`` is all but full."""
    servers = running_addresses()
    if servers is None or servers.pulsar != address:
        return
    problem = room_problem(servers.data_dir, Settings.from_env().min_free_bytes)
    if problem is not None:
        raise SendError(problem)


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class _Tally:
    """Counts the outcomes of sends, which arrive on a thread of the client library."""

    def __init__(self) -> None:
        self.sent = 0
        self._stored = 0
        self._failed: dict[str, int] = {}
        self._last: dict[int, tuple[int, int]] = {}
        self._changed = threading.Condition()

    def take(self, result: pulsar.Result, message: pulsar.MessageId) -> None:
        with self._changed:
            if result == pulsar.Result.Ok:
                self._stored += 1
                partition, index = max(message.partition(), 0), max(message.batch_index(), 0)
                at = message.ledger_id(), message.entry_id() << 16 | index
                self._last[partition] = max(at, self._last.get(partition, at))
            else:
                name = str(result).rpartition(".")[2]
                self._failed[name] = self._failed.get(name, 0) + 1
            self._changed.notify_all()

    def wait(self) -> Stored:
        with self._changed:
            self._changed.wait_for(lambda: self._stored + sum(self._failed.values()) >= self.sent)
            if self._failed:
                reasons = ", ".join(f"{count:,} × {name}" for name, count in sorted(self._failed.items()))
                raise SendError(
                    f"the broker stored {self._stored:,} of {self.sent:,} events; the others failed: "
                    f"{reasons}"
                )
            return Stored(self._stored, self._last)
