"""Reading what a topic holds by Readers: from any place on, with no subscription that would remember it.

On a real broker every partition is read on its own, from just after a given place. The embedded broker has no
partitions to read on their own; there one Reader reads the whole topic. It may also deliver entries twice, or
stop delivering, in one partition or in all: then it is opened anew where it was.

Why it stops: a Reader acknowledges what it reads, and of the first entry of a partition, where that is a
batch, the entry before it, which the embedded broker takes for number 2**64 - 1. At the next acknowledgement
it hangs up on the whole client, and whoever subscribes again is sent nothing more of that partition. So after
the connection was lost nothing is expected of a Reader there; and a partition that is silent is asked, by a
Reader of its own, whether it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from time import monotonic, time

import pulsar
import structlog

from feeder.positions import SILENT, Offset
from timeline_workers.events.incarnation import Place, incarnation_of, ledger_of
from timeline_workers.servers.pulsar.places import start_after
from timeline_workers.servers.pulsar.pulsar_client import explained

from .pulsar_message import PulsarMessage, place_of

log = structlog.get_logger("feeder")

QUEUE = 1_000
BATCH_BYTES = 16 * 1024 * 1024
# The embedded broker may stop delivering to a reader that still has messages to come.
STALLED_SECONDS = 2.0
SILENT_SECONDS = 0.5
# For so long a partition that is asked whether it is silent may take to say that it is not.
ASK_MS = 300
# It is asked again after pauses that double up to this: the embedded broker remembers every Reader.
ASK_SECONDS = 60.0
# So often in a row a Reader is opened anew for what is known to be stored and does not come.
REOPENINGS = 3
_POLL_MS = 1


def knows_partitions(client: pulsar.Client, partitions: Sequence[str]) -> bool:
    """Whether the broker serves the ``partitions`` of a topic as topics of their own, as a real one does; the
    embedded one takes such a name for another topic that is partitioned.
    """
    with suppress(pulsar.PulsarException):
        return list(client.get_topic_partitions(partitions[0])) == [partitions[0]]
    return True  # a real one, that refuses to tell


class Past:
    """The messages of a topic after given places, partition by partition in order, each once.

    ``after``: per partition the place to begin after, None for the beginning; where it is of an earlier
    incarnation than the one of the partition in ``incarnations`` (by default the first), that is the
    beginning, too. ``losses``: how often the client's connection has been lost so far. ``size``: of what was
    read last, in bytes. Blocks in every call; raises pulsar.PulsarException. Close it.
    """

    def __init__(
        self,
        client: pulsar.Client,
        url: str,
        topic: str,
        after: Mapping[int, Offset | None],
        incarnations: Mapping[int, int] | None = None,
        losses: Callable[[], int] = lambda: 0,
    ) -> None:
        self._client, self._url, self.size, self.losses = client, url, 0, losses
        self.incarnations = {} if incarnations is None else incarnations
        with explained(url, topic):
            names = client.get_topic_partitions(topic)
        if knows_partitions(client, names):
            self._tapes = [_Tape(self, names[p], {p: at}, ledgers=True) for p, at in sorted(after.items())]
        else:
            self._tapes = [_Tape(self, topic, after, whole=len(names) > 1)]

    def read(
        self, many: int, limits: Mapping[int, Offset] | None = None, wait_ms: int = 0
    ) -> list[PulsarMessage]:
        """Return up to about ``many`` of the next messages (or ``BATCH_BYTES`` of them), fewer when there are
        no more for now.

        Where a partition has a limit, nothing beyond it is returned (it is kept for later). Waits up to
        ``wait_ms`` for a first message.
        """
        found: list[PulsarMessage] = []
        self.size = 0
        for tape in self._tapes:
            self.size += tape.read(found, many, {} if limits is None else limits, wait_ms)
        return found

    def at_end(self, partition: int) -> bool:
        """Whether nothing more is stored now in ``partition``, up to the limit of the last reading, than has
        been returned.
        """
        return all(tape.at_end(partition) for tape in self._tapes if partition in tape.partitions)

    @property
    def knows_ends(self) -> bool:
        """Whether the broker tells where partitions end, as a real one does."""
        return all(tape.knows_end for tape in self._tapes)

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are read."""
        return frozenset().union(*(tape.partitions for tape in self._tapes))

    @property
    def is_current(self) -> bool:
        """Whether a Reader of a whole topic has come to messages that were published after it was opened: on
        the embedded broker, where partitions come together, that nothing older is to come.
        """
        return all(tape.is_current for tape in self._tapes)

    @property
    def connected(self) -> bool:
        """Whether all Readers are connected to the broker now."""
        return all(tape.connected for tape in self._tapes)

    def close(self) -> None:
        """Close the Readers."""
        for tape in self._tapes:
            tape.close()

    def open(self, name: str, start: pulsar.MessageId) -> pulsar.Reader:
        """Open a Reader of one topic or partition."""
        with explained(self._url, name):
            return self._client.create_reader(name, start, receiver_queue_size=QUEUE)


class _Tape:
    """One Reader. ``whole``: it reads partitions beside those in ``after``; ``ledgers``: the broker can begin
    at the first entry of any ledger.
    """

    def __init__(
        self,
        past: Past,
        name: str,
        after: Mapping[int, Offset | None],
        *,
        whole: bool = False,
        ledgers: bool = False,
    ) -> None:
        self._past, self._name, self._whole, self._ledgers = past, name, whole, ledgers
        self.partitions, self.knows_end = frozenset(after), ledgers
        self._at = {p: SILENT.offset if at is None else at for p, at in after.items()}
        self._held: list[PulsarMessage] = []
        self._limits: Mapping[int, Offset] = {}
        self._reopened, self._listened = 0, 0.0
        self._opening = False
        self._open()

    def _open(self) -> None:
        self._asked = {p: _Silence() for p in self._at}
        self._heard, self._any, self._waited = monotonic(), False, 0.0
        self.is_current, self._opened_ms = False, time() * 1000
        self._losses = self._past.losses()
        self._last_heard = dict.fromkeys(self._at, self._listened)
        self._reader = self._past.open(self._name, self._start())

    def _reopen(self, why: str) -> None:
        log.info(f"{why}; reopening it", topic=self._name)
        self._reopened += 1
        self._opening = True  # that it is closed for a moment is no loss
        try:
            self.close()
            self._open()
        finally:
            self._opening = False

    def _start(self) -> pulsar.MessageId:
        if len(self._at) > 1:
            return pulsar.MessageId.earliest
        [(partition, at)] = self._at.items()
        return self._start_after(partition, at)

    def _start_after(self, partition: int, at: Offset) -> pulsar.MessageId:
        if incarnation_of(at.major) < self._past.incarnations.get(partition, 0):
            return pulsar.MessageId.earliest
        # The whole entry is read again: where in it one was is told by _at.
        place = Place(ledger_of(at.major), at.minor)
        return start_after(partition, place, any_ledger=self._ledgers)

    def read(self, found: list[PulsarMessage], many: int, limits: Mapping[int, Offset], wait_ms: int) -> int:
        """Add to ``found``; returns the bytes of what was received."""
        began = monotonic()
        if not self._ledgers and self._past.losses() != self._losses:
            self._reopen("connection of a reader was lost")
        elif self._whole and self._owed():
            self._reopen("broker stopped delivering a partition to a reader")
        try:
            return self._read(found, many, limits, wait_ms)
        finally:
            self._listened += monotonic() - began

    def _read(self, found: list[PulsarMessage], many: int, limits: Mapping[int, Offset], wait_ms: int) -> int:
        held, self._held, self._limits = self._held, [], limits
        for stored in held:
            self._take(stored, found, limits)
        # Beyond a limit of its only partition nothing is of use now.
        size, since, whole = 0, monotonic(), self._whole
        until = since + wait_ms / 1000
        partition, incarnations, reached = min(self.partitions), self._past.incarnations, self._at
        while len(found) < many and size < BATCH_BYTES and (whole or not self._held):
            patience = _POLL_MS if found else max(wait_ms, _POLL_MS)
            try:
                message = self._reader.read_next(patience)
            except pulsar.Timeout:
                self._waited += patience / 1000
                if found or not self._stalled():
                    return size
                continue
            self._heard, self._any, self._waited = monotonic(), True, 0.0
            at = message.message_id()
            if whole:
                partition = max(at.partition(), 0)
            place = place_of(at, incarnations.get(partition, 0))
            if partition in reached and place > reached[partition]:
                reached[partition] = place
                self._reopened = 0
                if whole:
                    self._asked[partition].heard(self._heard)
                    self._last_heard[partition] = self._listened + self._heard - since
                taken = PulsarMessage(partition, place, message)
                self._take(taken, found, limits)
                size += len(taken.payload)
            if whole:
                self.is_current |= message.publish_timestamp() > self._opened_ms
                if not found and monotonic() > until:
                    return size  # other partitions may bring messages without end
        return size

    def _take(self, stored: PulsarMessage, found: list[PulsarMessage], limits: Mapping[int, Offset]) -> None:
        limit = limits.get(stored.partition) if limits else None
        (found if limit is None or stored.place <= limit else self._held).append(stored)

    def _stalled(self) -> bool:
        """Open the Reader anew when messages are there and none come; True when it was."""
        if self._whole or monotonic() - self._heard < STALLED_SECONDS or not self._more():
            return False
        self._reopen("broker stopped delivering to a reader")
        return True

    def _owed(self) -> bool:
        """Whether a partition of several that has been silent holds more than was received, for some time."""
        if not self.is_current and self._waited < SILENT_SECONDS:
            return False  # what was stored before it was opened is still coming
        for partition, at in self._at.items():
            asked = self._asked[partition]
            if at == SILENT.offset or not asked.due(monotonic()):
                continue
            if asked.held is not None and at < asked.held:
                return True
            asked.held = self._first_after(partition, at)
            asked.again(monotonic())
        return False

    def _first_after(self, partition: int, at: Offset) -> Offset | None:
        start = self._start_after(partition, at)
        with suppress(pulsar.Timeout), closing(self._past.open(self._name, start)) as reader:
            until = monotonic() + 10 * ASK_MS / 1000
            while monotonic() < until:
                found = reader.read_next(ASK_MS).message_id()
                place = place_of(found, self._past.incarnations.get(partition, 0))
                if max(found.partition(), 0) == partition and place > at:
                    return place
        return None

    def at_end(self, partition: int) -> bool:
        if any(message.partition == partition for message in self._held):
            return True
        return self._has_ended(partition) if self._whole else not self._more()

    def _has_ended(self, partition: int) -> bool:
        """``at_end`` of one partition of several, of which the broker does not say where it ends."""
        limit = self._limits.get(partition)
        if limit is not None and self._at[partition] >= limit:
            return True
        # Others may bring messages without end.
        silent = self.is_current and self._listened - self._last_heard[partition] >= SILENT_SECONDS
        if not silent and self._waited < SILENT_SECONDS:
            return False
        if limit is not None and self._reopened < REOPENINGS:
            self._reopen("broker does not deliver to a reader what it has delivered before")
            return False
        return True

    def _more(self) -> bool:
        """Whether the broker has more than was received."""
        if self._ledgers or (self._any and not self._whole):
            return bool(self._reader.has_message_available())
        # The embedded broker cannot say so of a topic or partition that holds nothing (and the client library
        # does not survive two such answers): there silence must do, for as long as it was listened to.
        return self._waited < SILENT_SECONDS

    @property
    def connected(self) -> bool:
        return self._opening or bool(self._reader.is_connected())

    def close(self) -> None:
        with suppress(pulsar.PulsarException):
            self._reader.close()


class _Silence:
    """When a partition is asked next whether it holds more than was received. ``held``: what it held when it
    was asked last; then it has a moment to come.
    """

    def __init__(self) -> None:
        self.held: Offset | None = None
        self.heard(monotonic())

    def heard(self, now: float) -> None:
        """Something has come."""
        self._pause, self._next = STALLED_SECONDS, now + STALLED_SECONDS

    def due(self, now: float) -> bool:
        """Whether it is to be asked ``now``."""
        return now >= self._next

    def again(self, now: float) -> None:
        """It was asked ``now``."""
        self._pause = STALLED_SECONDS if self.held is not None else min(2 * self._pause, ASK_SECONDS)
        self._next = now + self._pause
