"""``python -m tests.chaos.producer``: sends the traffic of a run at its uneven pace, whatever happens.

Nothing is given up: what the broker has not confirmed is sent again when it is back, which may store a
message twice. Once all is stored it sends the end marks, and a line of JSON on standard output tells what the
broker confirmed: per message its place, for a check of the truth that is read back later.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import pulsar
import typer
from tenacity import Retrying, retry_if_exception_type, wait_fixed

from tests.chaos.schedule import pace
from tests.chaos.traffic import Message, ends, traffic
from timeline_workers.process import leave
from timeline_workers.pulsar_client import connect

STEP_SECONDS = 0.01


class Confirmed:
    """Gathers where the broker says that it has stored each message; called by threads of the client."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int, int, int, int]] = []
        self.refusals: list[str] = []
        self._changed = threading.Condition()

    def take(self, number: int, result: pulsar.Result, at: pulsar.MessageId) -> None:
        """The callback of one send."""
        with self._changed:
            if result == pulsar.Result.Ok:
                index = max(at.batch_index(), 0)
                self.places.append((number, max(at.partition(), 0), at.ledger_id(), at.entry_id(), index))
            else:
                self.refusals.append(str(result))
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Return when ``count`` sends have an outcome."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.places) + len(self.refusals) >= count)


def main(
    topic: Annotated[str, typer.Argument()],
    places: Annotated[Path, typer.Argument(help="File for the places, one a line.")],
    seed: Annotated[int, typer.Option()] = 0,
    events: Annotated[int, typer.Option()] = 1_000,
    seconds: Annotated[float, typer.Option()] = 10.0,
) -> None:
    """Send the events of a run, then the end marks."""
    client = connect()
    make = Retrying(retry=retry_if_exception_type(pulsar.PulsarException), wait=wait_fixed(0.5))
    producer = make(
        client.create_producer,
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
    confirmed = Confirmed()
    sent = 0

    def send(message: Message) -> None:
        nonlocal sent
        producer.send_async(
            message.payload,
            lambda result, at, number=sent: confirmed.take(number, result, at),
            partition_key=message.key,
        )
        sent += 1

    source = traffic(seed, events)
    began = monotonic()
    before = (0.0, 0)
    for point in pace(seed, events, seconds):
        while (now := monotonic() - began) < point[0] or sent < point[1]:
            share = min(1.0, (now - before[0]) / (point[0] - before[0]))
            due = before[1] + share * (point[1] - before[1])
            while sent < due:
                send(next(source))
            sleep(STEP_SECONDS)
        before = point
    producer.flush()
    confirmed.wait(sent)
    for mark in ends():
        send(mark)
    producer.flush()
    confirmed.wait(sent)
    places.write_text("\n".join(" ".join(map(str, place)) for place in confirmed.places) + "\n")
    typer.echo(json.dumps({"sent": sent, "refusals": confirmed.refusals[:5]}))
    leave(1 if confirmed.refusals else 0)


if __name__ == "__main__":
    typer.run(main)
