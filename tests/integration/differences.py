"""Differences of the two brokers, by asking them: ``python -m tests.integration.differences``.

Starts both, tries on each what a client of Pulsar may expect, and prints what came of it; docs/pulsar.md
lists it. Of the embedded broker it leaves out `seek`, and it gives topics one partition: else the client
library ends the process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pulsar

from deploy.pulsar_standalone import standalone
from timeline_workers.servers.embedded.embedded_servers import embedded
from timeline_workers.servers.pulsar.pulsar_client import connect

FAILOVER, SHARED = pulsar.ConsumerType.Failover, pulsar.ConsumerType.Shared
QUIET_MS = 1_500
KILLED = """
import os, signal, sys, pulsar
from timeline_workers.servers.pulsar.pulsar_client import connect
consumer = connect(sys.argv[1]).subscribe(
    "killed",
    "g",
    consumer_type=pulsar.ConsumerType.Failover,
    initial_position=pulsar.InitialPosition.Earliest,
)
consumer.receive(10_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def main() -> None:
    """Print one line for each broker and question."""
    with tempfile.TemporaryDirectory() as home:
        here = Path(home)
        with embedded(here / "e", temporal_port=0, ui_port=0, pulsar_port=0, topic_partitions=1) as servers:
            ask("pulsar-lite", servers.pulsar, [q for q in QUESTIONS if q is not seek])
        with standalone(here / "p") as broker:
            ask("Apache Pulsar", broker.url, QUESTIONS)


def ask(name: str, url: str, questions: list[Callable[[pulsar.Client, str], object]]) -> None:
    """Ask the broker at ``url`` each of the questions."""
    for question in questions:
        with closing(connect(url)) as client:
            try:
                found = question(client, url)
            except pulsar.PulsarException as error:
                found = type(error).__name__
        print(f"{name:13}  {question.__doc__}: {found}", flush=True)


def subscribe(client: pulsar.Client, topic: object, kind: pulsar.ConsumerType = FAILOVER) -> pulsar.Consumer:
    return client.subscribe(
        topic,
        "g",
        consumer_type=kind,
        initial_position=pulsar.InitialPosition.Earliest,
        negative_ack_redelivery_delay_ms=500,
    )


def send(client: pulsar.Client, topic: str, count: int) -> list[pulsar.MessageId]:
    producer = client.create_producer(topic)
    return [producer.send(str(i).encode(), partition_key=str(i)) for i in range(count)]


def rest(consumer: pulsar.Consumer) -> list[str]:
    """What comes until nothing does."""
    found = []
    while True:
        try:
            found.append(consumer.receive(QUIET_MS).data().decode())
        except pulsar.Timeout:
            return found


def two_consumers(client: pulsar.Client, url: str) -> object:
    """two consumers of a Failover subscription get, of 40 messages"""
    with closing(connect(url)) as other:
        consumers = [subscribe(client, "two"), subscribe(other, "two")]
        send(client, "two", 40)
        return [len(rest(consumer)) for consumer in consumers]


def killed(client: pulsar.Client, url: str) -> object:
    """after kill -9 of a consumer that acknowledged nothing the next one gets, of 100 messages, within"""
    send(client, "killed", 100)
    done = subprocess.run([sys.executable, "-c", KILLED, url], stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    began = monotonic()
    consumer = subscribe(client, "killed")
    consumer.receive(30_000)
    return f"{monotonic() - began:.1f} s", 1 + len(rest(consumer))


def negative(client: pulsar.Client, url: str) -> object:
    """after a negative acknowledgement of the first of three comes again"""
    send(client, "negative", 3)
    consumer = subscribe(client, "negative")
    first, *_ = [consumer.receive(10_000) for _ in range(3)]
    consumer.negative_acknowledge(first)
    return rest(consumer)


def seek(client: pulsar.Client, url: str) -> object:
    """after seek to earliest come again, of 5 acknowledged"""
    send(client, "seek", 5)
    consumer = subscribe(client, "seek")
    for _ in range(5):
        consumer.acknowledge(consumer.receive(10_000))
    consumer.seek(pulsar.MessageId.earliest)
    return len(rest(consumer))


def pattern(client: pulsar.Client, url: str) -> object:
    """a subscription to a pattern that two topics fit gets, of 2 messages"""
    for topic in ("pattern-1", "pattern-2"):
        send(client, topic, 1)
    return len(rest(subscribe(client, re.compile("persistent://public/default/pattern-.*"))))


def delayed(client: pulsar.Client, url: str) -> object:
    """what is to be delivered after 2 s comes after"""
    consumer = subscribe(client, "delayed", SHARED)
    began = monotonic()
    client.create_producer("delayed").send(b"x", deliver_after=timedelta(seconds=2))
    consumer.receive(30_000)
    return f"{monotonic() - began:.1f} s"


def exclusive(client: pulsar.Client, url: str) -> object:
    """a second exclusive producer of a topic"""
    mode = pulsar.ProducerAccessMode.Exclusive
    with closing(connect(url)) as other:
        first = client.create_producer("exclusive", access_mode=mode)
        second = other.create_producer("exclusive", access_mode=mode)
        return "is accepted", first.is_connected(), second.is_connected()


def partitions(client: pulsar.Client, url: str) -> object:
    """the partitions of the partition x-partition-0"""
    return client.get_topic_partitions("x-partition-0")


def end(client: pulsar.Client, url: str) -> object:
    """whether there is anything in a topic to which nothing was sent"""
    return client.create_reader("end", pulsar.MessageId.earliest).has_message_available()


def chunks(client: pulsar.Client, url: str) -> object:
    """where three messages are, the second of 6 MB in chunks"""
    producer = client.create_producer("chunks", chunking_enabled=True, batching_enabled=False)
    return [str(producer.send(payload)) for payload in (b"a", bytes(6_000_000), b"b")]


QUESTIONS: list[Callable[[pulsar.Client, str], object]] = [
    two_consumers,
    killed,
    negative,
    seek,
    pattern,
    delayed,
    exclusive,
    partitions,
    chunks,
    end,
]

if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the client library may not survive its own end after what it has seen here
