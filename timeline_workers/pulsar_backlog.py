"""Looking into a topic for events that nobody has fed to the workers yet.

Pulsar keeps what the workers have not said to have applied, so the question "is the feeder behind" is put to
the topic itself: the first message after the place that the workers know. It is read with a Reader, which
changes nothing for the feeder's subscription.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pulsar

from .embedded import running_addresses
from .pulsar_client import TopicError, connect, explained, pulsar_url

_ENTRY_STEP = 2**16
_WAIT_MS = 700
# Less than a question may take as a whole, or its thread would hold the process up.
_ANSWER_SECONDS = 4
_MOST_PARTITIONS = 64

Places = Mapping[int, tuple[int, int]]


def first_waiting(topics: Mapping[str, Places]) -> dict[str, int | None]:
    """When the oldest message of each topic after the given places was published, microseconds; None when
    there is none. A topic that cannot be looked into is left out. Raises TimelineError when the
    broker does not answer.

    ``topics``: of each topic, per source partition the place (major, minor) up to which everything is fed;
    a partition that is not there has been fed nothing.
    """
    found: dict[str, int | None] = {}
    url = pulsar_url()
    client = connect(url, operation_seconds=_ANSWER_SECONDS, quiet=True)
    embedded = running_addresses()
    local = embedded is not None and embedded.pulsar == url
    try:
        with ThreadPoolExecutor(max_workers=16) as pool:
            looked = {
                topic: pool.submit(_look, client, topic, places, local) for topic, places in topics.items()
            }
            for topic, answer in looked.items():
                try:
                    with explained(url, topic):
                        found[topic] = answer.result()
                except (pulsar.PulsarException, TopicError, _UnknownError):
                    continue
    finally:
        client.close()
    return found


class _UnknownError(Exception):
    """This broker cannot be asked."""


def _look(client: pulsar.Client, topic: str, places: Places, embedded: bool) -> int | None:
    names = client.get_topic_partitions(topic)
    if len(names) > _MOST_PARTITIONS or (embedded and len(names) > 1):
        # The embedded broker has no Reader for one partition of several.
        raise _UnknownError
    oldest: int | None = None
    for partition, name in enumerate(names if len(names) > 1 else [topic]):
        published = _next(client, name, partition, places.get(partition))
        if published is not None and (oldest is None or published < oldest):
            oldest = published
    return oldest


def _next(client: pulsar.Client, topic: str, partition: int, place: tuple[int, int] | None) -> int | None:
    start = pulsar.MessageId.earliest
    if place is not None and place[0] >= 0:
        entry, index = divmod(place[1], _ENTRY_STEP)
        start = pulsar.MessageId(partition, place[0], entry, index)
    reader = client.create_reader(topic, start, receiver_queue_size=10)
    try:
        while True:
            message = reader.read_next(timeout_millis=_WAIT_MS)
            at = message.message_id()
            here = (at.ledger_id(), at.entry_id() * _ENTRY_STEP + max(at.batch_index(), 0))
            if place is None or here > place:
                return int(message.publish_timestamp()) * 1000
    except pulsar.Timeout:
        return None
    finally:
        reader.close()
