"""The intake of a topic's messages while it is fed: a subscription, or on the embedded broker a Reader.

A Failover subscription gives each partition one reader at a time, over several feeders, and remembers what
was acknowledged. The embedded broker's subscriptions do not survive the death of a consumer: for a while, and
at times for good, it delivers to one that nobody reads, or takes no new one. Its Readers do, and one feeder
at a time is all it serves (``turn``). So there the messages after what the leaves have are read, and nothing
needs to be acknowledged.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time
from typing import Protocol

import pulsar

from feeder.message_batch import Stored, place_of
from feeder.positions import ENTRY_STEP, Offset
from timeline_workers.errors import TimelineError
from timeline_workers.servers.pulsar.pulsar_client import explained

from .past import BATCH_BYTES, Past

# For so long a first message is waited for, before there is time for other things.
LISTEN_MS = 100
# While a batch gathers it is looked this often whether more has come.
GATHER_MS = 2
# While messages flow, acknowledge this often; at once when none come.
ACKNOWLEDGE_SECONDS = 1.0


class BeginError(TimelineError):
    """``--from`` is none of earliest, latest and a time."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin: at messages published at ``published`` (microseconds) or later; None: at the first."""

    published: int | None
    latest: bool = False

    @staticmethod
    def parse(text: str) -> Begin:
        """Read ``earliest``, ``latest``, ISO 8601 (UTC where it names no zone) or seconds since the epoch.

        Raises BeginError.
        """
        if text == "earliest":
            return Begin(None)
        if text == "latest":
            return Begin(int(time() * 1_000_000), latest=True)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return Begin(int(float(text) * 1_000_000))
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise BeginError(
                f"--from {text!r} is none of earliest, latest, a time such as 2026-05-01T12:00:00Z, and "
                "seconds since the epoch"
            ) from error
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return Begin(int(at.timestamp() * 1_000_000))

    def leaves_out(self, published: int) -> bool:
        """Whether a message published then lies before the beginning."""
        return self.published is not None and published < self.published


class Intake(Protocol):
    """The next messages of a topic. All calls block; they raise pulsar.PulsarException."""

    shared: bool
    """Whether other feeders may have some of the partitions."""

    @property
    def connected(self) -> bool:
        """Whether it is connected to the broker now, in all partitions."""

    def receive(self, wanted: threading.Event) -> list[Stored]:
        """Return the next messages, in order within each partition; none when there are none for now.

        What is there is returned at once when it is ``wanted``. Until it is, it gathers, up to a full batch.
        """

    def acknowledge(self, messages: Iterable[pulsar.MessageId]) -> None:
        """Note that everything up to these messages, one of a partition, need not come again."""

    def close(self) -> None:
        """Stop receiving."""


class Accepted:
    """Per partition the last message that every leaf has been sent, until it is acknowledged.

    Its entry is not, before a message of another one follows: a broker deletes what is acknowledged. As
    long as the last message that was fed is there, what follows it is, too, and when it is gone, more may be
    gone than was fed.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._last: dict[int, Stored] = {}
        self._before: dict[int, Stored] = {}
        self._at = monotonic()

    def __bool__(self) -> bool:
        """Whether there is something to acknowledge."""
        return bool(self._before)

    @property
    def due(self) -> bool:
        """Whether the last acknowledgement is long enough ago for another while messages flow."""
        return monotonic() - self._at >= ACKNOWLEDGE_SECONDS

    def note(self, batch: Sequence[Stored], partitions: Collection[int]) -> None:
        """Take messages of these partitions that every leaf has been sent."""
        last: dict[int, Stored] = {}
        before: dict[int, Stored] = {}
        for stored in reversed(batch):
            partition = stored[0]
            if partition not in last:
                last[partition] = stored
            elif partition not in before and _entry(stored[1]) < _entry(last[partition][1]):
                before[partition] = stored
                if len(before) == len(partitions):
                    break
        for partition, stored in last.items():
            held = self._last.get(partition)
            if held is not None and stored[1] <= held[1]:
                continue  # delivered again
            self._last[partition] = stored
            earlier = before.get(partition)
            if earlier is None or (held is not None and earlier[1] < held[1]):
                earlier = held
            if earlier is not None and _entry(earlier[1]) < _entry(stored[1]):
                self._before[partition] = earlier

    def acknowledge(self) -> None:
        """Acknowledge them; blocks. Raises pulsar.PulsarException."""
        self._intake.acknowledge(stored[2].message_id() for stored in self._before.values())
        self._before.clear()
        self._at = monotonic()


def _entry(place: Offset) -> tuple[int, int]:
    return place.major, place.minor // ENTRY_STEP


class Subscribed:
    """A Failover subscription. ``begin``: where to move it to; None: where it is, or the first message."""

    shared = True

    def __init__(
        self,
        client: pulsar.Client,
        url: str,
        topic: str,
        subscription: str,
        *,
        messages: int,
        incarnations: Mapping[int, int],
        begin: Begin | None = None,
    ) -> None:
        self._messages, self._incarnations = messages, incarnations
        first = pulsar.InitialPosition.Latest if begin and begin.latest else pulsar.InitialPosition.Earliest
        with explained(url, topic):
            self._consumer = client.subscribe(
                topic,
                subscription,
                consumer_type=pulsar.ConsumerType.Failover,
                initial_position=first,
                receiver_queue_size=2 * messages,
                batch_receive_policy=pulsar.ConsumerBatchReceivePolicy(messages, BATCH_BYTES, GATHER_MS),
            )
            if begin is not None:
                self._move(begin)

    def _move(self, begin: Begin) -> None:
        if begin.published is None:
            self._consumer.seek(pulsar.MessageId.earliest)
        elif begin.latest:
            self._consumer.seek(pulsar.MessageId.latest)
        else:
            self._consumer.seek(begin.published // 1000)

    def receive(self, wanted: threading.Event) -> list[Stored]:
        """See ``Intake``."""
        try:
            # A batch is delivered when it is full or its time is over: the first message need not wait for
            # that.
            found = [self._stored(self._consumer.receive(LISTEN_MS))]
        except pulsar.Timeout:
            return []
        size = 0
        while True:
            more = [self._stored(message) for message in self._consumer.batch_receive()]
            found += more
            size += sum(len(message.data()) for _, _, message in more)
            if wanted.is_set() or len(found) >= self._messages or size >= BATCH_BYTES:
                return found
            wanted.wait(GATHER_MS / 1000)

    def _stored(self, message: pulsar.Message) -> Stored:
        at = message.message_id()
        partition = max(at.partition(), 0)  # -1: the topic is not partitioned
        return partition, place_of(at, self._incarnations.get(partition, 0)), message

    @property
    def connected(self) -> bool:
        """See ``Intake``."""
        return bool(self._consumer.is_connected())

    def acknowledge(self, messages: Iterable[pulsar.MessageId]) -> None:
        """See ``Intake``."""
        for message in messages:
            self._consumer.acknowledge_cumulative(message)

    def close(self) -> None:
        """See ``Intake``."""
        # Closing sends the acknowledgements that the client library still holds back.
        with suppress(pulsar.PulsarException):
            self._consumer.close()


class Reading:
    """Readers from given places on, where one feeder has the topic for itself."""

    shared = False

    def __init__(
        self,
        client: pulsar.Client,
        url: str,
        topic: str,
        after: Mapping[int, Offset | None],
        *,
        messages: int,
        incarnations: Mapping[int, int],
    ) -> None:
        self._past = Past(client, url, topic, after, incarnations)
        self._messages = messages

    def receive(self, wanted: threading.Event) -> list[Stored]:
        """See ``Intake``."""
        found = self._past.read(self._messages, wait_ms=LISTEN_MS)
        size = self._past.size
        while found and not wanted.is_set() and len(found) < self._messages and size < BATCH_BYTES:
            wanted.wait(GATHER_MS / 1000)
            found += self._past.read(self._messages - len(found))
            size += self._past.size
        return found

    @property
    def connected(self) -> bool:
        """See ``Intake``."""
        return self._past.connected

    def acknowledge(self, messages: Iterable[pulsar.MessageId]) -> None:
        """Nothing to do: where to go on is what the leaves have."""

    def close(self) -> None:
        """See ``Intake``."""
        self._past.close()
