"""Metrics as durable workers on a real Temporal server: the same answers as in process, whatever happens."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowQueryFailedError

from tests.workflows.cluster import (
    apply,
    assert_same_as_in_process,
    cluster,
    feed,
    metric,
    result_workers,
    sessions,
    status,
    until_everything_arrived,
    value,
    worked_example,
)
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import all_workers, plan
from workflows.client.start import ensure_workers
from workflows.durable import carry

pytestmark = pytest.mark.integration


COLUMNS = ("playerStateChange", "userAction", "cdnChange")


def declared(metric: Metric) -> Metric:
    """``metric`` with all columns declared: it refuses the events that others of the topic refuse, too."""
    source = {**metric.source.model_dump(), "columns": {name: {"type": "string"} for name in COLUMNS}}
    return metric.model_copy(update={"source": Source.model_validate(source)})


@pytest.mark.parametrize("cached", [1000, 0])
async def test_the_worked_example_gives_its_numbers(cached: int) -> None:
    """The semantics page's example gives 0, 4, 4, 7, 7, also when every task replays the whole history."""
    cirr = metric()
    async with cluster(cached) as client:
        await apply(client, cirr)
        events = worked_example()
        await feed(client, cirr, events, batch=3)
        await until_everything_arrived(client, cirr, events)
        assert [await value(client, cirr, "s1", at) for at in (10, 14, 19, 22, 45)] == [0, 4, 4, 7, 7]


@pytest.mark.parametrize(("cached", "after"), [(1000, None), (1000, 2), (0, 3)])
async def test_answers_are_those_of_evaluation_in_process(cached: int, after: int | None) -> None:
    """Sessions out of order in many batches: every answer is right, also when workers keep continuing as
    new.
    """
    cirr = metric()
    events = sessions(keys=6, events_each=20)
    async with cluster(cached) as client:
        await apply(client, cirr, continue_as_new_after=after)
        await feed(client, cirr, events, batch=10)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)
        runs = [(await status(client, spec.worker_id))["runs"] for spec in all_workers(plan(cirr))]
        assert (sum(runs) > 0) == (after is not None)


async def test_repeated_batches_change_nothing() -> None:
    """A feeder that sends everything twice, as after a crash, gives the same answers."""
    cirr = metric()
    events = sessions(keys=4, events_each=20)
    async with cluster() as client:
        await apply(client, cirr, continue_as_new_after=3)
        await feed(client, cirr, events, batch=15)
        await feed(client, cirr, events, batch=15)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)


async def test_large_state_goes_through_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """State that does not fit a run's input is left in the history of the run that ends, and found by the
    next.
    """
    monkeypatch.setattr(carry, "INLINE_STATE_BYTES", 0)
    monkeypatch.setattr(carry, "STATE_PART_BYTES", 512)
    cirr = metric(partitions=1)
    events = sessions(keys=6, events_each=30)
    async with cluster() as client:
        await apply(client, cirr, continue_as_new_after=4)
        await feed(client, cirr, events, batch=10)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)
        leaves = [spec.worker_id for spec in all_workers(plan(cirr)) if spec.node.is_leaf]
        assert min([(await status(client, leaf))["runs"] for leaf in leaves]) > 0


async def test_applying_twice_starts_nothing_new() -> None:
    """The second time every worker runs already, and keeps its run."""
    cirr = metric()
    async with cluster() as client:
        first = await apply(client, cirr)
        handle = client.get_workflow_handle(first.result_workers[0].worker_id)
        run = (await handle.describe()).run_id
        second = await apply(client, cirr)
        assert (first.outcome, first.started, first.existing) == ("new", len(all_workers(plan(cirr))), 0)
        assert (second.outcome, second.started, second.existing) == ("unchanged", 0, first.started)
        assert (await handle.describe()).run_id == run


async def test_a_later_metric_gets_the_history_of_shared_workers() -> None:
    """A metric applied after the events runs no second worker for what is shared, and answers for all that
    was before.
    """
    cirr = declared(metric())
    expression = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'
    playing = declared(metric("buffering", expression))
    events = sessions(keys=5, events_each=20)
    async with cluster() as client:
        await apply(client, cirr)
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        later = await apply(client, playing)
        shared = {s.worker_id for s in all_workers(plan(cirr))} & {
            s.worker_id for s in all_workers(plan(playing))
        }
        assert later.existing == len(shared) == 4
        assert later.started == len(all_workers(plan(playing))) - len(shared)
        await until_everything_arrived(client, playing, events)
        await assert_same_as_in_process(client, playing, events)
        for worker in shared:
            assert (await status(client, worker))["metrics"] == ["buffering", "cirr"]
        assert later.beginning == ()


async def test_leaves_that_begin_beside_older_ones_are_named() -> None:
    """A metric that shares one leaf and brings a new one says which of its leaves know nothing of before."""
    shared = 'latest_event_to_state(playerStateChange) == "buffer"'
    both = declared(metric("both", f'{shared} && has_existed(userAction == "seek")'))
    async with cluster() as client:
        assert (await apply(client, declared(metric("one", shared)))).beginning == ()
        result = await apply(client, both)
    new = {w.worker_id for w in result.event_processor_workers if w.operator == "tl-has-existed"}
    assert set(result.beginning) == new
    assert len(new) == 2


async def test_an_aggregate_hears_every_partition() -> None:
    """An aggregate's one worker subscribes to all partitions and counts the keys of all."""
    total = metric(
        "buffering-by-cdn",
        'latest_event_to_state(playerStateChange) == "buffer" | aggregate(group_by(cdnChange), count)',
        partitions=3,
    )
    events = sessions(keys=9, events_each=12)
    async with cluster() as client:
        result = await apply(client, total)
        assert [w.partition for w in result.result_workers] == ["all"]
        await feed(client, total, events)
        await until_everything_arrived(client, total, events)
        handle = client.get_workflow_handle(result.result_workers[0].worker_id)
        groups = (await handle.query("keys", {}))["keys"]
        counts = [(await handle.query("value_at", {"key": g, "at": 700}))["value"] for g in groups]
        assert sum(counts) == 9


async def test_a_lost_worker_is_restarted() -> None:
    """Terminated workers come back by applying again; their neighbours subscribe anew, and replayed events
    repair all.
    """
    cirr = metric(partitions=1)
    events = sessions(keys=4, events_each=15)
    specs = all_workers(plan(cirr))
    leaf, inner = specs[0], next(s for s in specs if s.inputs and s.node.name != plan(cirr).result.name)
    async with cluster() as client:
        await apply(client, cirr)
        await feed(client, cirr, events[:30])
        await until_everything_arrived(client, cirr, events[:30])
        for lost in (leaf, inner):
            await client.get_workflow_handle(lost.worker_id).terminate()
        again = await apply(client, cirr)
        assert again.started == 2
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)


async def test_an_edge_to_a_lost_subscriber_is_closed() -> None:
    """A worker whose subscriber was terminated goes on, and its status names the edge and why."""
    cirr = metric(partitions=1)
    result = result_workers(cirr)[0]
    child = next(s for s in all_workers(plan(cirr)) if s.worker_id == result).inputs[0][0]
    events = sessions(keys=2, events_each=20)
    async with cluster() as client:
        await apply(client, cirr)
        await client.get_workflow_handle(result).terminate()
        await feed(client, cirr, events)
        while (edges := (await status(client, child))["edges"])[0]["state"] != "gone":
            assert edges[0]["subscriber"] == result
        assert f"{result} is not running" in edges[0]["last_error"]
        started = await ensure_workers(client, all_workers(plan(cirr)), metrics=["cirr"])
        assert started.started == (result,)
        await until_everything_arrived(client, cirr, events)
        await assert_same_as_in_process(client, cirr, events)


async def test_an_unreadable_payload_is_refused_and_shown() -> None:
    """Bytes that are no batch are counted and shown; the batches around them are applied."""
    cirr = metric(partitions=1)
    events = worked_example()
    leaf = all_workers(plan(cirr))[0].worker_id
    async with cluster() as client:
        await apply(client, cirr)
        await client.get_workflow_handle(leaf).signal("ingest", b"no batch")
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        assert await value(client, cirr, "s1", 45) == 7
        shown = await status(client, leaf)
        assert shown["refused"] == 1
        assert shown["last_refusal"].startswith("ingest of 8 bytes: ")


async def test_questions_that_have_no_answer_say_why() -> None:
    """An unknown key and a malformed question fail with a message that names them, and harm nothing."""
    cirr = metric(partitions=1)
    async with cluster() as client:
        await apply(client, cirr)
        events = worked_example("session-1")
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        handle = client.get_workflow_handle(result_workers(cirr)[0])
        with pytest.raises(WorkflowQueryFailedError, match="session-2"):
            await handle.query("value_at", {"key": "session-2", "at": 1})
        with pytest.raises(WorkflowQueryFailedError, match="at is missing"):
            await handle.query("value_at", {"key": "session-1"})
        assert await value(client, cirr, "session-1", 22) == 7


async def test_workers_can_be_found_and_read_in_temporal() -> None:
    """Search attributes name the metric, node, operator and partition; the memo and the summary hold the
    expression.
    """
    cirr = metric(partitions=2)
    async with cluster() as client:
        result = await apply(client, cirr)
        worker = result.result_workers[1]
        description = await client.get_workflow_handle(worker.worker_id).describe()
        attributes = {pair.key.name: pair.value for pair in description.typed_search_attributes}
        assert attributes["TimelineMetric"] == ["cirr"]
        assert attributes["TimelineNode"] == worker.node
        assert attributes["TimelineOperator"] == worker.operator
        assert attributes["TimelinePartition"] == "p1"
        memo = await description.memo()
        assert (memo["expression"], memo["topic"]) == (worker.expression, "playback")
        assert (await description.static_summary() or "").startswith("duration_where(")
