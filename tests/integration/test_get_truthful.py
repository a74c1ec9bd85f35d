"""`timeline get` says soon that answers are old or wrong, and `ok` again once they are right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack import DEADLINE, Stack, event, eventually, running_stack
from timeline_workers.cli.overview_command import overview
from timeline_workers.client import TimelineClient
from timeline_workers.events.incarnation import Mark
from timeline_workers.metric.model import Metric, Source
from timeline_workers.servers.embedded.embedded_servers import BROKER
from timeline_workers.servers.pulsar.backlog import backlogs
from workflows.client.conditions import metric_health

pytestmark = pytest.mark.integration

Row = dict[str, Any]
SOURCE = {"topic": "truth", "key": "id", "time": "t", "columns": {"state": "string"}}
ON = Metric(
    name="on",
    source=Source.model_validate(SOURCE),
    expression='duration_where(latest_event_to_state(state) == "on")',
)
MISSPELT = Metric(
    name="misspelt",
    source=Source.model_validate({**SOURCE, "columns": {"sttus": "string"}}),
    expression='duration_where(latest_event_to_state(sttus) == "on" && !has_existed(sttus == "x"))',
)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with running_stack(tmp_path / "data") as made:
        monkeypatch.setenv("TIMELINE_PULSAR_URL", made.addresses.pulsar)
        monkeypatch.setenv("TIMELINE_DATA_DIR", str(made.addresses.data_dir))
        yield made


async def seen(stack: Stack, fits: Callable[[Row], bool], name: str = ON.name) -> Row:
    """The row of a metric once it fits."""
    row: Row = {}

    async def look() -> bool:
        rows, _ = await overview(TimelineClient(await stack.temporal()), [name])
        row.update(rows[0])
        return fits(row)

    try:
        await eventually(look)
    except TimeoutError:
        raise AssertionError(f"after {DEADLINE} s there is still only {row}") from None
    return row


async def test_an_absent_broker_and_refused_events_are_seen(stack: Stack) -> None:
    """The state of a metric is `unreachable` while its broker is away, the lag not known; `refusing` while
    events are refused, also to those leaves that got none; and `ok` as soon as all is well again.
    """
    stack.start_worker()
    await stack.apply(ON)
    stack.start_feeder()
    now = time.time()
    stored = stack.send("truth", [event("a", now - 60, state="on"), event("a", now - 50, state="off")])
    await stack.applied(ON, stored)
    row = await seen(stack, lambda row: row["state"] == "ok")
    assert row["lag"] == 0

    first = {p: Mark(*place, None) for p, place in stored.last.items()}
    again = stack.send("truth", [event("a", now - 40, state="on")])
    last = {p: Mark(*place, None) for p, place in again.last.items()}
    places: dict[str, Mapping[int, Mark]] = {"nothing": {}, "first": first, "last": last}
    # What a result lacks is asked from where it is, beside what nobody was fed.
    asked = backlogs({name: ("truth", marks) for name, marks in places.items()})
    assert not any(one.other for one in asked.values())
    found = {name: one.oldest for name, one in asked.items()}
    assert found["last"] is None
    assert found["nothing"] is not None
    assert found["first"] is not None
    assert found["nothing"] < found["first"] <= time.time() * 1e6
    await stack.applied(ON, again)

    stack.supervisor.hold(BROKER, "for the test")
    began = time.monotonic()
    row = await seen(stack, lambda row: row["state"] != "ok")
    assert time.monotonic() - began < 30  # a hang, not a slow machine
    assert row["state"] == "unreachable"
    assert row["lag"] is None
    assert stack.addresses.pulsar in row["cause"]
    assert "has stopped it: for the test" in row["cause"]
    told = stack.run("timeline_workers", "get", "-o", "json")
    assert json.loads(told.stdout)["state"] == "unreachable"  # nothing else is on standard output
    stack.supervisor.release(BROKER, "the test goes on")
    row = await seen(stack, lambda row: row["state"] == "ok")
    assert row["lag"] == 0

    far = [event("a", now + 10 * 86_400 + n, state="on") for n in range(30)]
    await stack.applied(ON, stack.send("truth", far))
    row = await seen(stack, lambda row: row["state"] == "refusing")
    assert row["refused"] == 30
    assert "30 of 33 events of topic truth" in row["cause"] or "30 of 30 events" in row["cause"]
    assert "time-too-far-ahead" in row["cause"]
    (health,) = await metric_health(await stack.temporal(), [ON.name])
    assert health.state == "refusing"
    good = [event("a", now + n / 100, state="on") for n in range(60)]
    await stack.applied(ON, stack.send("truth", good))
    await seen(stack, lambda row: row["state"] == "ok")


async def test_a_column_that_no_event_has_is_named(stack: Stack) -> None:
    """As `timeline eval` does; with the first event that has it there is nothing more to say."""
    stack.start_worker()
    await stack.apply(MISSPELT)
    stack.start_feeder()
    now = time.time()
    await stack.applied(MISSPELT, stack.send("truth", [event("a", now + n, state="on") for n in range(3)]))

    async def said() -> str:
        (health,) = await metric_health(await stack.temporal(), [MISSPELT.name])
        return " ".join(map(str, health.notices))

    async def named() -> bool:
        return "none of 3 events of topic truth had a value at 'sttus'" in await said()

    await eventually(named)
    told = stack.run("timeline_workers", "get")
    assert "had a value at 'sttus', which the expression uses; is the name right?" in told.stderr

    async def said_by_an_answer() -> bool:
        asked = stack.run("timeline_workers", "query", MISSPELT.name, "--key", "a", "--at", str(int(now)))
        assert json.loads(asked.stdout)["key"] == "a"
        # With exit code 0: nothing is wrong with the answer as such.
        return asked.returncode == 0 and "had a value at 'sttus', which the expression uses" in asked.stderr

    await eventually(said_by_an_answer)  # on a machine that is busy a worker may not be looked at in time
    await stack.applied(MISSPELT, stack.send("truth", [event("a", now + 9, sttus="on")]))

    async def nothing_more() -> bool:
        return "sttus" not in await said()

    await eventually(nothing_more)
