"""Routing: every message is refused once or sent to every leaf that needs it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feeder.routing import router as route_module
from feeder.routing.router import Messages, MetricGroup, Routed, Router, groups_of, progress_parcel
from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.columns.event_batch import Positions
from timeline_workers.metric.model import ColumnSpec, Metric, Source
from timeline_workers.plan.physical import partition_of, plan, worker_id
from timeline_workers.wire.leaf_batch import decode_leaf_batch

SOURCE = Source(
    topic="events",
    key="id",
    time="t",
    columns={"state": ColumnSpec(type="string"), "size": ColumnSpec(type="int")},
    allowed_lateness=10_000_000,
    partitions=3,
)
EXPRESSION = 'duration_where(latest_event_to_state(state) == "on" && has_existed(size > 5))'


def metric(name: str = "m", expression: str = EXPRESSION, source: Source = SOURCE) -> Metric:
    return Metric(name=name, source=source, expression=expression)


def group(*metrics: Metric) -> MetricGroup:
    [only] = groups_of(plan(m) for m in metrics or (metric(),))["events"]
    return only


def messages(events: list[dict[str, Any] | bytes], start: int = 0) -> Messages:
    payloads = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    count = len(payloads)
    places = Positions(np.zeros(count, np.int32), np.zeros(count, np.int64), np.arange(start, start + count))
    return Messages(payloads, places, np.full(count, 10**15))


def received(routed: Routed) -> dict[str, list[LeafBatch]]:
    return {w: [decode_leaf_batch(p.payload) for p in parcels] for w, parcels in routed.parcels.items()}


def rows(batches: list[LeafBatch]) -> list[tuple[Any, int, int]]:
    return [
        (b.keys[int(k)], int(t), int(m))
        for b in batches
        for k, t, m in zip(b.key, b.time, b.position.minor, strict=True)
    ]


def leaf_named(fed: MetricGroup, operator: str) -> str:
    return next(name for name, leaf in fed.leaves.items() if leaf.node.operator == operator)


def test_leaves_get_the_events_they_need() -> None:
    """A state leaf gets events with its column and an existence leaf those that match."""
    fed = group()
    routed = Router(fed).route(
        messages(
            [
                {"id": "a", "t": 1, "state": "on"},
                {"id": "a", "t": 2, "size": 9},
                {"id": "a", "t": 3, "size": 1},
            ]
        )
    )
    label = partition_of("a", SOURCE)
    found = received(routed)
    assert rows(found[worker_id(leaf_named(fed, "tl-latest-event-to-state"), label)]) == [("a", 1_000_000, 0)]
    assert rows(found[worker_id(leaf_named(fed, "tl-has-existed"), label)]) == [("a", 2_000_000, 1)]
    assert routed.accepted == 3


def test_every_leaf_hears_of_every_key_and_origin() -> None:
    """Every leaf of a partition hears of every key and its origin."""
    fed = group()
    routed = Router(fed).route(messages([{"id": "a", "t": 5}, {"id": "a", "t": 4}]))
    for batches in received(routed).values():
        assert [(b.keys, b.origins.tolist()) for b in batches] == [(["a"], [4_000_000])]


def test_keys_go_to_the_workers_of_their_partition_only() -> None:
    fed = group()
    keys = [f"k{i}" for i in range(40)]
    routed = Router(fed).route(messages([{"id": k, "t": 1, "state": "on"} for k in keys]))
    for worker, batches in received(routed).items():
        label = worker.rpartition(".")[2]
        assert {k for b in batches for k in b.keys} == {k for k in keys if partition_of(k, SOURCE) == label}
    assert set(routed.labels.values()) == {"p0", "p1", "p2"}


def test_a_first_parcel_names_all_partitions() -> None:
    """Also of those that brought events before, to others: what they may bring bounds what is final."""
    router = Router(group(), partitions=3)
    keys = {partition_of(f"k{i}", SOURCE): f"k{i}" for i in range(40)}
    for partition, label in enumerate(["p0", "p1"]):
        one = messages([{"id": keys[label], "t": 100 * partition, "state": "on"}])
        routed = router.route(Messages(one.payloads, place(partition), one.published))
        [progress] = {b.progress for batches in received(routed).values() for b in batches}
        assert {p.partition: p.watermark for p in progress} == {
            0: -10_000_000,
            1: 90_000_000 if partition else None,
            2: None,
        }


def place(partition: int) -> Positions:
    return Positions(np.array([partition], np.int32), np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_late_events_reach_no_leaf() -> None:
    """Late events are refused with their times and reach no leaf."""
    routed = Router(group()).route(
        messages([{"id": "a", "t": 100, "state": "on"}, {"id": "late", "t": 80, "state": "on"}])
    )
    assert [(r.row, r.reason) for r in routed.refused] == [(1, "late")]
    assert "1970-01-01T00:01:20Z" in routed.refused[0].message
    assert "1970-01-01T00:01:30Z" in routed.refused[0].message
    assert {k for batches in received(routed).values() for b in batches for k in b.keys} == {"a"}


def test_bad_events_do_not_stop_the_others() -> None:
    """Bad events are refused with their reason and do not stop the others."""
    bad: list[dict[str, Any] | bytes] = [
        b"{nonsense",
        {"t": 1},
        {"id": "a"},
        {"id": "a", "t": 1, "state": 7},
        {"id": "a", "t": 4e9},
        {"id": "a", "t": 1, "size": 2**70},
        {"id": "good", "t": 1, "state": "on"},
    ]
    routed = Router(group()).route(messages(bad))
    assert [(r.row, r.reason) for r in sorted(routed.refused, key=lambda r: r.row)] == [
        (0, "malformed-json"),
        (1, "missing-key"),
        (2, "missing-time"),
        (3, "wrong-type"),
        (4, "time-too-far-ahead"),
        (5, "int-out-of-range"),
    ]
    assert routed.accepted == 1


def test_a_refused_event_needs_key_and_time_for_watermarks() -> None:
    """Only an event whose key and time are good moves the watermark when it is refused."""
    router = Router(group())
    for bad, mark in (
        ({"t": 900}, None),
        ({"id": 1.5, "t": 900}, None),
        ({"id": "a", "t": 4e9}, None),
        ({"id": "a", "t": 50, "state": 7}, 40_000_000),
        ({"id": "a", "t": 60, "size": 2**70}, 50_000_000),
        ({"id": "a", "t": 70, "state": "x" * 70_000}, 60_000_000),
    ):
        routed = router.route(messages([bad]))
        assert [p.watermark for p in routed.progress] == [mark]
        assert [r.reason for r in routed.refused] != ["late"]
    assert [r.reason for r in router.route(messages([{"id": "b", "t": 59}])).refused] == ["late"]


def test_a_value_that_may_be_missing_refuses_nothing() -> None:
    """A value that may count as missing refuses no event and is counted."""
    columns = SOURCE.columns | {"size": ColumnSpec(type="int", on_bad_value="missing")}
    fed = group(metric(source=SOURCE.model_copy(update={"columns": columns})))
    routed = Router(fed).route(
        messages(
            [
                {"id": "a", "t": 100, "state": "on", "size": "n/a"},
                {"id": "a", "t": 101, "size": 2**70},
                {"id": "a", "t": 102, "size": 9},
                {"id": "a", "t": 50, "size": "late"},
                {"id": "a", "t": 103, "size": "n/a", "state": 1},
            ]
        )
    )
    assert [r.reason for r in routed.refused] == ["wrong-type", "late"]
    assert routed.missing == {"size: wrong-type": 1, "size: int-out-of-range": 1}
    assert [p.noted.missing for p in routed.progress] == [2]
    label = partition_of("a", SOURCE)
    found = received(routed)
    assert rows(found[worker_id(leaf_named(fed, "tl-has-existed"), label)]) == [("a", 102_000_000, 2)]
    assert rows(found[worker_id(leaf_named(fed, "tl-latest-event-to-state"), label)]) == [
        ("a", 100_000_000, 0)
    ]


def test_a_batch_of_bad_events_moves_the_progress() -> None:
    """A batch of nothing but bad events still moves the progress."""
    router = Router(group(), partitions=2)
    routed = router.route(messages([b"?", b"?"], start=6))
    assert routed.parcels == {}
    assert [(p.partition, p.minor, p.watermark) for p in routed.progress] == [(0, 7, None), (1, -1, None)]


def test_partitions_without_events_are_announced() -> None:
    """Partitions without events are announced so that nothing is final too early."""
    routed = Router(group(), partitions=2).route(messages([{"id": "a", "t": 100, "state": "on"}]))
    for batches in received(routed).values():
        assert [(p.partition, p.watermark) for p in batches[0].progress] == [(0, 90_000_000), (1, None)]


@given(st.data())
def test_large_batches_are_split_in_order_and_lose_nothing(data: st.DataObject) -> None:
    fed = group()
    count = data.draw(st.integers(2, 40))
    made = messages([{"id": "a", "t": i, "state": f"{i:04d}", "size": 9} for i in range(count)])
    whole = Router(fed).route(made)
    limit, route_module.PAYLOAD_BYTES = route_module.PAYLOAD_BYTES, data.draw(st.integers(1, 800))
    try:
        split = Router(fed).route(made)
    finally:
        route_module.PAYLOAD_BYTES = limit
    assert received(split).keys() == received(whole).keys()
    for worker, batches in received(split).items():
        assert rows(batches) == rows(received(whole)[worker])
        reached = [b.progress[0].minor for b in batches]
        assert reached == sorted(set(reached))
        assert reached[-1] == count - 1
        for batch in batches:
            # What a part holds is never beyond what it says the leaf has then.
            assert all(batch.position.minor <= batch.progress[0].minor)


def test_metrics_with_one_source_share_a_group() -> None:
    """Metrics with one source share a group and their leaves."""
    fed = group(metric("a"), metric("b", 'latest_event_to_state(state) == "off"'))
    assert fed.metrics == ["a", "b"]
    assert sorted(leaf.node.operator for leaf in fed.leaves.values()) == [
        "tl-has-existed",
        "tl-latest-event-to-state",
    ]


def test_a_shared_leaf_belongs_to_the_first_metric() -> None:
    """Another column that refuses nothing makes another group. One that has all of its leaves in another
    group is not there: what that one refuses, it refuses.
    """
    more = {**SOURCE.columns, "note": ColumnSpec(type="string", on_bad_value="missing")}
    wider = SOURCE.model_copy(update={"columns": more})
    plans = [
        plan(metric("b", 'latest_event_to_state(state) == "off" && has_existed(state == "x")', wider)),
        plan(metric("a")),
    ]
    first, second = groups_of(plans)["events"]
    assert (first.metrics, second.metrics) == (["a"], ["b"])
    assert len(first.leaves) == 2
    assert [leaf.node.expression for leaf in second.leaves.values()] == ['has_existed(state == "x")']
    [alone] = groups_of([plan(metric("c", source=wider)), plan(metric("a"))])["events"]
    assert alone.metrics == ["a", "c"]


def test_metrics_of_which_one_refuses_more_are_fed_apart() -> None:
    """Declared or not, what one metric refuses is sent to the leaves of the other, which share no name."""
    wide, narrow = {"state": "string", "size": "int"}, {"state": "string"}
    text = 'latest_event_to_state(state) == "on"'
    bare = SOURCE.model_copy(update={"columns": {}})
    for metrics in (
        [
            metric(
                name, text, SOURCE.model_copy(update={"columns": {n: ColumnSpec(type=t) for n, t in columns}})
            )
            for name, columns in (("wide", wide.items()), ("narrow", narrow.items()))
        ],
        [metric("narrow", text, bare), metric("wide", f"{text} && !has_existed(size > 5)", bare)],
    ):
        groups = groups_of(plan(m) for m in metrics)["events"]
        event = messages([{"id": "a", "t": 1, "state": "on", "size": "n/a"}])
        told = {group.metrics[0]: Router(group).route(event) for group in groups}
        assert (told["wide"].accepted, told["narrow"].accepted) == (0, 1)
        assert {p.watermark for routed in told.values() for p in routed.progress} == {-9_000_000}
        assert not set(told["wide"].parcels) & set(told["narrow"].parcels)


def test_undeclared_columns_have_the_type_compared_with() -> None:
    """Undeclared columns must have the type that the expression compares them with."""
    bare = SOURCE.model_copy(update={"columns": {}})
    routed = Router(group(metric(source=bare))).route(
        messages([{"id": "a", "t": 1, "state": 5}, {"id": "a", "t": 1, "state": "on", "other": 5}])
    )
    assert [(r.row, r.reason) for r in routed.refused] == [(0, "wrong-type")]


def test_per_key_sources_have_a_worker_per_key() -> None:
    """Per key sources have a worker per key and a journal beside them."""
    own = SOURCE.model_copy(update={"partitions": "per-key"})
    fed = group(metric(source=own))
    routed = Router(fed).route(
        messages([{"id": "a", "t": 1, "state": "on"}, {"id": "b", "t": 1, "state": "on"}])
    )
    labels = {partition_of("a", own), partition_of("b", own)}
    assert set(routed.labels.values()) == labels
    worker, label = fed.commit_leaf()
    assert label not in labels
    assert worker not in routed.parcels


def test_the_journal_is_a_worker_of_the_group() -> None:
    fed = group()
    worker, label = fed.commit_leaf()
    assert label == "p0"
    assert worker.rpartition(".")[0] in fed.leaves


def test_a_progress_parcel_holds_no_events() -> None:
    """A progress parcel holds no events and says how far the source is."""
    fed = group()
    routed = Router(fed).route(messages([{"id": "a", "t": 100}]))
    for leaf in fed.leaves.values():
        parcel = progress_parcel(leaf, routed.progress)
        batch = decode_leaf_batch(parcel.payload)
        assert (batch.keys, len(batch.time), batch.progress) == ([], 0, routed.progress)


def test_updating_the_group_keeps_the_watermark() -> None:
    router = Router(group())
    router.route(messages([{"id": "a", "t": 100}]))
    router.update(group(metric(), metric("n", "has_existed(size == 1)")))
    assert [r.reason for r in router.route(messages([{"id": "a", "t": 80}], start=1)).refused] == ["late"]


@pytest.mark.parametrize("key", ["x" * 10, 5, -7])
def test_keys_keep_their_type(key: str | int) -> None:
    routed = Router(group()).route(messages([{"id": key, "t": 1, "state": "on"}]))
    assert all(b.keys == [key] for batches in received(routed).values() for b in batches)
