"""``python -m tests.chaos.producer``: sends the traffic of a run at its uneven pace, whatever happens.

Nothing is given up: what the broker has not confirmed it sends again when it is back, which may store a
message twice. Each confirmed message has a line in the file of places at once: its number, partition, ledger,
entry and index, and when it was confirmed, in seconds of the monotonic clock. Once all is stored, or SIGTERM
has come, it sends the end marks.

SIGUSR1 pauses it: it sends nothing more, and once everything that it has sent is confirmed the file
``paused_file`` is there, until SIGUSR2 has it resume.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, TextIO

import pulsar
import typer
from tenacity import Retrying, retry_if_exception_type, wait_fixed

from tests.chaos.schedule import pace
from tests.chaos.traffic import Message, ends, still, traffic
from timeline_workers.process.exit import leave
from timeline_workers.servers.pulsar.pulsar_client import connect

STEP_SECONDS = 0.01


class Confirmed:
    """Writes down where the broker says that it has stored each message; called by threads of the client."""

    def __init__(self, places: TextIO) -> None:
        self.refusals: list[str] = []
        self._places = places
        self._stored = 0
        self._changed = threading.Condition()

    def take(self, number: int, result: pulsar.Result, at: pulsar.MessageId) -> None:
        """The callback of one send."""
        with self._changed:
            if result == pulsar.Result.Ok:
                where = max(at.partition(), 0), at.ledger_id(), at.entry_id(), max(at.batch_index(), 0)
                self._places.write(f"{number} {' '.join(map(str, where))} {monotonic():.3f}\n")
                self._stored += 1
            else:
                self.refusals.append(str(result))
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Return when ``count`` sends have an outcome."""
        with self._changed:
            self._changed.wait_for(lambda: self._stored + len(self.refusals) >= count)


class Sender:
    """Sends messages to ``topic`` and writes their places down."""

    def __init__(self, topic: str, places: TextIO) -> None:
        self._client = connect()
        make = Retrying(retry=retry_if_exception_type(pulsar.PulsarException), wait=wait_fixed(0.5))
        self._producer = make(
            self._client.create_producer,
            topic,
            batching_enabled=True,
            batching_max_messages=500,
            batching_max_publish_delay_ms=5,
            block_if_queue_full=True,
            max_pending_messages=20_000,
            max_pending_messages_across_partitions=80_000,
            send_timeout_millis=0,  # never: the broker comes back
            compression_type=pulsar.CompressionType.LZ4,
        )
        self.confirmed = Confirmed(places)
        self.sent = 0

    def send(self, message: Message) -> None:
        """Send one message; what becomes of it is written down later."""
        self._producer.send_async(
            message.payload,
            lambda result, at, number=self.sent: self.confirmed.take(number, result, at),
            partition_key=message.key,
        )
        self.sent += 1

    def finish(self) -> None:
        """Return when every message has its outcome."""
        self._producer.flush()
        self.confirmed.wait(self.sent)

    def close(self) -> None:
        """Let go of the broker."""
        self._client.close()


class Pause:
    """Whether the producer is asked to pause (SIGUSR1, SIGUSR2), and ``file``, which says that it has."""

    def __init__(self, file: Path) -> None:
        self.asked = False
        self._file = file

    def take(self, number: int, _: object) -> None:
        """The handler of both signals."""
        self.asked = number == signal.SIGUSR1

    def last(self, sender: Sender, stopping: threading.Event) -> None:
        """Return when it is to resume or to stop; before that everything sent is stored."""
        sender.finish()
        self._file.touch()
        while self.asked and not stopping.is_set():
            sleep(STEP_SECONDS)
        self._file.unlink()


def paused_file(places: Path) -> Path:
    """The file that is there while the producer with the file ``places`` pauses and all it sent is stored."""
    return places.with_name(f"{places.name}-paused")


def main(
    topic: Annotated[str, typer.Argument()],
    places: Annotated[Path, typer.Argument(help="File for the places, one a line; added to.")],
    seed: Annotated[int, typer.Option()] = 0,
    events: Annotated[int, typer.Option()] = 1_000,
    seconds: Annotated[float, typer.Option()] = 10.0,
    steady: Annotated[bool, typer.Option("--steady", help="At one rate.")] = False,
    rush: Annotated[int, typer.Option(help="So many at once, before the others.")] = 0,
    end: Annotated[bool, typer.Option(help="Send end marks.")] = True,
    later: Annotated[float, typer.Option(help="Event times are later by so many seconds.")] = 0.0,
    stand: Annotated[bool, typer.Option("--still", help="Event time stands still.")] = False,
) -> None:
    """Send the events of a run, then the end marks."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    pause = Pause(paused_file(places))
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pause.take)
    with places.open("a", buffering=1) as file:
        sender = Sender(topic, file)
        points = [(0.001, rush), (seconds, events)] if steady else pace(seed, events, seconds)
        source = still(seed, events, later) if stand else traffic(seed, events, later)
        send_at_pace(sender, source, points, stopping, pause)
        sender.finish()
        for mark in ends() if end else ():
            sender.send(mark)
        sender.finish()
    leave(1 if sender.confirmed.refusals else 0)


def send_at_pace(
    sender: Sender,
    source: Iterator[Message],
    points: list[tuple[float, int]],
    stopping: threading.Event,
    pause: Pause,
) -> None:
    """Send what comes from ``source``: at each of ``points``, seconds from now, so many in all."""
    began = monotonic()
    before = (0.0, 0)
    for point in points:
        while (now := monotonic() - began) < point[0] or sender.sent < point[1]:
            share = min(1.0, (now - before[0]) / (point[0] - before[0]))
            due = before[1] + share * (point[1] - before[1])
            while sender.sent < due:
                if stopping.is_set():
                    return
                sender.send(next(source))
            if stopping.is_set():
                return
            if pause.asked:
                pause.last(sender, stopping)
            sleep(STEP_SECONDS)
        before = point


if __name__ == "__main__":
    typer.run(main)
