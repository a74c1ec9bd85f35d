"""Dead letters: reading them, and sending them to their topic again, each once, also after a crash.

Everything is read by Reader, so no subscription moves and the letters stay where they are. What was replayed
is remembered in the topic ``<topic>-dead-letter-replayed``, one JSON object a message::

    {"letter": "0:12:5:0", "replay": "…", "state": "begun", "at": …}    before it is sent
    {"letter": "0:12:5:0", "replay": "…", "state": "done", "at": …}     when the broker has stored it

A letter that is begun and not done was in hand when a replay was interrupted. Whether the broker had stored
it is found out by looking for it in the topic, from a minute before that on. The records have one message
key and so are in one partition, in which a record of our own marks the end: what is read up to it is all
there is. While one replay holds the producer of this topic, a real broker refuses a second one.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pulsar
from pydantic import BaseModel, ConfigDict

from timeline_workers.errors import TimelineError
from timeline_workers.events.incarnation import place_order
from timeline_workers.metric.topics import dead_letter_topic, replayed_topic

from .pulsar_client import check_broker, explained, is_embedded, keep

# Properties of a message that is a replay: the place of its dead letter, and which replay it was of.
REPLAY_OF, REPLAY = "replay-of", "replay"
_READ_MS = 30_000
# The embedded broker does not say where a topic ends; it delivers what there is well within this.
_QUIET_MS = 1_000
_RECORDS = "replayed"  # the message key of all records
_AT_ONCE = 500
_MARGIN_MS = 60_000  # the publish times of several producers need not ascend


class ReplayError(TimelineError):
    """Letters were not replayed: another replay is under way, or the broker did not store them."""


class Letter(BaseModel):
    """One event that was not applied. ``published``: when it became a dead letter, milliseconds."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int
    position: str
    key: str
    reason: str
    message: str
    metrics: tuple[str, ...]
    published: int
    payload: bytes

    @property
    def place(self) -> str:
        """Where the event was in its topic: ``partition:ledger:entry:index``, with ``#`` and the incarnation
        of a topic that was recreated. No two events share one.
        """
        return f"{self.partition}:{self.position}"


def read_letters(client: pulsar.Client, url: str, topic: str) -> list[Letter]:
    """The dead letters of ``topic``, by place; one for each event, also where a crash left two.

    Messages in the dead-letter topic that are none of ours are left out. Raises ConnectionFailedError or
    TopicError.
    """
    check_broker(client, url, topic)
    found: dict[tuple[int, ...], Letter] = {}
    for message in messages_of(client, url, dead_letter_topic(topic)):
        about = message.properties()
        try:
            place = (int(about["partition"]), *place_order(about["position"]))
            metrics = about["metrics"].split(", ")
            letter = Letter(
                topic=topic,
                partition=place[0],
                position=about["position"],
                key=message.partition_key(),
                reason=about["reason"],
                message=about["message"],
                metrics=tuple(metrics),
                published=message.publish_timestamp(),
                payload=message.data(),
            )
        except (KeyError, ValueError):
            continue
        if (before := found.get(place)) is not None:
            # Written twice, perhaps when other metrics had refused it.
            letter = before.model_copy(update={"metrics": tuple(sorted({*before.metrics, *metrics}))})
        found[place] = letter
    return [found[place] for place in sorted(found)]


def read_replayed(client: pulsar.Client, url: str, topic: str) -> dict[str, str]:
    """When each letter of ``topic`` was last replayed (ISO 8601), by place.

    Raises ConnectionFailedError or TopicError.
    """
    records = (_record(m) for m in messages_of(client, url, replayed_topic(topic)))
    return {r["letter"]: r["at"] for r in records if r.get("state") == "done"}


class Replay:
    """A replay under way; made by ``replaying``. ``done``: when letters were replayed before, by place."""

    def __init__(self, client: pulsar.Client, url: str, topic: str, records: pulsar.Producer) -> None:
        self._client, self._url, self._topic = client, url, topic
        self._records = records
        self._id = uuid.uuid4().hex
        self.done: dict[str, str] = {}
        self._recover()

    def send(self, letters: Sequence[Letter], payload: bytes | None = None) -> dict[str, str]:
        """Send ``letters``, or ``payload`` in the place of a single one, to their topic under their keys.

        Returns where each now is, by its former place, when the broker has stored all of them and the record
        of it. Raises ReplayError, TopicError or ConnectionFailedError; letters that were stored until then
        are remembered.
        """
        sent: dict[str, str] = {}
        with explained(self._url, self._topic):
            producer = self._client.create_producer(
                self._topic, batching_enabled=False, chunking_enabled=True, block_if_queue_full=True
            )
        with closing(producer):
            for first in range(0, len(letters), _AT_ONCE):
                part = letters[first : first + _AT_ONCE]
                self._note([(letter.place, self._id) for letter in part], "begun")
                outcomes = _Outcomes()
                for letter in part:
                    producer.send_async(
                        letter.payload if payload is None else payload,
                        outcomes.expect(letter.place),
                        partition_key=letter.key or None,
                        properties={REPLAY_OF: letter.place, REPLAY: self._id},
                    )
                producer.flush()
                stored = outcomes.wait()
                self._note([(place, self._id) for place in stored], "done")
                sent.update(stored)
                if outcomes.failed:
                    raise ReplayError(f"the broker did not store {outcomes.failed}; replay the rest later")
        return sent

    def note_done(self, letters: Iterable[Letter]) -> None:
        """Remember that ``letters`` were replayed by somebody else than ``send``. Raises as that does."""
        self._note([(letter.place, self._id) for letter in letters], "done")

    def _note(self, letters: Iterable[tuple[str, str]], state: str) -> None:
        """Record (place, replay) pairs as being in ``state``."""
        outcomes = _Outcomes()
        at = _iso_now()
        for place, replay in letters:
            record = {"letter": place, "replay": replay, "state": state, "at": at}
            self._records.send_async(
                json.dumps(record).encode(), outcomes.expect(place), partition_key=_RECORDS
            )
        self._records.flush()
        noted = outcomes.wait()
        if outcomes.failed:
            raise ReplayError(f"the broker did not store that a replay of {outcomes.failed} is {state}")
        if state == "done":
            self.done.update(dict.fromkeys(noted, at))

    def _recover(self) -> None:
        """Read what was replayed, and settle what an interrupted replay left open."""
        self._records.send(json.dumps({"mark": self._id}).encode(), partition_key=_RECORDS)
        begun: dict[tuple[str, str], int] = {}
        name = replayed_topic(self._topic)
        with (
            explained(self._url, name),
            closing(self._client.create_reader(name, pulsar.MessageId.earliest)) as reader,
        ):
            while (record := _record(message := reader.read_next(_READ_MS))).get("mark") != self._id:
                if record.get("state") == "begun":
                    begun[record["letter"], record["replay"]] = message.publish_timestamp()
                elif record.get("state") == "done":
                    begun.pop((record["letter"], record["replay"]), None)
                    self.done[record["letter"]] = record["at"]
        if begun:
            since = min(begun.values()) - _MARGIN_MS
            messages = (m.properties() for m in messages_of(self._client, self._url, self._topic, since))
            found = {(about.get(REPLAY_OF, ""), about.get(REPLAY, "")) for about in messages}
            self._note(sorted(found & begun.keys()), "done")


@contextmanager
def replaying(client: pulsar.Client, url: str, topic: str) -> Iterator[Replay]:
    """Replay letters of ``topic`` in the ``with`` block; nobody else does at the same time.

    Raises ReplayError when somebody does, TopicError or ConnectionFailedError.
    """
    check_broker(client, url, topic)
    name = replayed_topic(topic)
    keep(client, url, name)
    try:
        with explained(url, name):
            records = client.create_producer(name, access_mode=pulsar.ProducerAccessMode.Exclusive)
    except (pulsar.ProducerFenced, pulsar.ProducerBusy):
        raise ReplayError(f"another replay of {topic} is under way; try again when it has ended") from None
    with closing(records):
        yield Replay(client, url, topic, records)


def messages_of(
    client: pulsar.Client, url: str, topic: str, since: int | None = None
) -> Iterator[pulsar.Message]:
    """Every message that ``topic`` has now, from the publish time ``since`` (milliseconds) on."""
    try:
        with explained(url, topic):
            reader = client.create_reader(topic, pulsar.MessageId.earliest)
    except TimelineError as error:
        if isinstance(error.__cause__, pulsar.TopicNotFound):
            return  # nothing was ever written to it
        raise
    with closing(reader), explained(url, topic):
        if is_embedded(client, topic):
            yield from _until_quiet(reader)
            return
        if since is not None:
            reader.seek(since)
        while reader.has_message_available():
            yield reader.read_next(_READ_MS)


def _until_quiet(reader: pulsar.Reader) -> Iterator[pulsar.Message]:
    while True:
        try:
            message = reader.read_next(_QUIET_MS)
        except pulsar.Timeout:
            return
        yield message


def _record(message: pulsar.Message) -> dict[str, Any]:
    try:
        found = json.loads(message.data())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class _Outcomes:
    """Gathers where messages were stored; the client library tells on a thread of its own."""

    def __init__(self) -> None:
        self._expected = 0
        self._stored: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._changed = threading.Condition()

    def expect(self, name: str) -> Any:
        """The callback for one more message, called ``name`` in the results."""
        self._expected += 1

        def take(result: pulsar.Result, at: pulsar.MessageId) -> None:
            with self._changed:
                if result == pulsar.Result.Ok:
                    index = max(at.batch_index(), 0)
                    self._stored[name] = f"{max(at.partition(), 0)}:{at.ledger_id()}:{at.entry_id()}:{index}"
                else:
                    self.failed[name] = str(result).rpartition(".")[2]
                self._changed.notify_all()

        return take

    def wait(self) -> dict[str, str]:
        """Where each was stored, by name, when all have an outcome; ``failed`` has the others."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._stored) + len(self.failed) >= self._expected)
        return self._stored
