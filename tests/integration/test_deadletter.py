"""`timeline deadletter`: what it lists and shows is what the feeder refused; a letter is replayed once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pulsar
import pytest
from typer.testing import CliRunner, Result

from deploy.pulsar_standalone import Broker
from producer.event import Event
from producer.send import Stored
from tests.integration.stack import Stack, event, eventually, running_stack
from timeline_workers.cli.dev import environment_of
from timeline_workers.cli.main import build
from timeline_workers.errors import QuestionError, TimelineError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.servers.pulsar.dead_letter_topic import (
    REPLAY,
    REPLAY_OF,
    ReplayError,
    read_letters,
    replaying,
)
from timeline_workers.servers.pulsar.pulsar_client import connect

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    """Servers with topics of two partitions, a worker and a feeder; on each broker."""
    with running_stack(tmp_path_factory.mktemp("letters"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        made.start_feeder()
        yield made


def metric(name: str, topic: str, **source: Any) -> Metric:
    declared = {
        "topic": topic,
        "key": "id",
        "time": "t",
        "columns": {"state": "string"},
        "allowed_lateness": "10s",
    }
    return Metric(
        name=name,
        source=Source.model_validate({**declared, **source}),
        expression='duration_where(latest_event_to_state(state) == "on")',
    )


def deadletter(stack: Stack, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """The rows that `timeline deadletter ARGUMENTS -o json` prints, and what it says beside."""
    done = failing(stack, *arguments, "-o", "json")
    if done.exception is not None:
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def failing(stack: Stack, *arguments: str) -> Result:
    """Run the command here, in a thread of its own as it has an event loop of its own."""
    with ThreadPoolExecutor(1) as own:
        command = ["deadletter", *arguments]
        environment = environment_of(stack.addresses)
        return own.submit(CliRunner().invoke, build("deadletter"), command, env=environment).result()


async def refused(stack: Stack, applied: Metric) -> Stored:
    """Four letters of the key `a`: one late, two of a wrong type, one that is no JSON."""
    await stack.apply(applied)
    events = [
        event("a", 0, state="on"),
        event("a", 100, state="off"),
        event("a", 50, state="off"),
        event("a", 101, state=5),
        event("a", 102, state=6),
        Event("a", 0, b"\xff not JSON"),
    ]
    stored = stack.send(applied.source.topic, events)
    await stack.applied(applied, stored)
    return stored


async def replayed(stack: Stack, asked: Metric, at: int, value: float) -> None:
    """Return when the metric says ``value`` of the key `a` at ``at``."""

    async def says() -> bool:
        return bool((await stack.ask(asked, "a", "value_at", {"at": at}))["value"] == value)

    await eventually(says)


async def test_letters_show_what_was_sent_and_why_refused(stack: Stack) -> None:
    """Letters are counted and shown with what was sent and why it was refused."""
    one = metric("shown", "shown-topic")
    await refused(stack, one)
    counted, _ = deadletter(stack, "list", "shown-topic")
    assert [(r["topic"], r["reason"], r["metric"], r["letters"], r["replayed"]) for r in counted] == [
        ("shown-topic", "late", "shown", 1, 0),
        ("shown-topic", "malformed-json", "shown", 1, 0),
        ("shown-topic", "wrong-type", "shown", 2, 0),
    ]
    assert deadletter(stack, "list", "--metric", "shown")[0] == counted
    assert deadletter(stack, "list", "shown-topic", "--reason", "late")[0] == counted[:1]
    assert deadletter(stack, "list", "shown-topic", "--since", "1h")[0] == counted
    nothing, said = deadletter(stack, "list", "shown-topic", "--since", "2100-01-01")
    assert (nothing, said) == ([], "no dead letters of shown-topic that fit the filters\n")

    shown, _ = deadletter(stack, "show", "shown-topic")
    assert [(r["key"], r["reason"], r["metrics"], r["replayed"]) for r in shown] == [
        ("a", "late", "shown", None),
        ("a", "wrong-type", "shown", None),
        ("a", "wrong-type", "shown", None),
        ("a", "malformed-json", "shown", None),
    ]
    assert [r.get("payload") for r in shown] == [
        '{"id": "a", "t": 50, "state": "off"}',
        '{"id": "a", "t": 101, "state": 5}',
        '{"id": "a", "t": 102, "state": 6}',
        None,
    ]
    assert shown[3]["payload_base64"] == "/yBub3QgSlNPTg=="
    assert "below the watermark" in shown[0]["message"]
    assert deadletter(stack, "show", "shown-topic", "--position", shown[2]["position"])[0] == [shown[2]]
    first, said = deadletter(stack, "show", "shown-topic", "--limit", "1")
    assert first == [shown[0]]
    assert said.startswith("3 more; --limit 4 shows all")


async def test_no_letter_is_sent_twice(stack: Stack, tmp_path: Path) -> None:
    """`--file` sends what was mended; a second replay sends nothing, with --again it does."""
    mended = metric("mended", "mended-topic")
    await refused(stack, mended)
    await replayed(stack, mended, 200, 100)
    places = [r["position"] for r in deadletter(stack, "show", "mended-topic", "--reason", "wrong-type")[0]]
    (tmp_path / "event.json").write_text('{"id": "a", "t": 110, "state": "on"}')
    with_file = ("replay", "mended-topic", "--position", places[0], "--file", str(tmp_path / "event.json"))

    dry, said = deadletter(stack, *with_file, "--dry-run")
    assert [(r["position"], r["key"], r["reason"], "sent" in r) for r in dry] == [
        (places[0], "a", "wrong-type", False)
    ]
    assert said == "1 letter would be sent to mended-topic again\n"
    sent, said = deadletter(stack, *with_file, "--yes")
    assert [(r["position"], r["sent"] is not None) for r in sent] == [(places[0], True)]
    assert said == "1 letter is sent to mended-topic again\n"
    await replayed(stack, mended, 200, 190)

    nothing, said = deadletter(stack, *with_file, "--yes")
    assert nothing == []
    assert said.startswith("0 letters are sent to mended-topic again; 1 was replayed before")
    rest, _ = deadletter(stack, "replay", "mended-topic", "--reason", "wrong-type", "--yes")
    assert [r["position"] for r in rest] == places[1:]
    again, _ = deadletter(stack, *with_file, "--yes", "--again")
    assert [r["position"] for r in again] == places[:1]
    [row] = deadletter(stack, "list", "mended-topic", "--reason", "wrong-type", "--since", "1h")[0]
    assert row["replayed"] == 2


async def test_a_replay_says_what_would_be_refused(stack: Stack) -> None:
    """Late events are late again until the metric has a source with more allowed lateness."""
    strict = metric("lateness", "late-again-topic")
    await refused(stack, strict)
    late = ("replay", "late-again-topic", "--reason", "late")
    _, said = deadletter(stack, *late, "--dry-run")
    assert "warning: lateness would refuse 1 of 1 again (late)" in said
    assert "allowed_lateness" in said
    with pytest.raises(QuestionError, match="--yes"):
        deadletter(stack, *late)

    lenient = metric("lateness", "late-again-topic", allowed_lateness="1h")
    await stack.apply(lenient)
    await stack.applied(lenient, stack.send("late-again-topic", [event("a", 0, state="on"), event("a", 100)]))
    other = metric("beside", "late-again-topic", allowed_lateness="2h")
    await stack.apply(other)
    _, said = deadletter(stack, *late, "--yes")
    assert "would refuse" not in said
    assert "warning: beside did not refuse 1 of 1" in said
    await replayed(stack, lenient, 200, 50)


async def test_what_an_interrupted_replay_has_sent_is_found_out(stack: Stack) -> None:
    """Letters that were begun and not done: the one that the broker has is not sent again, the other is."""
    await refused(stack, metric("cut", "cut-topic"))
    with closing(connect(stack.addresses.pulsar)) as client:
        letters = read_letters(client, stack.addresses.pulsar, "cut-topic")
        stored, lost = [letter for letter in letters if letter.reason == "wrong-type"]
        with replaying(client, stack.addresses.pulsar, "cut-topic") as cut:
            cut._note([(letter.place, "of-then") for letter in (stored, lost)], "begun")
        about = {REPLAY_OF: stored.place, REPLAY: "of-then"}
        client.create_producer("cut-topic").send(stored.payload, about, partition_key="a")
    both = ("--position", stored.place, "--position", lost.place)
    rest, _ = deadletter(stack, "replay", "cut-topic", *both, "--yes")
    assert [r["position"] for r in rest] == [lost.place]


def test_a_real_broker_refuses_two_replays_at_once(stack: Stack) -> None:
    """Two replays at once are refused by a real broker."""
    if stack.broker is None:
        pytest.skip("the embedded broker knows no exclusive producer")
    url = stack.addresses.pulsar
    with (
        closing(connect(url)) as client,
        closing(connect(url)) as other,
        replaying(client, url, "at-once"),
        pytest.raises(ReplayError, match="another replay of at-once is under way"),
        replaying(other, url, "at-once"),
    ):
        pytest.fail("both replay")


def test_mistakes_are_named(stack: Stack, tmp_path: Path) -> None:
    for arguments, words in (
        (("replay", "nothing"), "say which letters"),
        (("replay", "a", "b", "--all"), "name one topic"),
        (("show", "nothing", "--position", "0:1:2:3"), "no dead letter of position 0:1:2:3"),
        (("list", "nothing", "--since", "yesterday"), "--since yesterday"),
        (("replay", "nothing", "--all", "--file", str(tmp_path / "none")), "--file is for one letter"),
        (("list", "a b/c"), "not a topic name"),
    ):
        with pytest.raises(TimelineError, match=words):
            deadletter(stack, *arguments)
    done = stack.run("timeline_workers", "deadletter", "replay", "nothing")
    assert (done.returncode, done.stderr[:7]) == (2, "error: ")


def test_letters_stay_where_a_broker_keeps_nothing_by_itself(stack: Stack) -> None:
    """On a broker with the default retention, a topic that nobody subscribes to is emptied; letters stay."""
    if stack.broker is None:
        pytest.skip("the embedded broker keeps everything")
    from feeder.source.partitioned_source import DeadLetter
    from feeder.source.pulsar_dead_letters import DeadLetters

    broker = stack.broker
    broker.admin("PUT", "namespaces/public/forgetful")
    limits = {"retentionTimeInMinutes": 0, "retentionSizeInMB": 0}
    broker.admin("POST", "namespaces/public/forgetful/retention", limits)
    with closing(connect(broker.url)) as client:
        topic = "public/forgetful/events"
        letters = DeadLetters(client, broker.url, topic)
        letters.publish([DeadLetter(b"x", "k", "late", "why", 0, "1:2:0", "m")])
        letters.close()
        client.create_producer(topic).send(b"gone")
        for name in (topic, f"{topic}-dead-letter"):
            for _ in range(2):  # a ledger that is written to is never deleted
                broker.admin("PUT", f"persistent/{name}/unload")
                with closing(client.create_reader(name, pulsar.MessageId.latest)) as reader:
                    reader.has_message_available()
            broker.admin("POST", f"persistent/{name}/trim")
        with closing(client.create_reader(topic, pulsar.MessageId.earliest)) as reader:
            assert not reader.has_message_available()
        assert [letter.payload for letter in read_letters(client, broker.url, topic)] == [b"x"]
