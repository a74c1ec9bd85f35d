"""The embedded broker after the process of a consumer was killed in the middle of a transfer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pulsar
import pytest

from timeline_workers.servers.embedded.embedded_servers import embedded

pytestmark = pytest.mark.integration

CONSUMER = """
import sys, pulsar
consumer = pulsar.Client(sys.argv[1]).subscribe(
    "t", "s", consumer_type=pulsar.ConsumerType.Failover, initial_position=pulsar.InitialPosition.Earliest
)
print("subscribed", flush=True)
while True:
    consumer.receive()
"""
QUIET = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)


def test_the_next_consumer_gets_everything_after_a_kill(tmp_path: Path) -> None:
    """A consumer is stopped, so that what is sent to it stays in its connection, and killed: the connection
    is reset rather than closed, and yet the next consumer of the subscription receives every message.
    """
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as servers:
        command = [sys.executable, "-c", CONSUMER, servers.pulsar]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
            assert first.stdout is not None
            while b"subscribed" not in first.stdout.readline():
                assert first.poll() is None
            first.send_signal(signal.SIGSTOP)
            client = pulsar.Client(servers.pulsar, operation_timeout_seconds=60, logger=QUIET)
            producer = client.create_producer("t")
            sent = [str(n).encode() + os.urandom(1000) for n in range(200)]
            for payload in sent:
                producer.send(payload)
            first.kill()
        second = client.subscribe("t", "s", consumer_type=pulsar.ConsumerType.Failover)
        received: dict[bytes, None] = {}
        while len(received) < len(sent):
            received[second.receive(timeout_millis=60_000).data()] = None
        client.close()
    assert list(received) == sent
