"""Leaves are not told again what they know: keys without rows, origins, matches after the first."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, strategies as st

from feeder.routing import sent_cache as told_module
from feeder.routing.router import Messages, MetricGroup, Router
from tests.feeder.test_router import SOURCE, group, leaf_named, messages, metric, received, rows
from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.plan.physical import partition_of, plan, workers
from timeline_workers.runtime.eviction import idle_keys
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import decode_leaf_batch

EXISTED = metric(expression="has_existed(size > 5)")
EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), min_size=1, max_size=20
)


def sent(batches: list[LeafBatch]) -> list[tuple[str, int]]:
    return [(str(key), time // 1_000_000) for key, time, _ in rows(batches)]


def firsts(pairs: list[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, time in pairs:
        found[key] = min(time, found.get(key, time))
    return found


Batch = list[tuple[str, int, bool]]


def routed(batches: list[Batch], *, forget: bool = False) -> list[tuple[str, int]]:
    """What the leaf is sent of the batches, one after the other. ``forget``: each as if it were the first."""
    router = Router(group(EXISTED))
    found: list[tuple[str, int]] = []
    for number, batch in enumerate(batches):
        made: list[dict[str, Any] | bytes] = [
            {"id": k, "t": 1000 + t, "size": 9 if matches else 1} for k, t, matches in batch
        ]
        if forget:
            router.forget_sent()
        for parcels in received(router.route(messages(made, start=100 * number))).values():
            found += sent(parcels)
    return found


@given(st.lists(EVENTS, min_size=1, max_size=4), st.sampled_from([1, 2, 100]))
def test_the_earliest_match_of_every_key_is_sent(batches: list[Batch], remembered: int) -> None:
    """Over any batches, some of their events late, also when there is room to remember one key only."""
    limit, told_module.KEYS = told_module.KEYS, remembered
    try:
        got = routed(batches)
    finally:
        told_module.KEYS = limit
    everything = routed(batches, forget=True)
    assert firsts(got) == firsts(everything)
    assert Counter(got) <= Counter(everything)


def test_only_an_earlier_match_is_sent_again() -> None:
    """A later match is not sent and an earlier one is."""
    fed = group()
    router = Router(fed)
    leaf = leaf_named(fed, "tl-has-existed")

    def existed(time: int, start: int) -> list[tuple[str, int]]:
        routed = router.route(messages([{"id": "a", "t": time, "size": 9, "state": "on"}], start=start))
        [parcels] = [p for worker, p in received(routed).items() if worker.startswith(leaf)]
        named.extend(key for b in parcels for key in b.keys)
        return sent(parcels)

    named: list[Any] = []

    assert existed(50, 0) == [("a", 50)]
    assert existed(51, 1) == []
    assert existed(50, 2) == []
    assert existed(45, 3) == [("a", 45)]
    assert existed(47, 4) == []
    assert named == ["a", "a"]
    router.forget_sent()
    assert existed(48, 5) == [("a", 48)]


@pytest.mark.parametrize("expression", ["has_existed_within(size > 5, 5s)", "event_count(size > 5)"])
def test_other_leaves_are_sent_every_match(expression: str) -> None:
    router = Router(group(metric(expression=expression)))
    routed = router.route(messages([{"id": "a", "t": t, "size": 9} for t in (3, 1, 2)]))
    assert [sent(parcels) for parcels in received(routed).values()] == [[("a", 3), ("a", 1), ("a", 2)]]


def test_of_equal_times_one_is_sent() -> None:
    router = Router(group(EXISTED))
    routed = router.route(messages([{"id": k, "t": 7, "size": 9} for k in "aabb"]))
    assert sorted(pair for parcels in received(routed).values() for pair in sent(parcels)) == [
        ("a", 7),
        ("b", 7),
    ]


MIXED = metric(
    expression="has_existed(size > 5) && has_existed_within(size > 7, 5s)"
    ' && latest_event_to_state(state) == "on"'
)
MIXED_BATCH = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("abc"), "t": st.integers(1000, 1009)},
        optional={"size": st.integers(5, 9), "state": st.sampled_from(["on", "off"])},
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(MIXED_BATCH, min_size=1, max_size=5), st.sampled_from([1, 2, 100]))
def test_leaves_with_a_sent_cache_hold_the_same(batches: list[list[dict[str, Any]]], remembered: int) -> None:
    """The same origins and timelines as leaves that are told everything with every batch."""
    fed = group(MIXED)
    limit, told_module.KEYS = told_module.KEYS, remembered
    try:
        assert held(fed, batches, forget=False) == held(fed, batches, forget=True)
    finally:
        told_module.KEYS = limit


def held(fed: MetricGroup, batches: list[list[dict[str, Any]]], *, forget: bool) -> dict[str, Any]:
    """By worker and key what its leaf answers after the batches."""
    router = Router(fed)
    nodes: dict[str, NodeWorker] = {}
    for number, batch in enumerate(batches):
        if forget:
            router.forget_sent()
        routed = router.route(messages(list(batch), start=100 * number))
        for worker, parcels in routed.parcels.items():
            if worker not in nodes:
                specs = {spec.worker_id: spec for spec in workers(plan(MIXED), routed.labels[worker])}
                nodes[worker] = NodeWorker(specs[worker])
            for parcel in parcels:
                nodes[worker].ingest(parcel.payload)
    return {
        f"{worker} {key}": node.ask("spans", {"key": key, "start": 990, "end": 1030})
        for worker, node in nodes.items()
        for key in node.keys({"after": 0, "limit": 10})["keys"]
    }


def test_a_key_is_named_when_its_origin_is_news() -> None:
    """A key without rows is named when its origin is news."""
    fed = group(metric(expression="has_existed_within(size > 5, 5s)"))
    router = Router(fed)

    def told(event: dict[str, Any]) -> list[tuple[list[Any], list[int]]]:
        routed = router.route(messages([event], start=event["t"]))
        return [
            (b.keys, [origin // 1_000_000 for origin in b.origins.tolist()])
            for parcels in received(routed).values()
            for b in parcels
        ]

    assert told({"id": "a", "t": 50}) == [(["a"], [50])]
    assert told({"id": "a", "t": 51}) == [([], [])]
    assert told({"id": "a", "t": 49}) == [(["a"], [49])]
    assert told({"id": "a", "t": 52, "size": 9}) == [(["a"], [49])]
    assert told({"id": "a", "t": 53}) == [([], [])]
    router.forget_sent()
    assert told({"id": "a", "t": 54}) == [(["a"], [54])]


@pytest.mark.parametrize("expression", ["has_existed(size > 5)", "has_existed_within(size > 5, 1s)"])
def test_a_key_with_other_events_is_not_idle(expression: str) -> None:
    """A key with events that a leaf does not need is not idle there."""
    kept = metric(expression=expression).model_copy(update={"key_ttl": 80_000_000})
    fed = group(kept)
    router = Router(fed)
    [leaf] = fed.leaves
    workers_of = {label: workers(plan(kept), label) for label in fed.labels}
    nodes = {
        s.worker_id: NodeWorker(s) for specs in workers_of.values() for s in specs if s.node.name == leaf
    }
    named: list[Any] = []

    def idle(*events: dict[str, Any]) -> list[Any]:
        routed = router.route(messages(list(events), start=events[0]["t"]))
        for worker, parcels in routed.parcels.items():
            for parcel in parcels:
                named.extend(decode_leaf_batch(parcel.payload).keys)
                nodes[worker].ingest(parcel.payload)
        return [n.node.keys.names[i] for n in nodes.values() for i in idle_keys(n).tolist()]

    assert idle({"id": "a", "t": 1000, "size": 9}) == []
    assert [idle({"id": "a", "t": t, "size": 1}) for t in range(1001, 1400)] == [[]] * 399
    assert 1 + 399 // 10 <= len(named) <= 2 + 399 // 10
    # Beside a key of the same worker that goes on; the watermark is ten seconds behind it.
    other = next(k for k in map(str, range(99)) if partition_of(k, SOURCE) == partition_of("a", SOURCE))
    assert idle({"id": other, "t": 1399 + 80}) == []
    assert idle({"id": other, "t": 1399 + 91}) == ["a"]


def test_what_leaves_were_told_is_forgotten_after_ten_minutes() -> None:
    """Another feeder may have started one anew. A clock that was ahead stops nothing."""
    router = Router(group(metric(expression="has_existed(size > 5)")))
    named = []
    for number, minutes in enumerate([0, 5, 9, 10, 11, 21, 900, 22]):
        made = messages([{"id": "a", "t": 100 + number}], start=number)
        later = Messages(made.payloads, made.position, made.published + minutes * 60_000_000)
        named.append([b.keys for parcels in received(router.route(later)).values() for b in parcels])
    assert named == [[["a"]], [[]], [[]], [["a"]], [[]], [["a"]], [["a"]], [["a"]]]
