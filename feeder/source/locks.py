"""Taking turns: at feeding, on the embedded broker; at reading the past of a topic, on a real one.

The embedded broker knows no failover between two consumers of one subscription. `timeline dev` runs a feeder
already. One started beside it stands by, and takes over when the other ends: what a Failover subscription
does on a real broker.

Feeders of one Failover group find out at the same time that leaves lack the past, each for itself. If all of
them read it, every event would be sent once for each. So one reads, and the others look again after it. This
is only a matter of economy: a replay is right whoever else replays the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import IO

import pulsar
import structlog

from timeline_workers.servers.embedded.servers import running_addresses

from .dead_letter_topic import dead_letter_topic

log = structlog.get_logger("feeder")

_LOOK_AGAIN_SECONDS = 0.2
# The client library writes a line about each refusal.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


@asynccontextmanager
async def turn(url: str, subscription: str, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Wait until no other process feeds ``subscription`` from the embedded broker at ``url``.

    Gives True when it is this process's turn, at once for any other broker, and False when ``stop`` was set
    before.
    """
    addresses = running_addresses()
    if addresses is None or addresses.pulsar != url:
        yield True
        return
    name = hashlib.sha256(subscription.encode()).hexdigest()[:10]
    with (Path(addresses.data_dir) / f"feeder-{name}.lock").open("w") as lock:
        mine = _taken(lock)
        if not mine:
            log.info("another feeder is active (`timeline dev` runs one); on standby for failover")
        stopped = asyncio.create_task(stop.wait())
        while not mine and not stop.is_set():
            await asyncio.wait([stopped], timeout=_LOOK_AGAIN_SECONDS)
            mine = _taken(lock)
        stopped.cancel()
        yield mine and not stop.is_set()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class PastLock:
    """The turn of one feeder of ``subscription`` at reading the past of ``topic`` for one group of metrics,
    that of ``signature``. All calls block.

    The broker keeps it: a producer of the dead-letter topic which sends nothing, under a name that only one
    can have. It ends with the connection, so also when its holder is killed.
    """

    def __init__(self, client: pulsar.Client, topic: str, subscription: str, signature: str) -> None:
        self._client, self._topic = client, dead_letter_topic(topic)
        group = hashlib.sha256(signature.encode()).hexdigest()[:10]
        self._name = f"{subscription}-reads-the-past-{group}"
        self._held: pulsar.Producer | None = None
        self._not_before, self._pause = float("-inf"), _FIRST_PAUSE
        self._without = False

    def take(self) -> bool:
        """Whether it is this feeder's turn now; also where the broker cannot say."""
        if self._held is not None or self._without:
            return True
        if monotonic() < self._not_before:
            return False
        try:
            partition = self._client.get_topic_partitions(self._topic)[0]
            self._held = self._client.create_producer(partition, producer_name=self._name)
        except pulsar.ProducerBusy:
            self._not_before = monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False
        except pulsar.PulsarException as error:
            log.info(
                "cannot elect one feeder for the backfill; several may run it, which repeats no event",
                topic=self._topic,
                error=str(error),
            )
        self._pause = _FIRST_PAUSE
        return True

    def do_without(self) -> None:
        """Take the turn though another feeder has it."""
        self._without = True

    def give_back(self) -> None:
        """Let another feeder have its turn."""
        self._without = False
        if self._held is not None:
            with suppress(pulsar.PulsarException):
                self._held.close()
            self._held = None
