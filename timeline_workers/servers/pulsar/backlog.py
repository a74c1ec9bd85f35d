"""The backlog of a topic: events that no feeder has fed to the workers yet.

Pulsar keeps what the workers have not said to have applied, so the question "is the feeder behind" is put to
the topic itself: the first message after the place that the workers know. It is read with a Reader, which
changes nothing for the feeder's subscription. Of a topic that was recreated since, that is its first message;
and what had not been fed of the old one is lost, as the feeder will find.

On the embedded broker a Reader of a topic with several partitions reads all of them, but for one that begins
within a partition, which reads only that. So a partition of which something is known is asked as on any other
broker, and one of which nothing is known by reading the topic from its beginning.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

import pulsar

from timeline_workers.events.incarnation import Mark, Message, Verdict, judge

from .places import described, shown_at, shown_in_whole, start_around, stored
from .pulsar_client import TopicError, connect, explained, is_embedded, pulsar_url

_WAIT_MS = 700
# Less than a question may take as a whole, or its thread would hold the process up.
_ANSWER_SECONDS = 4
_MOST_PARTITIONS = 64
# A partition whose first message does not come within this, of all that a topic holds, has none.
_FIRST_SECONDS = 2.0

K = TypeVar("K")
Marks = Mapping[int, Mark]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a topic. ``oldest``: when its first message was published, microseconds; None where
    nothing waits. ``other``: whether the topic is another one than the marks are of, or has lost its end.
    ``partitions``: how many it has.
    """

    oldest: int | None = None
    other: bool = False
    partitions: int = 1


def backlogs(questions: Mapping[K, tuple[str, Marks]]) -> dict[K, Backlog]:
    """What a topic holds after the given places. A topic that cannot be looked into is left out. Raises
    TimelineError when the broker does not answer.

    ``questions``: each a topic, and per source partition the mark up to which everything is had; of a
    partition that is not there, nothing is.
    """
    found: dict[K, Backlog] = {}
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


def _look(client: pulsar.Client, topic: str, marks: Marks) -> Backlog:
    names = client.get_topic_partitions(topic)
    embedded = is_embedded(client, topic)
    if len(names) > _MOST_PARTITIONS:
        raise _UnknownError
    look = partial(_next, client, embedded=embedded, whole=embedded and len(names) > 1)
    partitions = range(len(names))
    with ThreadPoolExecutor(len(names)) as pool:
        found = list(
            pool.map(
                look, [topic] * len(names) if embedded else names, partitions, map(marks.get, partitions)
            )
        )
    oldest = min((one.oldest for one in found if one.oldest is not None), default=None)
    return Backlog(oldest, any(one.other for one in found), len(names))


def _next(
    client: pulsar.Client, name: str, partition: int, mark: Mark | None, *, embedded: bool, whole: bool
) -> Backlog:
    """What one partition holds after ``mark``. ``whole``: ``name`` is a topic with others beside it."""
    messages = partial(_of_one, client, name, partition) if whole else partial(_from, client, name)
    if mark is None or mark.major < 0:
        return Backlog(next((m.published for m in messages(pulsar.MessageId.earliest)), None))
    kept = False
    for message in messages(start_around(partition, mark, any_ledger=not embedded)):
        if message.place == mark.witness.place and mark.witness.published in (None, message.published):
            kept = True
        elif message.place > mark.place:
            if kept:
                return Backlog(message.published)
            break
    if kept:
        return Backlog()
    shown = (
        shown_in_whole(client, name, {partition: mark})[partition]
        if whole
        else shown_at(client, name, partition, mark, tells_end=not embedded)
    )
    verdict = judge(mark, shown)
    other = verdict in (Verdict.RECREATED, Verdict.CUT)
    if verdict is Verdict.CUT and mark.published is not None:
        # Places are used again: only the publish time tells what is new.
        times = (m.published or 0 for m in messages(pulsar.MessageId.earliest))
        return Backlog(next((published for published in times if published > mark.published), None), other)
    then = shown.first if verdict is Verdict.RECREATED else shown.at
    return Backlog(None if then is None else then.published, other)


def _of_one(
    client: pulsar.Client, name: str, partition: int, start: pulsar.MessageId
) -> Generator[Message, None, None]:
    """The messages from ``start`` on of one partition, where others may come with it."""
    until = monotonic() + _FIRST_SECONDS
    with closing(stored(client, name, start)) as messages:
        for of, message in messages:
            if of == partition:
                yield message
            elif monotonic() > until:
                return


def _from(client: pulsar.Client, name: str, start: pulsar.MessageId) -> Generator[Message, None, None]:
    with closing(client.create_reader(name, start, receiver_queue_size=100)) as reader:
        while True:
            try:
                message = reader.read_next(timeout_millis=_WAIT_MS)
            except pulsar.Timeout:
                return
            yield described(message)
