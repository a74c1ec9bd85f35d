"""A subscriber that is no node: once per stamp, in order, whatever its edges do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties import strategies as some
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from tests.runtime.test_compaction import feeds
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.timeline.overwriting import overwrite
from timeline_workers.answers.reader import Reader
from timeline_workers.errors import ExpressionError, StateError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.output_workers import output_workers
from timeline_workers.plan.physical import plan, worker_name
from timeline_workers.runtime.subscriber import Subscriber
from timeline_workers.wire.changelog_messages import (
    Change,
    Mark,
    ToPublish,
    decimal,
    messages,
    read_message,
)
from timeline_workers.wire.news import pack_news, unpack_news
from workflows.outputs.topic_activities import writer_of

NAME = "output-m"


class Told(Network):
    """A network to each of whose results a subscriber listens; what it tells is in ``topic``."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        heard = worker_name(self.plan, self.plan.result)
        self.results = [name for name in self.specs if name.startswith(f"{heard}.")]
        tree = parse(self.plan.result.expression)
        self.functions = tree.functions if isinstance(tree, Aggregate) else ()
        self.listeners = {
            f"{NAME}{function and '-' + function}.{name.rpartition('.')[2]}": name
            for name in self.results
            for function in self.functions or ("",)
        }
        self.unsubscribed += list(self.listeners.items())
        self.subscribers = {me: Subscriber(me, [heard]) for me, heard in self.listeners.items()}
        specs = output_workers(plan(self.plan.metric.model_copy(update={"output": Output(topic="o")})))
        self.outputs = {(spec.partition, spec.function): spec for spec in specs}
        self.read_by = {spec.function: spec.read_by for spec in specs}
        self.topic: list[Change | Mark] = []
        self.revision = 0

    def output_for(self, name: str) -> str:
        """Which function of an aggregate ``name`` hears."""
        return name.rpartition(".")[0].removeprefix(NAME).removeprefix("-") if name in self.listeners else ""

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        if name not in self.listeners:
            super()._input(name, method, *arguments)
            return
        if not self.choose(4):  # carried from one run to the next
            old = self.subscribers[name]
            old.compact()
            self.subscribers[name] = Subscriber.restore(name, [self.listeners[name]], old.snapshot())
        news = self.subscribers[name].take(*arguments)
        if news is None:
            return
        news = unpack_news(pack_news(news))
        function = self.output_for(name)
        writer = writer_of(self.outputs[name.rpartition(".")[2], function], news.before)
        told = list(messages(news, writer, self.revision))
        assert len(told) == news.count()
        assert [one.revision for one in told] == list(range(self.revision, self.revision + len(told)))
        self.revision += len(told)
        self.publish(told)
        for one in told:
            read = read_message(one.body, "us", function or None)
            assert read is not None
            self.topic.append(read)

    def publish(self, told: list[ToPublish]) -> None:
        """Do more with what is told."""


def folded(topic: list[Change | Mark]) -> dict[Any, list[tuple[int, Any]]]:
    """What a reader of the topic that follows the documentation has of each key."""
    held: dict[Any, list[tuple[int, Any]]] = {}
    newest: dict[Any, int] = {}
    for one in topic:
        if isinstance(one, Mark) or one.revision < newest.get(one.key, 0):
            continue
        newest[one.key] = one.revision
        value = None if one.withdrawn else (_exact(one), one.slope)
        since = -(2**62) if one.since is None else one.since
        held[one.key] = overwrite(held.get(one.key, []), since, one.until, value, _carry)
    return held


def _exact(one: Change) -> Any:
    return decimal(one.value) if one.slope is not None and not isinstance(one.value, Fraction) else one.value


def _carry(value: Any, by: int) -> Any:
    at, slope = value
    return (at + slope * by / 1_000_000, slope) if slope else value


def value_at(pieces: list[tuple[int, Any]], instant: int) -> Any:
    """The value at ``instant`` of what ``folded`` has of a key."""
    begun = [piece for piece in pieces if piece[0] <= instant]
    if not begun:
        return None
    value = _carry(begun[-1][1], instant - begun[-1][0])[0]
    return float(value) if isinstance(value, Fraction) else value


@settings(max_examples=settings().max_examples // 10)
@given(st.data())
def test_applied_outputs_are_the_timelines_of_the_result(data: st.DataObject) -> None:
    """Messages lost, repeated, late, under new epochs, workers killed, compacted and carried over."""
    expression = data.draw(some.expressions(1, 2))
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=data.draw(st.integers(1, 2)))
    fuse = data.draw(st.booleans())
    try:
        made = plan(Metric(name="m", source=source, expression=to_text(expression), fuse=fuse))
    except ExpressionError:
        return
    feed = data.draw(feeds(expression, max_size=12))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = Told(made, choose, data.draw(st.sampled_from([60, 400_000])), [])
    whole = Evaluation(parse(made.result.expression))
    for batch, progress in feed.batches:
        network.feed(batch_of(batch), progress)
        whole.add(batch_of(batch))
        for _ in range(data.draw(st.integers(0, 8))):
            network.step()
    network.settle()
    found = folded(network.topic)
    reader = Reader(whole.timeline(), whole.keys, made.result.kind, whole.expression)
    assert set(map(repr, found)) == set(map(repr, whole.keys.names))
    for key, pieces in found.items():
        row = whole.keys.index[key]
        low, high = whole.timeline().offsets[row : row + 2].tolist()
        starts = whole.timeline().starts[low:high].tolist()
        for instant in {*starts, *(start for start, _ in pieces), *(s - 1 for s in starts), max(starts) + 7}:
            expected = reader.value_at(key, instant).value if instant >= starts[0] else None
            assert same(value_at(pieces, instant), expected), (key, instant, pieces)


def same(a: object, b: object) -> bool:
    """Whether two answers are equal; True is not 1."""
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return a == b and (numbers or type(a) is type(b)) and isinstance(a, bool) == isinstance(b, bool)


def one_result() -> tuple[Told, str, str]:
    source = Source(topic="t", key="k", time="t", time_unit="us")
    metric = Metric(name="m", source=source, expression="latest_event_to_state(s)")
    network = Told(plan(metric), lambda n: 1)
    return network, f"{NAME}.p0", f"{network.plan.result.name}.p0"


def feed(network: Told, place: int, at: int, state: str, mark: int | None = None) -> None:
    event = Event("a", at, (0, 0, place), {"s": state})
    network.feed(batch_of([replace(event)]), (Progress(0, 0, place, mark),))


def test_a_new_epoch_does_not_repeat_the_final() -> None:
    """After the watermark 15, subscribing anew tells the key from 15 on only, and corrections replace."""
    network, me, heard = one_result()
    feed(network, 0, 10, "x")
    feed(network, 1, 20, "y", mark=15)
    network.settle()
    before = len(network.topic)
    network._subscribe((me, heard))
    network.settle()
    again = [one for one in network.topic[before:] if isinstance(one, Change)]
    assert [(one.since, one.until, one.value) for one in again] == [(15, 20, "x"), (20, None, "y")]
    assert folded(network.topic)["a"][0][0] == 10
    feed(network, 2, 17, "z")
    network.settle()
    last = [one for one in network.topic if isinstance(one, Change)][-2:]
    assert [(one.since, one.until, one.value) for one in last] == [(17, 20, "z"), (20, None, "y")]


def test_gaps_and_strange_bytes_change_nothing() -> None:
    """A gap and strange bytes are refused and change nothing."""
    network, me, heard = one_result()
    subscriber = network.subscribers[me]
    with pytest.raises(StateError):
        subscriber.take(b"nonsense")
    worker = network.workers[heard]
    worker.subscribe(me, f"{me}/0")
    feed(network, 0, 10, "x")
    network._feed_leaf(heard)
    first = worker.outgoing(me, 400_000)
    assert first is not None
    worker.delivered(me)
    feed(network, 1, 20, "y")
    network._feed_leaf(heard)
    second = worker.outgoing(me, 400_000)
    assert second is not None
    assert subscriber.take(second) is None  # an epoch begins with its first message
    assert subscriber.take(first) is not None
    assert subscriber.take(first) is None
    assert subscriber.take(second) is not None
    stranger = Subscriber(me, ["another.p0"])
    with pytest.raises(StateError, match="is no input"):
        stranger.take(first)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed-json"),
        (b"[]", "malformed-json"),
        (b'{"key": "a"}', "bad-changelog"),
        (b'{"key": true, "revision": 1}', "bad-changelog"),
        (b'{"key": "a", "revision": 1}', "bad-changelog"),
        (b'{"key": "a", "revision": 1, "from": 2, "until": 2, "value": 1}', "bad-changelog"),
        (b'{"key": "a", "revision": 1, "from": 2, "until": null, "value": [1]}', "bad-changelog"),
        (b'{"key": "a", "revision": 1, "from": 2, "value": "x", "slope": 1}', "bad-changelog"),
        (b'{"key": "a", "revision": 1, "from": "x", "value": "x"}', "bad-time"),
        (b'{"watermark": 1, "revision": 1, "partition": "p0", "metric": "m"}', "bad-changelog"),
    ],
)
def test_what_is_no_message_of_a_changelog_is_refused(body: bytes, reason: str) -> None:
    from timeline_workers.errors import EventError

    with pytest.raises(EventError) as refused:
        read_message(body, "s")
    assert refused.value.reason == reason
