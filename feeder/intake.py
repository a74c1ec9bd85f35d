"""Where a topic's messages come from while it is fed: a subscription, or on the embedded broker a Reader.

A Failover subscription gives each partition one reader at a time, over several feeders, and remembers what
was acknowledged. The embedded broker's subscriptions do not survive the death of a consumer: for a while, and
at times for good, it delivers to one that nobody reads, or takes no new one. Its Readers do, and one feeder
at a time is all it serves (``turn``). So there the messages after what the leaves have are read, and nothing
needs to be acknowledged.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time
from typing import Protocol

import pulsar

from timeline_workers.errors import TimelineError
from timeline_workers.pulsar_client import explained

from .messages import Stored, place_of
from .past import BATCH_BYTES, Past
from .progress import Offset

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

    def receive(self, wanted: threading.Event) -> list[Stored]:
        """Return the next messages, in order within each partition; none when there are none for now.

        What is there is returned at once when it is ``wanted``. Until it is, it gathers, up to a full batch.
        """

    def acknowledge(self, messages: Iterable[pulsar.MessageId]) -> None:
        """Note that everything up to these messages, one of a partition, need not come again."""

    def close(self) -> None:
        """Stop receiving."""


class Accepted:
    """Per partition the last message that every leaf has been sent, until it is acknowledged."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._last: dict[int, tuple[Offset, pulsar.MessageId]] = {}
        self._at = monotonic()

    def __bool__(self) -> bool:
        """Whether there is something to acknowledge."""
        return bool(self._last)

    @property
    def due(self) -> bool:
        """Whether the last acknowledgement is long enough ago for another while messages flow."""
        return monotonic() - self._at >= ACKNOWLEDGE_SECONDS

    def note(self, batch: Sequence[Stored]) -> None:
        """Take messages that every leaf has been sent."""
        last: dict[int, Stored] = {}
        for stored in batch:
            partition, at, _ = stored
            known = last.get(partition)
            if known is None or at > known[1]:
                last[partition] = stored
        for partition, at, message in last.values():
            held = self._last.get(partition)
            if held is None or at > held[0]:
                self._last[partition] = at, message.message_id()

    def acknowledge(self) -> None:
        """Acknowledge them; blocks. Raises pulsar.PulsarException."""
        self._intake.acknowledge(message for _, message in self._last.values())
        self._last.clear()
        self._at = monotonic()


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
        begin: Begin | None = None,
    ) -> None:
        self._messages = messages
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
            found = [_stored(self._consumer.receive(LISTEN_MS))]
        except pulsar.Timeout:
            return []
        size = 0
        while True:
            more = [_stored(message) for message in self._consumer.batch_receive()]
            found += more
            size += sum(len(message.data()) for _, _, message in more)
            if wanted.is_set() or len(found) >= self._messages or size >= BATCH_BYTES:
                return found
            wanted.wait(GATHER_MS / 1000)

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
    ) -> None:
        self._past = Past(client, url, topic, after)
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

    def acknowledge(self, messages: Iterable[pulsar.MessageId]) -> None:
        """Nothing to do: where to go on is what the leaves have."""

    def close(self) -> None:
        """See ``Intake``."""
        self._past.close()


def _stored(message: pulsar.Message) -> Stored:
    at = message.message_id()
    return max(at.partition(), 0), place_of(at), message  # -1: the topic is not partitioned
