"""Events that are sent in chunks, on a real broker: none looks like a gap, wherever a feeder begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, running_stack
from tests.integration.test_every_event import Place, counting, counts, fed, last_of, letters
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar

pytestmark = pytest.mark.integration

# Beyond what the broker takes in one entry, and than what an event may have.
LARGE = b'{"id": "a", "t": 1, "unused": "' + b"x" * 6_000_000 + b'"}'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pulsar_broker: Broker) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("chunks"), broker=pulsar_broker) as made:
        made.start_worker()
        yield made


def send(stack: Stack, topic: str, payloads: Sequence[bytes]) -> list[Place]:
    """Send payloads of one key in order, in chunks where they are large; return where each one went."""
    client = connect_pulsar(stack.addresses.pulsar)
    try:
        producer = client.create_producer(topic, batching_enabled=False, chunking_enabled=True)
        at = [producer.send(payload, partition_key="a") for payload in payloads]
        return [Place(max(i.partition(), 0), f"{i.ledger_id()}:{i.entry_id()}:0") for i in at]
    finally:
        client.close()


def small(time: float) -> bytes:
    return event("a", time, state="on").payload


def check_stopped(stack: Stack) -> None:
    """Stop the feeder, which has met no gap."""
    assert stack.stop("feeder") == 0
    lines = [json.loads(line) for line in stack.log("feeder").splitlines()]
    told = [line for line in lines if line["event"] == "feeder stopped"]
    assert told[-1]["gaps"] == 0
    assert "resubscribing" not in {line["event"] for line in lines}


async def test_chunks_are_no_gap(stack: Stack) -> None:
    """Chunked messages between others and as the last: the feeder goes on after each, reads the past from and
    up to each, and finds nothing missing. They are refused as too large, each with its one letter.
    """
    topic = "in-chunks"
    first = counting("chunks-first", topic, allowed_lateness="1h")
    await stack.apply(first)
    stack.start_feeder()
    places = send(stack, topic, [small(1), LARGE, LARGE, small(2), LARGE])
    await fed(stack, first, last_of(places))
    # New leaves beside those that are fed, and others that are read for themselves.
    beside = first.model_copy(update={"name": "chunks-beside", "expression": 'event_count(state != "off")'})
    apart = counting("chunks-apart", topic, allowed_lateness="1h", max_ahead="3d")
    for later in (beside, apart):
        await stack.apply(later)
        await fed(stack, later, last_of(places))
    check_stopped(stack)

    stack.start_feeder()
    more = send(stack, topic, [LARGE, small(3), LARGE])
    for metric in (first, beside, apart):
        await fed(stack, metric, last_of(more))
        assert await counts(stack, metric) == {"a": 3}
    check_stopped(stack)

    large = {p for p, i in zip([*places, *more], "-LL-LL-L", strict=True) if i == "L"}
    found = letters(stack, topic, len(large))
    about = [m.properties() for m in found]
    assert {Place(int(a["partition"]), a["position"]) for a in about} == large
    assert {(a["reason"], m.data() == LARGE) for a, m in zip(about, found, strict=True)} == {
        ("too-large", True)
    }
