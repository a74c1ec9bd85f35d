"""A metric with `fuse: true` on a real Temporal server: one worker for all derived nodes of a partition, and
every node asked by name gives the answers that it gives in a worker of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

import timeline_workers
from tests.oracle.events import Event
from tests.workflows.cluster import (
    SECOND,
    apply,
    cluster,
    feed,
    leaf_payloads,
    metric,
    sessions,
    status,
    until_everything_arrived,
    worked_example,
)
from tests.workflows.test_archive import Feed, bounded, example, runs_of, temporal_query
from tests.workflows.test_replay import replayer
from timeline_workers.errors import QuestionError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import (
    Plan,
    all_workers,
    host,
    inner_nodes,
    partition_of,
    plan,
    worker_id,
    worker_name,
    workers,
)
from workflows.client import ask
from workflows.client.start import ensure_workers, wait_until_ready
from workflows.durable import carry

pytestmark = pytest.mark.integration

INSTANTS = [at * SECOND for at in range(0, 620, 62)]


def fused(applied: Metric, name: str | None = None) -> Metric:
    return applied.model_copy(update={"fuse": True, "name": name or applied.name})


def hosts(planned: Plan) -> list[str]:
    return [spec.worker_id for spec in all_workers(planned) if spec.fused]


async def assert_every_node_right(client: Client, applied: Metric, events: Sequence[Event]) -> None:
    """Of every node and key, values, spans and changes are what evaluation in process says."""
    rows = [{"session": e.key, "t": e.time, **e.columns} for e in events]
    planned = plan(applied)
    every = {"start": 100 * SECOND, "end": 300 * SECOND, "every": "50s", "unit": "us"}
    for node in planned.nodes:
        right = timeline_workers.evaluate(node.expression, rows, key="session", time="t", time_unit="us")
        values = [
            a async for a in ask.ask(client, planned, node, "value_at", [{"at": INSTANTS, "unit": "us"}])
        ]
        assert len(values) == len(INSTANTS) * len({e.key for e in events})
        for answer in values:
            expected = right.value_at(answer["key"], answer["at"]).model_dump()
            assert {**answer, "final": None} == {**expected, "final": None}
        async for answer in ask.ask(client, planned, node, "change", [every]):
            expected = right.change(answer["key"], answer["start"], answer["end"]).model_dump()
            assert {name: answer[name] for name in expected} == expected


@pytest.mark.parametrize(("cached", "after"), [(1000, None), (1000, 2), (0, 3)])
async def test_every_node_is_right_and_all_of_it_replays(cached: int, after: int | None) -> None:
    """Events out of order and twice, runs that end again and again: two workers hold all derived nodes."""
    cirr = fused(metric())
    events = sessions(keys=5, events_each=16)
    async with cluster(cached) as client:
        applied = await apply(client, cirr, continue_as_new_after=after)
        assert [w.worker_id for w in applied.result_workers] == hosts(plan(cirr))
        assert applied.started == len(all_workers(plan(cirr))) == 2 * (4 + 1)
        await feed(client, cirr, events, batch=10)
        await feed(client, cirr, events[:30], batch=15)
        await until_everything_arrived(client, cirr, events)
        await assert_every_node_right(client, cirr, events)
        for worker in hosts(plan(cirr)):
            now = await status(client, worker)
            assert (now["runs"] > 0) == (after is not None)
            assert list(now["state"]["nodes"]) == [n.name for n in plan(cirr).nodes if not n.is_leaf]
            async for run in runs_of(client, worker):
                history = await client.get_workflow_handle(worker, run_id=run).fetch_history()
                await replayer().replay_workflow(history)


async def test_large_state_goes_through_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of any worker: kept in the history of the run that ends, and found by the next."""
    monkeypatch.setattr(carry, "INLINE_STATE_BYTES", 0)
    monkeypatch.setattr(carry, "STATE_PART_BYTES", 512)
    cirr = fused(metric(partitions=1))
    events = sessions(keys=5, events_each=20)
    async with cluster() as client:
        await apply(client, cirr, continue_as_new_after=4)
        await feed(client, cirr, events, batch=10)
        await until_everything_arrived(client, cirr, events)
        await assert_every_node_right(client, cirr, events)
        (worker,) = hosts(plan(cirr))
        assert (await status(client, worker))["runs"] > 0


async def test_temporals_command_line_asks_an_inner_node() -> None:
    """The question to the worker names the node; one that it does not compute is refused by name."""
    cirr = fused(metric(partitions=1))
    events = worked_example()
    async with cluster() as client:
        await apply(client, cirr)
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        (worker,) = hosts(plan(cirr))
        assert (await temporal_query(client, worker, {"key": "s1", "at": 22}))["value"] == 7
        node = ask.find_node(plan(cirr), 'latest_event_to_state(cdnChange) == "CDN1"')
        answer = await temporal_query(client, worker, {"key": "s1", "at": 14, "node": node.name})
        assert (answer["value"], answer["since"], answer["until"]) == (True, 1, 30)
        with pytest.raises(QuestionError, match=f"worker {worker} has no node 'nothing'"):
            await ask.ask_worker(client, worker, "value_at", {"key": "s1", "at": 1, "node": "nothing"})


async def test_fused_and_unfused_side_by_side() -> None:
    """Two metrics of one expression share their leaves only; a metric that gains or loses `fuse` knows the
    past; what nobody needs any more ends, and nothing else."""
    apart, together = metric("apart"), fused(metric("together"))
    by_cdn = fused(metric("by-cdn", f"{apart.expression} | aggregate(group_by(cdnChange), count, sum)"))
    events = sessions(keys=5, events_each=16)
    leaves = {s.worker_id for s in all_workers(plan(apart)) if s.node.is_leaf}
    async with cluster() as client:
        await apply(client, apart)
        await feed(client, apart, events[:40], batch=10)
        await until_everything_arrived(client, apart, events[:40])
        later = await apply(client, together)
        assert (later.started, later.existing) == (2, len(leaves))
        # The same host, with an aggregate above it.
        assert (await apply(client, by_cdn)).started == 1
        await feed(client, apart, events[40:60], batch=10)
        for applied in (apart, together, by_cdn):
            await until_everything_arrived(client, applied, events[:60])
        for applied in (apart, together):
            await assert_every_node_right(client, applied, events[:60])

        turned = await apply(client, fused(apart))
        assert (turned.outcome, turned.started) == ("replaced", 0)
        assert set(turned.stopped) == {s.worker_id for s in all_workers(plan(apart)) if not s.node.is_leaf}
        back = await apply(client, together.model_copy(update={"fuse": False}))
        assert (back.outcome, back.started, back.stopped) == ("replaced", 2 * 7, ())
        await feed(client, apart, events[60:], batch=10)
        for applied in (fused(apart), metric("together"), by_cdn):
            await until_everything_arrived(client, applied, events)
        for applied in (fused(apart), metric("together")):
            await assert_every_node_right(client, applied, events)

        removed = await ask.delete(client, "together")
        assert set(removed.kept) == leaves
        await ask.delete(client, "apart")
        await assert_every_node_right(client, fused(apart), events)  # by-cdn still needs the host
        gone = await ask.delete(client, "by-cdn")
        assert set(gone.stopped) == {*leaves, *hosts(plan(together)), f"{plan(by_cdn).result.name}.all"}
        for worker in gone.stopped:
            described = await client.get_workflow_handle(worker).describe()
            assert described.status is WorkflowExecutionStatus.COMPLETED


async def test_keys_that_left_are_answered_for_at_every_node() -> None:
    """By one archive for all nodes, which says what is final as the worker would; an event brings them
    back."""
    applied = bounded(fuse=True)
    async with cluster() as client:
        await ask.apply(client, applied, continue_as_new_after=2)
        fed = Feed(client, applied)
        await fed(*example("s1"), watermark=45)
        await fed.until_everywhere(archived=1)
        planned = plan(applied)
        (worker,) = hosts(planned)
        assert (await status(client, worker))["archives"] == 1
        await assert_every_node_right(client, applied, fed.events)
        node = inner_nodes(planned)[0]
        answers = ask.ask(client, planned, node, "value_at", [{"at": 45}], keys=["s1"])
        assert [answer["final"] async for answer in answers] == [True]
        with pytest.raises(QuestionError, match="no key 's2'"):
            await anext(ask.ask(client, planned, node, "value_at", [{"at": 45}], keys=["s2"]))
        mark = fed.events[-1].time / SECOND + 3_000
        await fed(("s1", mark, "playerStateChange", "buffer"), watermark=mark)
        assert (await status(client, worker))["archived_keys"] == 0
        await assert_every_node_right(client, applied, fed.events)


async def test_a_tree_per_key_ends_with_its_metric() -> None:
    """With `partitions: per-key` each key has a worker for all its derived nodes, found by name."""
    own = fused(metric("own", partitions="per-key"))
    async with cluster() as client:
        await apply(client, own)
        events = worked_example()
        specs = workers(plan(own), partition_of("s1", own.source))
        await ensure_workers(client, specs, metrics=["own"])
        await wait_until_ready(client, [spec.worker_id for spec in specs])
        shared = metric("own")  # what leaves are sent does not depend on how keys are spread
        payloads = [
            (next(s.worker_id for s in specs if s.node.expression == spec.node.expression), payload)
            for spec, payload in leaf_payloads(shared, events)
            if spec.partition == partition_of("s1", shared.source)
        ]
        for worker, payload in payloads:
            await client.get_workflow_handle(worker).signal("ingest", payload)
        top = host(plan(own))
        assert top is not None
        worker = worker_id(worker_name(plan(own), top), partition_of("s1", own.source))
        while not (await status(client, worker))["state"]["progress"]:
            continue
        await assert_every_node_right(client, own, events)

        # A key whose leaves run gets its new tree at once, for the feeder starts one only with a leaf.
        apart = metric("own", partitions="per-key")
        assert (await apply(client, apart)).started == sum(not n.is_leaf for n in plan(apart).nodes)
        worker = worker_id(plan(apart).result.name, partition_of("s1", own.source))
        await wait_until_ready(client, [worker])
        while not (await status(client, worker))["state"]["progress"]:
            continue
        await assert_every_node_right(client, apart, events)
        gone = await ask.delete(client, "own")
        assert set(gone.stopped) == {s.worker_id for s in workers(plan(apart), specs[0].partition)}
