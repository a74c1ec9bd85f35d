"""A topic of Kafka: the message as a CloudEvent, under its key; ``episode`` and ``seq`` are headers.

The producer is an idempotent one, so that its own retries store nothing twice; a message that a sink sends
again may be there twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from timeline_workers.alerts.episodes import key_text
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, later
from timeline_workers.targets.target import KafkaTarget

_SECONDS: Final = 10
_REFUSED: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_RECORD,
)


@asynccontextmanager
async def opened(target: KafkaTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    config = {
        "bootstrap.servers": target.servers,
        "client.id": sink,
        "enable.idempotence": True,
        "message.timeout.ms": _SECONDS * 1000,
        **target.config,
        **{name: secrets.secret(place) for name, place in target.secrets.items()},
    }
    said: list[str] = []
    producer = Producer(config | {"error_cb": lambda error: said.append(error.str())}, logger=_Silent())

    async def send(parcels: Sequence[Parcel]) -> list[Answer]:
        return await asyncio.to_thread(_send, producer, target.topic, parcels, said)

    try:
        yield send
    finally:
        producer.purge()


class _Silent:
    """The library's log: what matters comes with the answers."""

    def log(self, *_: object) -> None:
        """Log nothing."""


def _send(producer: Producer, topic: str, parcels: Sequence[Parcel], said: list[str]) -> list[Answer]:
    answers: dict[int, Answer] = {}
    for place, parcel in enumerate(parcels):
        message = parcel.told.message

        def take(error: Any, stored: Any, place: int = place) -> None:
            if error is None:
                why = f"stored in partition {stored.partition()} of {topic} at {stored.offset()}"
                answers[place] = Answer(verdict="taken", why=why)
            else:
                never = error.code() in _REFUSED
                why = "; ".join(dict.fromkeys([error.str(), *said]))
                answers[place] = Answer(verdict="never" if never else "later", why=why)

        try:
            producer.produce(
                topic,
                msgspec.json.encode(parcel.event),
                key_text(message.key),
                on_delivery=take,
                headers={
                    "content-type": "application/cloudevents+json; charset=utf-8",
                    "rule": message.rule,
                    "episode": message.episode,
                    "seq": str(message.seq),
                },
            )
        except (KafkaException, BufferError) as error:
            answers[place] = later(error)
    producer.flush(_SECONDS + 5)
    unheard = Answer(verdict="later", why="the broker does not answer")
    return [answers.get(place, unheard) for place in range(len(parcels))]
