"""The turn at reading the past of a topic, which a real broker keeps.

Feeders of one Failover group find out at the same time that leaves lack the past, each for itself. If all of
them read it, every event would be sent once for each. So one reads, and the others look again after it. This
is only a matter of economy: a replay is right whoever else replays the same.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import pulsar
import structlog

from feeder.loop_clock import now
from timeline_workers.metric.topics import dead_letter_topic

from .partitioned_source import Run

log = structlog.get_logger("feeder")

# The client library writes a line about each refusal.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


class PulsarPastLock:
    """The turn of one feeder of ``subscription`` at reading the past of ``topic`` for one group of metrics,
    that of ``signature`` (see ``PastLock``). ``run``: where blocking calls are made.

    The broker keeps it: a producer of the dead-letter topic which sends nothing, under a name that only one
    can have. It ends with the connection, so also when its holder is killed.
    """

    def __init__(
        self, client: pulsar.Client, run: Run, topic: str, subscription: str, signature: str
    ) -> None:
        self._client, self._run, self._topic = client, run, dead_letter_topic(topic)
        group = hashlib.sha256(signature.encode()).hexdigest()[:10]
        self._name = f"{subscription}-reads-the-past-{group}"
        self._held: pulsar.Producer | None = None
        self._not_before, self._pause = float("-inf"), _FIRST_PAUSE
        self._without = False

    async def take(self) -> bool:
        """Whether it is this feeder's turn now; also where the broker cannot say."""
        if self._held is not None or self._without:
            return True
        if now() < self._not_before:
            return False
        mine: bool = await self._run(self._try)
        if not mine:
            self._not_before = now() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False
        self._pause = _FIRST_PAUSE
        return True

    def _try(self) -> bool:
        try:
            partition = self._client.get_topic_partitions(self._topic)[0]
            self._held = self._client.create_producer(partition, producer_name=self._name)
        except pulsar.ProducerBusy:
            return False
        except pulsar.PulsarException as error:
            log.info(
                "cannot elect one feeder for the backfill; several may run it, which only costs time",
                topic=self._topic,
                error=str(error),
            )
        return True

    def do_without(self) -> None:
        """Take the turn though another feeder has it."""
        self._without = True

    async def give_back(self) -> None:
        """Let another feeder have its turn."""
        self._without = False
        if self._held is not None:
            held, self._held = self._held, None
            await self._run(_close, held)


def _close(producer: pulsar.Producer) -> None:
    with suppress(pulsar.PulsarException):
        producer.close()
