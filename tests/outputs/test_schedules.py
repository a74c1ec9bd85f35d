"""Whatever is killed, repeated or begun anew, and whenever: a topic that is read as the law says gives the
writer's timelines, and what was final stays.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from feeder.routing.router import Messages, Router, groups_of
from tests.oracle.events import Event
from tests.outputs.test_chained import answers
from tests.outputs.test_subscriber import folded, same, value_at
from tests.outputs.writers import Written
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.event_batch import Positions
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import Plan, partition_labels, plan, worker_id, worker_name
from timeline_workers.wire.changelog_messages import key_of_group, read_message

# What is written, which of its functions is read, what is made of that, and the two in one.
CHAINS = [
    ('latest_event_to_state(s) == "x"', "", "duration_where(changelog(boolean))", "duration_where({})"),
    ("latest_event_to_state(s)", "", "duration_in_cur_state(changelog(state))", "duration_in_cur_state({})"),
    (
        'duration_where(latest_event_to_state(s) == "x" && has_existed_within(n == 1, 4us))',
        "",
        "changelog(numeric) > 0.000003",
        "({}) > 0.000003",
    ),
    (
        'duration_where(latest_event_to_state(s) == "x") | aggregate(group_by(g), count, max)',
        "max",
        "changelog(numeric)",
        "{}",
    ),
    ("event_count(n == 1) | aggregate(group_by(g), sum)", "sum", "changelog(number)", "{}"),
]


class Reading:
    """A feeder that reads the partitions of the topic, and the workers of the metric that it feeds."""

    def __init__(self, network: Network, written: Written) -> None:
        self.network, self.partitions = network, written.topic.partitions
        [group] = groups_of([network.plan])[network.plan.metric.source.topic]
        self.router = Router(group, len(self.partitions))
        self.read = [0] * len(self.partitions)

    def is_level(self) -> bool:
        """Whether everything that is stored was fed."""
        return self.read == list(map(len, self.partitions))

    def feed(self, most: int) -> None:
        """Feed up to ``most`` messages of each partition."""
        places, bodies = [], []
        for partition, stored in enumerate(self.partitions):
            for place in range(self.read[partition], min(len(stored), self.read[partition] + most)):
                places.append((partition, place))
                bodies.append(stored[place][1].body)
                self.read[partition] = place + 1
        if not bodies:
            return
        number = np.array(places, np.int64)
        positions = Positions(number[:, 0].astype(np.int32), np.zeros(len(number), np.int64), number[:, 1])
        routed = self.router.route(Messages(bodies, positions, np.zeros(len(number), np.int64)))
        assert not routed.refused
        for name, parcels in routed.parcels.items():
            self.network.feeds[name] += [parcel.payload for parcel in parcels]


def events_of(rng: random.Random) -> list[tuple[list[Event], tuple[Progress, ...]]]:
    """Events of few keys that come in any order at or above the watermark, which goes up now and then."""
    mark, batches, place = 0, [], 0
    for _ in range(rng.randrange(2, 8)):
        batch = []
        for _ in range(rng.randrange(1, 4)):
            place += 1
            said: dict[str, Any] = {
                "s": rng.choice([None, "x", "x", "y"]),
                "n": rng.choice([None, 1, 2]),
                "g": rng.choice([None, "left", "right"]),
            }
            columns = {name: value for name, value in said.items() if value is not None}
            batch.append(Event(rng.choice("abcd"), mark + rng.randrange(12), (0, 0, place), columns))
        mark += rng.choice([0, 0, 1, 3, 6])
        batches.append((batch, (Progress(0, 0, place, mark),)))
    return batches


def final_answers(made: Plan, network: Network, held: dict[Any, Any]) -> None:
    """Note what is final now; what was final before is the same."""
    for label in partition_labels(made):
        worker = network.workers[worker_id(worker_name(made, made.result), label)]
        mark = worker.status()["watermark"]
        for key in worker.node.keys.names:
            for at in range(0, 40, 3):
                if mark is None or at >= mark:
                    continue
                said = worker.ask("value_at", {"key": key, "at": at, "unit": "us"})
                assert isinstance(said, dict)
                assert said["final"]
                assert held.setdefault((key, at), said["value"]) == said["value"], (key, at)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain[0][:20])
@settings(max_examples=settings().max_examples // 4)
@given(seed=st.integers(0, 2**32))
def test_after_any_schedule_the_topic_has_the_timelines(chain: tuple[str, str, str, str], seed: int) -> None:
    """Read by hand as the documentation says, and by a metric, whose final answers never change."""
    inner, function, over, both = chain
    rng = random.Random(seed)
    compacting, loses = rng.choice([(None, False), (None, True), ([], False)])
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=rng.choice([1, 2]))
    small = rng.choice([60, 400_000])
    metric = Metric(name="m", source=source, expression=inner)
    written = Written(
        metric, rng.randrange, rng.choice([1, 3]), small, rng.choice([150, 500_000]), compacting, loses
    )
    log = {"topic": "o", "changelog": function or True, "time_unit": "us", "partitions": rng.choice([1, 2])}
    second = plan(Metric(name="n", source=Source.model_validate(log), expression=over))
    reading = Reading(Network(second, rng.randrange, small, []), written)
    whole, wrote = Evaluation(parse(both.format(inner))), Evaluation(parse(inner))
    final: dict[Any, Any] = {}
    for batch, progress in events_of(rng):
        written.feed(batch_of(batch), progress)
        whole.add(batch_of(batch))
        wrote.add(batch_of(batch))
        for _ in range(rng.randrange(60)):
            written.step()
        if rng.randrange(2):
            written.settle()
        while not reading.is_level() and rng.randrange(8):
            reading.feed(1 + rng.randrange(6))
            if rng.randrange(2):
                reading.network.settle()
                final_answers(second, reading.network, final)
    written.settle()
    while not reading.is_level():
        reading.feed(1 + rng.randrange(100))
    reading.network.settle()
    final_answers(second, reading.network, final)
    check_copies(written)
    check_by_hand(written, function, wrote)
    check_chain(whole, function, second, reading.network, final)


@pytest.mark.xfail(reason="a lost attempt told other portions under the same stamps", strict=True)
def test_a_lost_attempt_that_told_other_portions() -> None:
    """A worker tells half of a key after its second input and is killed; again, it takes both inputs before
    it tells anything, and its messages have the stamps of those that were taken. The rest is dropped.

    A workflow that is killed does again what its last recorded task left, and that had all inputs from its
    beginning; so this has been seen in this model only, in 1 of some thousands of its schedules.
    """
    [chain] = [chain for chain in CHAINS if "group_by(g), count, max" in chain[0] and chain[1] == "max"]
    test_after_any_schedule_the_topic_has_the_timelines.hypothesis.inner_test(chain=chain, seed=857)


def check_copies(written: Written) -> None:
    """What is stored more than once is the same each time; where no state was lost no revision is missing."""
    bodies: dict[str, dict[int, bytes]] = {name: {} for name in written.writers}
    for stored in written.topic.partitions:
        for name, one in stored:
            assert bodies[name].setdefault(one.revision, one.body) == one.body
    for name, writer in written.writers.items():
        if not writer.has_lost:
            assert sorted(bodies[name]) == list(range(writer.began, writer.began + writer.given_out))


def check_by_hand(written: Written, function: str, wrote: Evaluation) -> None:
    """``folded`` is what a reader has that follows the documentation: the timelines of the result."""
    read = [
        said
        for stored in written.topic.partitions
        for _, one in stored
        if (said := read_message(one.body, "us", function or None)) is not None
    ]
    found = {key: held for key, held in folded(read).items() if held}
    timeline, reader, shown = expected(wrote, function, written.plan.result.kind)
    assert {*map(repr, found)} == {*map(repr, shown)}
    for row, (key, name) in enumerate(shown.items()):
        starts = timeline.starts[timeline.offsets[row] : timeline.offsets[row + 1]].tolist()
        for at in {*starts, *(start for start, _ in found[key]), max(starts) + 7}:
            value = reader.value_at(name, at).value if at >= starts[0] else None
            assert same(value_at(found[key], at), value), (key, at)


def expected(whole: Evaluation, function: str, kind: Any) -> tuple[Timeline, Reader, dict[Any, Any]]:
    """The timelines of all keys or groups, by the keys that they are to whoever reads the changelog."""
    if isinstance(whole.expression, Aggregate):
        timeline = whole.aggregate(function)
        reader = Reader(timeline, whole.groups, "numeric", whole.expression, aggregate=function)
        return timeline, reader, {key_of_group(group): group for group in whole.groups}
    timeline = whole.timeline()
    reader = Reader(timeline, whole.keys, kind, whole.expression)
    return timeline, reader, {key: key for key in whole.keys.names}


def check_chain(
    whole: Evaluation, function: str, made: Plan, network: Network, final: dict[Any, Any]
) -> None:
    """Every key's answers are those of the one expression, and so was what was final at any time."""
    timeline, reader, shown = expected(whole, function, made.result.kind)
    for row, (key, name) in enumerate(shown.items()):
        starts = timeline.starts[timeline.offsets[row] : timeline.offsets[row + 1]].tolist()
        for at in {*starts, *(start + 1 for start in starts), max(starts) + 7}:
            assert answers(made, network, key, at) == reader.value_at(name, at).value, (key, at)
    for (key, at), said in final.items():
        # A group that a correction has taken every key of had none at any instant that was final.
        value = reader.value_at(shown[key], at).value if key in shown else None
        assert said == value, (key, at)
