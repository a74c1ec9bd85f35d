"""A metric over another's output answers like the one expression that says both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from feeder.routing.router import Messages, Router, groups_of
from tests.oracle.events import Event
from tests.outputs.test_subscriber import Told
from tests.properties import strategies as some
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from tests.runtime.test_compaction import feeds
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.answers.answer_models import Change
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import Plan, partition_labels, plan, worker_id, worker_name
from timeline_workers.runtime.eviction import pack_idle
from timeline_workers.runtime.key_archive import Archive
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.runtime.subscriber import Subscriber
from timeline_workers.wire.changelog_messages import ToPublish

OVER = {
    "boolean": ["{}", "duration_where({})", "!({})", "has_existed_within({}, 3us)"],
    "numeric": ["{}", "({}) > 1", "duration_where(({}) > 0.000002)", "({}) / 3 + 0.1", "({}) * 0.1 == 0.3"],
    "number": ["{}", "({}) + 0.2 == 0.3", "({}) * 3 / 10", "({}) * ({})", "duration_in_cur_state({})"],
    "state": ["{}", '({}) == "a"', "duration_in_cur_state({})"],
}
LOG = Source.model_validate({"topic": "changes", "changelog": True, "time_unit": "us"})


class Reading:
    """The feeder's part: what is in the topic goes to the leaves of ``network``, in batches."""

    def __init__(self, network: Network) -> None:
        self.network = network
        [group] = groups_of([network.plan])[network.plan.metric.source.topic]
        self.router = Router(group)
        self.read = 0

    def feed(self, bodies: list[bytes]) -> None:
        """Feed what has come since; a batch that was fed is fed again now and then, as after a crash."""
        count = len(bodies) - self.read
        if not count:
            return
        place = np.arange(self.read, len(bodies), dtype=np.int64)
        zeros = np.zeros(count, np.int64)
        position = Positions(zeros.astype(np.int32), zeros, place)
        routed = self.router.route(Messages(bodies[self.read :], position, zeros + 1_000_000))
        assert not routed.refused
        self.read = len(bodies)
        for name, parcels in routed.parcels.items():
            self.network.feeds[name] += [parcel.payload for parcel in parcels]


class Publishing(Told):
    """A network whose outputs also keep their messages as they are."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.bodies: list[bytes] = []

    def publish(self, told: list[ToPublish]) -> None:
        bodies = [one.body for one in told]
        self.bodies += bodies * (1 + (self.choose(4) == 0))  # told again after a crash


def answers(made: Plan, network: Network, key: Any, instant: int) -> Any:
    name = worker_name(made, made.result)
    for label in partition_labels(made):
        worker = network.workers[worker_id(name, label)]
        if key in worker.node.keys.names:
            answer = worker.ask("value_at", {"key": key, "at": instant, "unit": "us"})
            assert isinstance(answer, dict)
            return answer["value"]
    raise AssertionError(f"nobody knows {key!r}")


def changed(made: Plan, network: Network, key: Any, start: int, end: int, function: str = "") -> Change:
    """The answer about the change of ``key``, without its finality."""
    name = worker_name(made, made.result)
    for worker in (network.workers[worker_id(name, label)] for label in partition_labels(made)):
        if key in worker.node.keys.names:
            said = worker.ask("change", {"key": key, "start": start, "end": end, "unit": "us"})
            assert isinstance(said, dict)
            return Change(**{name: value for name, value in said.items() if name != "final"})
    raise AssertionError(f"nobody knows {key!r}")


@settings(max_examples=settings().max_examples // 10)
@given(st.data())
def test_metrics_in_a_row_answer_like_one_expression(data: st.DataObject) -> None:
    """Two or three. Late events, messages lost and repeated, kills and new epochs on the way."""
    inner = data.draw(some.expressions(1, 2))
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=data.draw(st.integers(1, 2)))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    whole = to_text(inner)
    try:
        first = plan(Metric(name="m", source=source, expression=whole))
        networks = [Publishing(first, choose, 400_000, [])]
        for place in range(data.draw(st.integers(1, 2))):
            kind = networks[-1].read_by[""]
            over = data.draw(st.sampled_from(OVER[kind]))
            whole = over.format(*[f"({whole})"] * 2)
            read = over.format(*[f"changelog({kind})"] * 2)
            made = Metric(name=f"n{place}", source=LOG, expression=read, fuse=data.draw(st.booleans()))
            networks.append(Publishing(plan(made), choose, 400_000, []))
        said = Evaluation(parse(whole))
        plan(Metric(name="w", source=source, expression=to_text(said.expression)))
    except ExpressionError:
        return
    feed = data.draw(feeds(inner, max_size=10))
    readings = [Reading(network) for network in networks[1:]]
    for batch, progress in feed.batches:
        networks[0].feed(batch_of(batch), progress)
        said.add(batch_of(batch))
        for _ in range(data.draw(st.integers(0, 6))):
            networks[0].step()
        for written, reading in zip(networks, readings, strict=False):
            reading.feed(written.bodies)
            for _ in range(data.draw(st.integers(0, 4))):
                reading.network.step()
    networks[0].settle()
    for written, reading in zip(networks, readings, strict=False):
        reading.feed(written.bodies)
        reading.network.settle()
    last = networks[-1]
    timeline = said.timeline()
    reader = Reader(timeline, said.keys, last.plan.result.kind, said.expression)
    for row, key in enumerate(said.keys.names):
        starts = timeline.starts[timeline.offsets[row] : timeline.offsets[row + 1]].tolist()
        for instant in {*starts, *(start + 1 for start in starts), max(starts) + 7}:
            assert answers(last.plan, last, key, instant) == reader.value_at(key, instant).value
        for start, end in ranges(starts):
            assert changed(last.plan, last, key, start, end) == reader.change(key, start, end)


def ranges(starts: list[int]) -> list[tuple[int, int]]:
    """Ranges that begin before a key's origin, at it, at a change and after it all."""
    places = [starts[0] - 5, starts[0], starts[-1], starts[-1] + 1, starts[-1] + 7]
    return [(a, b) for a in places for b in places if a <= b]


def test_a_chained_count_begins_with_its_first_event() -> None:
    """A change from the origin on, or from before it, at the leaf and above it, also of what is archived."""
    source = Source(topic="t", key="k", time="t", time_unit="us")
    choose = lambda n: 0 if n == 1 else n - 1  # noqa: E731
    for over in ("changelog(number)", "changelog(number) * 2 + 1"):
        network = Publishing(plan(Metric(name="m", source=source, expression="event_count(x == 1)")), choose)
        made = plan(Metric(name="n", source=LOG, expression=over, key_ttl=1))
        reading = Reading(Network(made, choose))
        rows = [Event("a", time, (0, 0, time), {"x": 1}) for time in (5, 6, 9)]
        network.feed(batch_of(rows), (Progress(0, 0, 9, 1_000),))
        network.settle()
        reading.feed(network.bodies)
        reading.network.settle()
        by = 2 if "*" in over else 1
        for start, end, gained in ((0, 6, 1), (5, 6, 1), (5, 10, 3), (6, 10, 2)):
            assert changed(made, reading.network, "a", start, end).change == gained * by
        worker = reading.network.workers[worker_id(made.result.name, "p0")]
        holders: list[Any] = [NodeWorker.restore(worker.spec, worker.snapshot(1 << 20))]
        if over == "changelog(number)":
            [segment] = pack_idle(worker, "life").segments
            holders.append(Archive(worker.spec))
            holders[-1].add(segment)
        for holder in holders:
            said = holder.ask("change", {"key": "a", "start": 5, "end": 10, "unit": "us"})
            assert said["change"] == 3 * by


@pytest.mark.parametrize(
    ("counted", "between", "change"),
    [
        ("event_count(x == 1)", "changelog(number) * 2", 6),
        ("event_count(x == 1)", "changelog(number) / 4 + 1", 0.75),
        ("duration_where(has_existed(x == 1))", "changelog(numeric) / 3 + 1", 5 / 3_000_000),
    ],
)
def test_the_third_in_a_row_begins_like_the_second(counted: str, between: str, change: float) -> None:
    """Also of a key that its writers first tell of in a later run, subscribed anew."""
    choose = lambda n: 0 if n == 1 else n - 1  # noqa: E731
    source = Source(topic="t", key="k", time="t", time_unit="us")
    first = Publishing(plan(Metric(name="m", source=source, expression=counted)), choose)
    second = Publishing(plan(Metric(name="n", source=LOG, expression=between)), choose)
    last = plan(Metric(name="p", source=LOG, expression=f"changelog({second.read_by['']})"))
    readings = [Reading(second), Reading(Network(last, choose))]
    for key, place in (("a", 0), ("b", 3)):
        events = [Event(key, time, (0, 0, place + i), {"x": 1}) for i, time in enumerate((5, 6, 9))]
        first.feed(batch_of(events), (Progress(0, 0, place + 2, None),))
        first.settle()
        for written, reading in zip((first, second), readings, strict=True):
            reading.feed(written.bodies)
            reading.network.settle()
        assert changed(last, readings[-1].network, key, 5, 10).change == change
        for name, heard in second.listeners.items():
            snapshot = second.subscribers[name].snapshot()
            second.subscribers[name] = Subscriber.restore(name, [heard], snapshot)
            second._carry_over(heard)
            second._subscribe((name, heard))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: m, source: {topic: o, changelog: true, key: id}, expression: x}", "leave key out"),
        (
            "{name: m, source: {topic: o, changelog: true}, expression: has_existed(x == 1)}",
            "have no columns",
        ),
        ("{name: m, source: {topic: o, key: a, time: b}, expression: changelog(boolean)}", "changelog: true"),
        ("{name: m, source: {topic: o, changelog: true}, expression: changelog(words)}", "changelog(state)"),
        (
            "{name: m, source: {topic: o, key: a, time: b}, output: {topic: o}, expression: has_existed(x)}",
            "another topic",
        ),
        (
            "{name: m, source: {topic: o, key: a, time: b}, output: {topik: o}, expression: has_existed(x)}",
            "did you mean topic",
        ),
        (
            (
                "{name: m, source: {topic: a, key: k, time: t, partitions: per-key}, "
                "output: {topic: o}, expression: has_existed(x == 1)}"
            ),
            "a changelog says how many writers it has",
        ),
    ],
)
def test_a_wrong_changelog_or_output_is_refused(text: str, said: str) -> None:
    with pytest.raises((MetricError, ExpressionError)) as refused:
        plan(load_metric(text))
    assert said in str(refused.value) + str(getattr(refused.value, "hint", ""))
