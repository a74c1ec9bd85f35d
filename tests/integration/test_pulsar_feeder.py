"""From a Pulsar topic through the feeder to answers, with the real servers and the real programs."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.pulsar_standalone import Broker
from producer import disorder, generate_playback
from producer.event import Event
from producer.generate_worked_example import worked_example
from tests.integration.stack import Stack, event, eventually, running_stack
from timeline_workers import evaluate
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric, Source

pytestmark = pytest.mark.integration

CIRR = load_metric(Path(__file__).parents[2] / "examples" / "cirr" / "metric.yaml")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    """Servers with topics of two partitions, a worker and a feeder; on each broker."""
    with running_stack(tmp_path_factory.mktemp("stack"), topic_partitions=2, broker=broker) as made:
        made.start_worker()
        made.start_feeder()
        yield made


def metric(name: str, topic: str, **source: Any) -> Metric:
    return Metric(
        name=name,
        source=Source.model_validate(
            {"topic": topic, "key": "id", "time": "t", "columns": {"state": "string"}, **source}
        ),
        expression='duration_where(latest_event_to_state(state) == "on")',
    )


async def test_the_worked_example_comes_out_as_written(stack: Stack) -> None:
    await stack.apply(CIRR)
    await stack.applied(CIRR, stack.send(CIRR.source.topic, worked_example("s1")))
    answers = [(await stack.ask(CIRR, "s1", "value_at", {"at": at}))["value"] for at in (10, 14, 19, 22, 45)]
    assert answers == [0, 4, 4, 7, 7]


async def test_late_and_bad_events_are_dead_letters(stack: Stack) -> None:
    """Late and bad events are dead letters and the others count."""
    late = metric("late", "late-topic", allowed_lateness="10s")
    await stack.apply(late)
    one_key = [event("a", 0, state="on"), event("a", 100, state="off"), event("a", 50, state="on")]
    bad = [
        Event("a", 0, b"{nonsense"),
        Event("a", 0, b'{"t": 1}'),
        Event("a", 0, b'{"id": "a", "t": 1, "state": 5}'),
        Event("a", 0, b'{"id": "a", "t": 4000000000}'),
        Event("a", 0, json.dumps({"id": "a", "t": 1, "state": "x" * 1_000_000}).encode()),
    ]
    await stack.applied(late, stack.send("late-topic", [*one_key, *bad]))
    letters = stack.dead_letters("late-topic", 6)
    assert {letter.data() for letter in letters} == {e.payload for e in [one_key[2], *bad]}
    assert sorted(letter.properties()["reason"] for letter in letters) == [
        "late",
        "malformed-json",
        "missing-key",
        "time-too-far-ahead",
        "too-large",
        "wrong-type",
    ]
    assert all(
        letter.properties()["metrics"] == "late" and letter.partition_key() == "a" for letter in letters
    )
    assert (await stack.ask(late, "a", "value_at", {"at": 200}))["value"] == 100


async def test_events_published_after_a_metric_is_applied_reach_it(stack: Stack) -> None:
    """Also on a topic that is being read already."""
    first = metric("first", "shared-topic")
    await stack.apply(first)
    await stack.applied(first, stack.send("shared-topic", [event("a", 0, state="on")]))
    second = first.model_copy(
        update={"name": "second", "expression": 'duration_where(latest_event_to_state(state) == "off")'}
    )
    await stack.apply(second)
    await stack.applied(second, stack.send("shared-topic", [event("a", 10, state="off")]))
    assert (await stack.ask(first, "a", "value_at", {"at": 30}))["value"] == 10
    assert (await stack.ask(second, "a", "value_at", {"at": 30}))["value"] == 20


async def test_a_key_gets_workers_at_its_first_event(stack: Stack) -> None:
    """Per key sources get a tree of workers at the first event of a key."""
    own = metric("own", "own-topic", partitions="per-key")
    await stack.apply(own)
    stack.send(
        "own-topic", [event("x", 0, state="on"), event("y", 5, state="on"), event("x", 7, state="off")]
    )

    async def there() -> bool:
        try:
            answer = await stack.ask(own, "x", "value_at", {"at": 10})
        except Exception:
            return False  # no worker yet, or no event yet
        return bool(answer["value"] == 7)

    await eventually(there)


@pytest.mark.long_on_pulsar
async def test_killing_feeder_and_worker_loses_and_doubles_nothing(stack: Stack) -> None:
    """Shuffled and partly duplicated sessions, kill -9 in the middle: the answers are those of evaluation
    in process.
    """
    sessions = metric("sessions", "session-topic", key="session_id", time="timestamp", partitions=3)
    sessions = sessions.model_copy(
        update={
            "source": sessions.source.model_copy(update={"columns": CIRR.source.columns}),
            "expression": CIRR.expression,
        }
    )
    await stack.apply(sessions)
    tidy = generate_playback.sessions(60, 6_000, seed=11, start=0)
    events = list(disorder.duplicate(disorder.shuffle(tidy, 60, seed=11), 0.05, seed=11))
    half = len(events) // 2
    stack.send("session-topic", events[:half])

    async def begun() -> bool:
        return any(s["state"]["keys"] for s in (await stack.statuses(sessions)).values())

    await eventually(begun)
    stack.stop("feeder", signal.SIGKILL)
    stack.stop("worker", signal.SIGKILL)
    stored = stack.send("session-topic", events[half:])
    stack.start_worker()
    stack.start_feeder()
    await stack.applied(sessions, stored)

    expected = evaluate(
        CIRR.expression, [json.loads(e.payload) for e in events], key="session_id", time="timestamp"
    )
    instants = sorted(random.Random(1).sample(range(3_000), 8))
    names = expected.keys()
    for key in names:
        for at in instants:
            answer = await stack.ask(sessions, str(key), "value_at", {"at": at})
            wanted = expected.value_at(key, at).model_dump()
            assert {**answer, "final": False} == {**wanted, "final": False}


async def test_the_same_events_are_late_after_a_restart(stack: Stack) -> None:
    """The same events are late after a restart as without one."""
    metric_ = metric("again", "again-topic", allowed_lateness="10s")
    await stack.apply(metric_)
    await stack.applied(metric_, stack.send("again-topic", [event("a", 0, state="on"), event("a", 100)]))
    assert stack.stop("feeder") == 0
    stack.start_feeder()
    await stack.applied(
        metric_, stack.send("again-topic", [event("a", 50, state="off"), event("a", 95, state="off")])
    )
    assert (await stack.ask(metric_, "a", "value_at", {"at": 200}))["value"] == 95
    [letter] = stack.dead_letters("again-topic", 1)
    assert json.loads(letter.data())["t"] == 50


async def test_a_deleted_metric_is_fed_no_more(stack: Stack) -> None:
    """A deleted metric is fed no more and its workers stay away."""
    from workflows.client import ask

    gone = metric("gone", "gone-topic")
    await stack.apply(gone)
    await stack.applied(gone, stack.send("gone-topic", [event("a", 0, state="on")]))
    client = await stack.temporal()
    result = await ask.delete(client, "gone")
    assert result.stopped
    stack.send("gone-topic", [event("a", 5, state="off")])
    other = metric("other", "other-topic")
    await stack.apply(other)
    await stack.applied(other, stack.send("other-topic", [event("b", 0, state="on")]))
    for worker in result.stopped:
        description = await client.get_workflow_handle(worker).describe()
        assert description.status is not None
        assert description.status.name == "COMPLETED"


async def test_stopping_the_feeder_is_clean(stack: Stack) -> None:
    """SIGTERM: exit code 0, and what it had fed is acknowledged, so a new one finds nothing to do."""
    quiet = metric("quiet", "quiet-topic")
    await stack.apply(quiet)
    await stack.applied(quiet, stack.send("quiet-topic", [event("a", 0, state="on")]))
    assert stack.stop("feeder") == 0
    assert '"event": "feeder stopped"' in stack.log("feeder")
    before = {w: s["state"]["repeated"] for w, s in (await stack.statuses(quiet)).items()}
    stack.start_feeder()
    await stack.applied(quiet, stack.send("quiet-topic", [event("a", 9, state="off")]))
    assert {w: s["state"]["repeated"] for w, s in (await stack.statuses(quiet)).items()} == before


async def test_a_second_feeder_stands_by_and_takes_over(stack: Stack) -> None:
    """On the embedded broker one feeder feeds; the next one begins when it is killed, and loses nothing."""
    if stack.broker is not None:
        pytest.skip("a real broker divides the partitions among feeders: see test_real_pulsar_feeders.py")
    turns = metric("turns", "turns-topic")
    await stack.apply(turns)
    stack.start("second", "feeder")

    async def waits() -> bool:
        return "on standby" in stack.log("second")

    await eventually(waits)
    await stack.applied(turns, stack.send("turns-topic", [event("before", 5, state="on")]))
    stack.stop("feeder", signal.SIGKILL)
    await stack.applied(turns, stack.send("turns-topic", [event("after", 6, state="on")]))
    for key, seconds in (("before", 5), ("after", 4)):
        assert (await stack.ask(turns, key, "value_at", {"at": 10}))["value"] == seconds
    assert stack.stop("second") == 0
