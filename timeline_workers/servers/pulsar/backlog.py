"""The backlog of a topic: events that no feeder has fed to the workers yet.

Pulsar keeps what the workers have not said to have applied, so the question "is the feeder behind" is put to
the topic itself: the first message after the place that the workers know. It is read with a Reader, which
changes nothing for the feeder's subscription. Of a topic that was recreated since, that is its first message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pulsar

from timeline_workers.events.incarnation import Mark, Message, Verdict, judge

from .places import described, shown_at, start_around
from .pulsar_client import TopicError, connect, explained, is_embedded, pulsar_url

_WAIT_MS = 700
# Less than a question may take as a whole, or its thread would hold the process up.
_ANSWER_SECONDS = 4
_MOST_PARTITIONS = 64

K = TypeVar("K")
Marks = Mapping[int, Mark]


def first_waiting(questions: Mapping[K, tuple[str, Marks]]) -> dict[K, int | None]:
    """When the oldest message of a topic after the given places was published, microseconds; None when there
    is none. A topic that cannot be looked into is left out. Raises TimelineError when the broker does not
    answer.

    ``questions``: each a topic, and per source partition the mark up to which everything is had; of a
    partition that is not there, nothing is.
    """
    found: dict[K, int | None] = {}
    url = pulsar_url()
    client = connect(url, operation_seconds=_ANSWER_SECONDS, quiet=True)
    try:
        with ThreadPoolExecutor(max_workers=16) as pool:
            looked = {
                question: pool.submit(_look, client, topic, marks)
                for question, (topic, marks) in questions.items()
            }
            for question, answer in looked.items():
                try:
                    with explained(url, questions[question][0]):
                        found[question] = answer.result()
                except (pulsar.PulsarException, TopicError, _UnknownError):
                    continue
    finally:
        client.close()
    return found


class _UnknownError(Exception):
    """This broker cannot be asked."""


def _look(client: pulsar.Client, topic: str, marks: Marks) -> int | None:
    names = client.get_topic_partitions(topic)
    embedded = is_embedded(client, topic)
    if len(names) > _MOST_PARTITIONS or (embedded and len(names) > 1):
        # The embedded broker has no Reader for one partition of several.
        raise _UnknownError
    oldest: int | None = None
    for partition, name in enumerate([topic] if embedded else names):
        published = _next(client, name, partition, marks.get(partition), embedded)
        if published is not None and (oldest is None or published < oldest):
            oldest = published
    return oldest


def _next(client: pulsar.Client, name: str, partition: int, mark: Mark | None, embedded: bool) -> int | None:
    """When the first message after ``mark`` was published, microseconds."""
    if mark is None or mark.major < 0:
        return next((m.published for m in _from(client, name, pulsar.MessageId.earliest)), None)
    kept = False
    for message in _from(client, name, start_around(partition, mark, any_ledger=not embedded)):
        if message.place == mark.witness.place and mark.witness.published in (None, message.published):
            kept = True
        elif message.place > mark.place:
            if kept:
                return message.published
            break
    if kept:
        return None
    shown = shown_at(client, name, partition, mark, tells_end=not embedded)
    verdict = judge(mark, shown)
    if verdict is Verdict.CUT and mark.published is not None:
        # Places are used again: only the publish time tells what is new.
        times = (m.published or 0 for m in _from(client, name, pulsar.MessageId.earliest))
        return next((published for published in times if published > mark.published), None)
    then = shown.first if verdict is Verdict.RECREATED else shown.at
    return None if then is None else then.published


def _from(client: pulsar.Client, name: str, start: pulsar.MessageId) -> Iterator[Message]:
    with closing(client.create_reader(name, start, receiver_queue_size=100)) as reader:
        while True:
            try:
                message = reader.read_next(timeout_millis=_WAIT_MS)
            except pulsar.Timeout:
                return
            yield described(message)
