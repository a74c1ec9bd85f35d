"""One device whose clock is twelve hours ahead, among others whose clocks are right."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from deploy.pulsar_standalone import Broker
from tests.integration.stack import Stack, event, running_stack
from timeline_workers.metric.model import Metric, Source

pytestmark = pytest.mark.integration

ON = Metric(
    name="on",
    source=Source(topic="devices", key="id", time="t", time_unit="s"),
    expression='duration_where(latest_event_to_state(state) == "on")',
)
AHEAD = 12 * 3600


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, broker: Broker | None) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("clocks"), broker=broker) as made:
        made.start_worker()
        made.start_feeder()
        yield made


async def test_it_makes_no_other_event_late_and_is_named(stack: Stack) -> None:
    await stack.apply(ON)
    now = int(time.time())
    first = [event("a", now - 600, state="on"), event("b", now + AHEAD, state="on")]
    await stack.applied(ON, stack.send("devices", first))
    rest = [
        event(k, now + t, state=s) for k, t, s in (("a", -300, "off"), ("c", -200, "on"), ("c", 0, "off"))
    ]
    await stack.applied(ON, stack.send("devices", rest))
    at_now = {key: await stack.ask(ON, key, "value_at", {"at": now}) for key in ("a", "c")}
    assert {key: answer["value"] for key, answer in at_now.items()} == {"a": 300, "c": 200}
    assert not any(answer["final"] for answer in at_now.values())
    assert (await stack.ask(ON, "b", "value_at", {"at": now + AHEAD + 60}))["value"] == 60
    assert (await stack.ask(ON, "a", "value_at", {"at": now - 3601}))["final"]
    for status in (await stack.statuses(ON)).values():
        assert (status["state"]["late"], status["state"]["refused"]) == (0, 0)
    said = stack.run("timeline_workers", "get", "-o", "json")
    assert '"state": "ok"' in said.stdout
    assert '"ahead": 1' in said.stdout
    assert "warning: on: topic devices, partition 0: 1 event had times up to" in said.stderr
    assert "clock_skew (1m)" in said.stderr
