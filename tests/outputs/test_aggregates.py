"""The output of an aggregate: a writer per function, groups as keys, and a metric that reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from feeder.routing.router import Messages, Router, groups_of
from tests.outputs.test_chained import Publishing, Reading, answers, changed, ranges
from tests.properties import strategies as some
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.group_names import key_of_group as key_on_an_edge
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Tagged
from timeline_workers.errors import EventError, MetricError
from timeline_workers.language.canonical import to_text
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.output_workers import output_workers
from timeline_workers.plan.physical import plan
from timeline_workers.wire.changelog_events import ChangelogDecoder
from timeline_workers.wire.changelog_messages import Change, Writer, key_of_group, messages, read_message
from timeline_workers.wire.news import News

FUNCTIONS = ("count", "sum", "avg", "min", "max")
GROUPS = [None, True, False, 1, "1", 1.0, 0.5, "true", "null", "(null)", "((1))", "(1.0)", "", "\0", "a"]


def read(changelog: Any, expression: str = "changelog(numeric)") -> Metric:
    source = {"topic": "o", "changelog": changelog, "time_unit": "us"}
    return Metric(name="n", source=Source.model_validate(source), expression=expression)


@settings(max_examples=settings().max_examples // 10)
@given(st.data())
def test_a_metric_reads_one_function_of_an_aggregate(data: st.DataObject) -> None:
    """Late events, messages lost and repeated, kills and new epochs on the way."""
    expression = data.draw(some.aggregates(1, 1))
    function = data.draw(st.sampled_from(expression.functions))
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=data.draw(st.integers(1, 2)))
    first = plan(Metric(name="m", source=source, expression=to_text(expression)))
    several = len(expression.functions) > 1
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network, whole = Publishing(first, choose), Evaluation(expression)
    which = function if several else data.draw(st.sampled_from([True, function]))
    second = plan(read(which, f"changelog({network.read_by[function]})"))
    events = data.draw(some.event_sets(expression, scale=1, max_size=10))
    events = [replace(e, position=(i % 2, i // 4, i)) for i, e in enumerate(events)]
    reading = Reading(Network(second, choose))
    for cut in (events[i : i + 3] for i in range(0, len(events), 3)):
        last = {e.position[0]: e.position for e in cut}
        network.feed(batch_of(cut), tuple(Progress(p, a, b, None) for p, a, b in last.values()))
        whole.add(batch_of(cut))
        for _ in range(data.draw(st.integers(0, 8))):
            network.step()
        reading.feed(network.bodies)
    network.settle()
    reading.feed(network.bodies)
    reading.network.settle()
    timeline = whole.aggregate(function)
    reader = Reader(timeline, whole.groups, "numeric", expression, aggregate=function)
    for row, group in enumerate(whole.groups):
        starts = timeline.starts[timeline.offsets[row] : timeline.offsets[row + 1]].tolist()
        for instant in {*starts, *(start + 1 for start in starts), max(starts) + 7}:
            found = answers(second, reading.network, key_of_group(group), instant)
            assert found == reader.value_at(group, instant).value
        for start, end in ranges(starts):
            found = changed(second, reading.network, key_of_group(group), start, end).change
            assert found == reader.change(group, start, end).change
    # A group that a late event has taken every key of has no timeline any more.
    worker = next(iter(reading.network.workers.values()))
    assert {*worker.keys({"limit": 1000})["keys"]} == {key_of_group(group) for group in whole.groups}


def test_messages_name_the_group_and_the_function() -> None:
    """Groups are what they are in JSON, whatever the names are that they have between workers."""
    count = len(GROUPS)
    suffix = Timeline(np.arange(count + 1), np.full(count, 5), Tagged.of([1] * count))
    names = [key_on_an_edge(group) for group in GROUPS]
    news = News(names, np.full(count, 5), suffix, 7, True)
    told = list(messages(news, Writer("m", "all", 1, "us", True, "sum", ("sum", "max")), 1))
    said = [json.loads(one.body) for one in told]
    assert [(type(one["key"]), one["key"]) for one in said[:-1]] == [(type(g), g) for g in GROUPS]
    assert said[-1]["watermark"] == 7
    assert {(one["function"], *one["functions"]) for one in said} == {("sum", "sum", "max")}
    assert [one.key for one in told[:3]] == ["null", "true", "false"]
    assert told[-1].key is None
    keys = [key_of_group(group) for group in GROUPS]
    assert keys[:3] == ["(null)", "(true)", "(false)"]
    assert len({(type(key), key) for key in keys}) == count


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"metric": "m", "from": 1, "until": None, "value": 1, "slope": 0, "revision": 1, **fields}
    ).encode()


def test_of_several_functions_one_must_be_said() -> None:
    one_of_two = body(key=None, function="sum", functions=["sum", "max"])
    with pytest.raises(EventError, match="'changelog: sum'") as refused:
        read_message(one_of_two, "s")
    assert refused.value.reason == "bad-changelog"
    assert read_message(one_of_two, "s", "max") is None
    found = read_message(one_of_two, "s", "sum")
    assert found is not None
    assert getattr(found, "key") == "(null)"  # noqa: B009
    with pytest.raises(EventError, match="changelog: true"):
        read_message(body(key="a"), "s", "sum")
    with pytest.raises(EventError, match="neither text nor a whole number"):
        read_message(body(key=None), "s")


def test_a_slope_beyond_floats_is_read_exactly() -> None:
    """Beside the fraction the number is null then, and that is no unknown value."""
    said = read_message(body(key="a", slope=None, exact={"value": "1", "slope": f"1{'0' * 400}"}), "s")
    assert isinstance(said, Change)
    assert (said.value, said.slope) == (1, 10**400)


def test_messages_about_other_functions_are_no_dead_letters() -> None:
    payloads = [body(key="a", function=name, functions=["sum", "max"]) for name in ("sum", "max", "sum")]
    decoder = ChangelogDecoder("s", frozenset(["numeric"]), "max")
    decoded = decoder.decode(payloads, Positions.in_input(0, 3))
    assert (decoded.rows.tolist(), decoded.rejects, decoded.marks) == ([1], [], {0: None, 2: None})


def test_watermarks_and_other_functions_are_not_refused() -> None:
    """A minute of nothing else is a good one: nothing of it was refused, nor applied."""
    [group] = groups_of([plan(read("max", "changelog(number)"))])["o"]
    router, about = Router(group), {"functions": ["sum", "max"]}
    mark = {"metric": "m", "partition": "all", "partitions": 1, "watermark": 3, "revision": 2}
    bad = b"{}"
    bodies = [body(key="a", function="sum", **about), json.dumps({**mark, "function": "max"}).encode()]
    for payloads, refused in ((bodies, 0), ([*bodies, bad], 1)):
        count = np.arange(len(payloads), dtype=np.int64)
        position = Positions(count.astype(np.int32) * 0, count * 0, count + 10 * refused)
        router.route(Messages(payloads, position, count * 0 + 1_000_000))
        noted = router.clock.reached[0].noted
        assert (noted.recent_accepted, noted.recent_refused, bool(noted.reason)) == (
            0,
            refused,
            bool(refused),
        )


def test_each_function_has_a_writer_with_a_name() -> None:
    source = Source(topic="t", key="k", time="t")
    expression = "event_count(x == 1) | aggregate(group_by(g), count, max)"
    made = plan(Metric(name="m", source=source, expression=expression, output=Output(topic="o")))
    specs = output_workers(made)
    assert [spec.function for spec in specs] == ["count", "max"]
    assert len({spec.worker_id for spec in specs}) == 2
    assert all(spec.worker_id.endswith(".all") and spec.functions == ("count", "max") for spec in specs)


def test_readers_of_different_functions_share_no_workers() -> None:
    names = [plan(read(changelog)).result.name for changelog in ("sum", "max", True)]
    assert len(set(names)) == 3


def test_a_changelog_of_no_function_is_refused() -> None:
    text = "{name: m, source: {topic: o, changelog: median}, expression: changelog(numeric)}"
    with pytest.raises(MetricError, match="neither true nor a function of an aggregate: count, sum"):
        load_metric(text)
