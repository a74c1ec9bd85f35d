"""Run in the containers' network: ``python -m tests.containers.topic publish|read URL TOPIC``.

``publish`` sends ten messages and acknowledges each for a durable subscription; ``read`` prints how many the
topic has from its beginning.
"""

from __future__ import annotations

import sys

import pulsar

MESSAGES = 10


def publish(client: pulsar.Client, topic: str) -> None:
    consumer = client.subscribe(topic, "all-acknowledged")
    producer = client.create_producer(topic)
    for number in range(MESSAGES):
        producer.send(str(number).encode())
        consumer.acknowledge(consumer.receive(timeout_millis=30_000))


def read(client: pulsar.Client, topic: str) -> None:
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    found = 0
    while reader.has_message_available():
        reader.read_next(timeout_millis=30_000)
        found += 1
    print(found)


if __name__ == "__main__":
    what, url, topic = sys.argv[1:]
    connected = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    {"publish": publish, "read": read}[what](connected, topic)
    connected.close()
