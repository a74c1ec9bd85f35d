"""Edges that only one of their two workers knows: found by what both say, and mended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflows.cluster import (
    apply,
    assert_same_as_in_process,
    cluster,
    end_by_hand,
    feed,
    metric,
    sessions,
    until_everything_arrived,
)
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import all_workers, plan
from workflows.client.ask_worker import ask_status
from workflows.client.edge_repair import broken_edges, confirmed, mend_edges, readers_of
from workflows.client.start import ensure_workers
from workflows.worker_status import WorkerStatus

READER, INPUT = "and-1.p0", "leaf-1.p0"


def said(epoch: str = "run/1", *, subscribed: bool = True) -> dict[str, WorkerStatus]:
    line = {"worker": INPUT, "subscribed": subscribed, "epoch": epoch, "last_error": None}
    return {READER: WorkerStatus.model_validate({"inputs": [line], "edges": [], "state": {}})}


def known(*edges: dict[str, Any], state: dict[str, Any] | None = None) -> dict[str, WorkerStatus]:
    found = {"inputs": [], "edges": list(edges), "state": {} if state is None else state}
    return {INPUT: WorkerStatus.model_validate(found)}


def edge(epoch: str = "run/1", state: str = "idle", error: str | None = None) -> dict[str, Any]:
    return {"subscriber": READER, "state": state, "epoch": epoch, "last_error": error}


def test_an_edge_unknown_to_its_input_is_broken() -> None:
    """An edge is broken where the input does not know what the reader has subscribed to."""
    whys = [
        broken.why
        for inputs in (known(), known(edge("run/0")), known(edge(state="gone", error="not running")))
        for broken in broken_edges(said(), inputs)
    ]
    assert [why.partition(":")[0] for why in whys] == [
        f"{INPUT} has no edge to {READER}",
        f"{INPUT} sends to {READER} under epoch run/0, not run/1",
        f"{INPUT} has closed its edge to {READER}",
    ]


def test_an_edge_held_for_nobody_is_broken() -> None:
    """Its reader takes input: whoever had it held does not want it any more, or never was the reader."""
    held = known(edge(state="held"))
    [broken] = broken_edges(said(), held)
    assert broken.why == f"{INPUT} holds back what it has for {READER}, which takes it"
    for full in ({"paused": "too large"}, {"holds": True}):
        assert broken_edges({READER: said()[READER].model_copy(update=full)}, held) == []


def test_an_edge_being_opened_is_believed() -> None:
    """An edge is believed where it is being opened or its input cannot say."""
    assert broken_edges(said(), known(edge())) == []
    assert broken_edges(said(subscribed=False), known()) == []
    assert broken_edges(said(), {}) == []
    fetching = {INPUT: known()[INPUT].model_copy(update={"state": None})}
    assert broken_edges(said(), fetching) == []
    older = {key: value for key, value in edge().items() if key != "epoch"}
    assert broken_edges(said(), known(older)) == []


def test_readers_of_a_worker_are_of_all_metrics() -> None:
    """The readers of a worker are those of all metrics aggregates and fused workers too."""
    columns = dict.fromkeys(("playerStateChange", "cdnChange", "userAction"), "string")
    source = Source.model_validate({"topic": "playback", "key": "session", "time": "t", "columns": columns})
    on = 'latest_event_to_state(playerStateChange) == "play"'
    one = Metric(name="one", source=source, expression=f"duration_where({on})")
    grouped = Metric(
        name="grouped",
        source=source,
        expression=f"duration_where({on}) | aggregate(group_by(cdnChange), sum)",
    )
    fused = Metric(
        name="fused",
        source=source,
        expression=f'duration_where({on} && !has_existed(userAction == "seek"))',
        fuse=True,
    )
    specs = {spec.worker_id: spec for m in (one, grouped, fused) for spec in all_workers(plan(m))}
    leaf = next(
        w for w, s in specs.items() if s.node.expression == "latest_event_to_state(playerStateChange)"
    )
    readers = readers_of([leaf], specs.values())[leaf]
    assert sorted(specs[reader].node.operator for reader in readers) == ["equal-to", "tl-duration-where"]
    assert any(specs[reader].fused for reader in readers)
    duration = all_workers(plan(one))[-1].worker_id
    cdn = next(w for w, s in specs.items() if s.node.expression == "latest_event_to_state(cdnChange)")
    aggregate = next(w for w, s in specs.items() if s.partition == "all")
    assert readers_of([duration, cdn], specs.values()) == {duration: (aggregate,), cdn: (aggregate,)}


@pytest.mark.integration
async def test_another_metrics_apply_mends_the_edge() -> None:
    """Whoever starts a worker tells the readers of every registered metric; where it was killed before that,
    the next look mends it.
    """
    one = metric("one", 'duration_where(latest_event_to_state(playerStateChange) == "buffer")', partitions=1)
    two = metric("two", 'duration_where(latest_event_to_state(playerStateChange) == "play")', partitions=1)
    events = sessions(keys=4, events_each=15)
    leaf = all_workers(plan(one))[0].worker_id
    async with cluster() as client:
        for each in (one, two):
            await apply(client, each)
        await feed(client, one, events[:30])
        await until_everything_arrived(client, two, events[:30])
        await end_by_hand(client, leaf)
        await apply(client, one)
        await feed(client, one, events[:45])
        for each in (one, two):
            await until_everything_arrived(client, each, events[:45])
            await assert_same_as_in_process(client, each, events[:45])
        await end_by_hand(client, leaf)
        await ensure_workers(client, all_workers(plan(one))[:1], metrics=["one"])  # and tells nobody
        reader = all_workers(plan(two))[1]
        before = {reader.worker_id: await ask_status(client, reader.worker_id)}
        found = broken_edges(before, {leaf: await ask_status(client, leaf)})
        assert await confirmed(client, found) == found != []
        mended = await mend_edges(client, all_workers(plan(two)))
        assert [(edge.reader, edge.input) for edge in mended] == [(reader.worker_id, leaf)]
        while await mend_edges(client, [*all_workers(plan(one)), *all_workers(plan(two))]):
            pass
        await feed(client, one, events)
        for each in (one, two):
            await until_everything_arrived(client, each, events)
            await assert_same_as_in_process(client, each, events)
