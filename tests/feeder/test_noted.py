"""Notes of the feeder on a source partition, for people: every leaf gets them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from feeder.routing.router import Messages, Router, groups_of
from timeline_workers.algebra.leaf_input import Noted
from timeline_workers.columns.event_batch import Positions
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan, workers
from timeline_workers.runtime.node_worker import NodeWorker

SECOND = 1_000_000
NOW = 10**9 * SECOND
METRIC = Metric(
    name="m",
    source=Source.model_validate(
        {"topic": "events", "key": "id", "time": "t", "columns": {"state": "string", "size": "int"}}
    ),
    expression='duration_where(latest_event_to_state(state) == "on" && has_existed(size > 5))',
)


def router() -> Router:
    [group] = groups_of([plan(METRIC)])["events"]
    return Router(group)


def messages(events: list[Any], start: int, published: int) -> Messages:
    payloads = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    count = len(payloads)
    places = Positions(np.zeros(count, np.int32), np.zeros(count, np.int64), np.arange(start, start + count))
    return Messages(payloads, places, np.full(count, published))


def good(second: int, **columns: Any) -> dict[str, Any]:
    return {"id": "a", "t": 10**9 + second, **columns}


def test_accepted_and_refused_events_are_noted() -> None:
    """Also of a batch of which nothing is accepted; of the last minute only those that are recent."""
    routing = router()
    routing.route(messages([good(0, state="on"), b"{", good(1)], 0, NOW))
    (progress,) = routing.clock.progress()
    assert progress.noted.reason.startswith("malformed-json: ")
    counts = Noted(accepted=2, recent_accepted=2, recent_refused=1, reason=progress.noted.reason)
    assert progress.noted == counts
    routed = routing.route(messages([{"id": "a"}] * 5, 3, NOW + 61 * SECOND))
    assert not routed.parcels
    (progress,) = routed.progress
    assert progress.noted.reason.startswith("missing-time: ")
    assert (progress.noted.accepted, progress.refused) == (2, 6)
    assert (progress.noted.recent_accepted, progress.noted.recent_refused) == (0, 5)


def test_events_ahead_are_noted_for_good() -> None:
    """A producer whose clock was set right is heard of no more; how often it was wrong stays known."""
    routing = router()
    routing.route(messages([good(0, state="on"), good(7200, state="off")], 0, NOW))
    (progress,) = routing.clock.progress()
    assert (progress.noted.ahead, progress.noted.recent_ahead) == (1, 1)
    routing.route(messages([good(59, state="on")], 2, NOW + 59 * SECOND))
    (progress,) = routing.clock.progress()
    assert (progress.noted.ahead, progress.noted.recent_ahead) == (1, 1)
    routing.route(messages([good(60, state="on")], 3, NOW + 60 * SECOND))
    (progress,) = routing.clock.progress()
    assert (progress.noted.ahead, progress.noted.recent_ahead) == (1, 0)


def test_a_leaf_learns_once_that_its_column_has_values() -> None:
    """Also where none of the events is one that it needs, and it carries what it knows."""
    routing = router()
    group = routing.group
    [has_existed] = [name for name, leaf in group.leaves.items() if leaf.node.operator == "tl-has-existed"]
    [spec] = [s for s in workers(plan(METRIC), group.labels[0]) if s.worker_id.startswith(has_existed)]
    leaf = NodeWorker(spec)

    def feed(*events: dict[str, Any], start: int) -> list[str]:
        routed = routing.route(messages(list(events), start, NOW))
        for parcel in routed.parcels[leaf.spec.worker_id]:
            leaf.ingest(parcel.payload)
        unseen: list[str] = leaf.status().get("unseen_columns", [])
        assert NodeWorker.restore(spec, leaf.snapshot(2**20)).status().get("unseen_columns", []) == unseen
        return unseen

    assert feed(good(0, state="on"), start=0) == ["size"]
    assert feed(good(1, size=1), start=1) == []
    assert routing.route(messages([good(2, size=2)], 2, NOW)).parcels
    assert feed(good(3), start=3) == []
