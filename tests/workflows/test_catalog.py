"""The catalog: which metrics there are, and which workers nobody needs any more."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from feeder.metric_catalog import Catalog
from tests.workflows.cluster import CIRR, TASK_QUEUE, apply, cluster, metric, status
from timeline_workers.cli.overview_command import overview
from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError, ExpressionError, MetricError, UnknownNameError
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.physical import all_workers, partition_of, plan, workers
from workflows.catalog.catalog_client import call_catalog
from workflows.catalog.entries import read_entries
from workflows.client import ask
from workflows.client.start import ensure_workers
from workflows.messages import CATALOG_ID, CatalogEntry, CatalogState, DriverInput, RegisterResult

pytestmark = pytest.mark.integration

BUFFERING = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'


def ids(expression: str, name: str = "any") -> set[str]:
    return {spec.worker_id for spec in all_workers(plan(metric(name, expression)))}


async def runs(client: Client, worker: str) -> bool:
    return (await client.get_workflow_handle(worker).describe()).status is WorkflowExecutionStatus.RUNNING


async def test_removing_a_metric_ends_what_only_it_needed() -> None:
    """Shared workers stay and forget the metric's name; the others have ended when the call returns."""
    cirr, buffering = metric(), metric("buffering", BUFFERING)
    async with cluster() as client:
        await apply(client, cirr)
        await apply(client, buffering)
        removed = await ask.delete(client, "cirr")
        shared = ids(cirr.expression) & ids(BUFFERING)
        assert set(removed.kept) == shared
        assert set(removed.stopped) == ids(cirr.expression) - shared
        assert not any([await runs(client, worker) for worker in removed.stopped])
        for worker in shared:
            shown = await status(client, worker)
            assert shown["metrics"] == ["buffering"]
            assert {edge["subscriber"] for edge in shown["edges"]} <= ids(BUFFERING)
        assert [entry.metric.name for entry in await ask.registered(client)] == ["buffering"]


async def test_another_definition_of_a_name_replaces_it() -> None:
    """The old definition's workers end, what both need keeps running, and the result says so."""
    old, new = metric("m", BUFFERING), metric("m", BUFFERING.replace("buffer", "pause"))
    async with cluster() as client:
        await apply(client, old)
        replaced = await apply(client, new)
        assert replaced.outcome == "replaced"
        assert set(replaced.stopped) == ids(old.expression) - ids(new.expression)
        assert replaced.existing == len(ids(old.expression) & ids(new.expression)) == 2
        assert (await ask.find_metric(client, "m")).expression == new.expression


async def test_the_routing_version_grows_with_changes_only() -> None:
    """The same version means the same metrics, so that a feeder sees at a glance whether anything is new."""
    async with cluster() as client:

        async def routing() -> CatalogState:
            state: CatalogState = await client.get_workflow_handle(CATALOG_ID).query(
                "routing", result_type=CatalogState
            )
            return state

        await apply(client, metric())
        first = await routing()
        await apply(client, metric())
        assert await routing() == first
        await apply(client, metric("buffering", BUFFERING))
        second = await routing()
        assert second.version > first.version
        assert [entry.metric.name for entry in second.entries] == ["buffering", "cirr"]
        await ask.delete(client, "buffering")
        assert (await routing()).version > second.version


async def test_mistakes_are_refused_by_name() -> None:
    """A wrong expression and an unknown metric are refused, also by the workflows themselves; nothing is
    registered.
    """
    wrong = metric("wrong", "duration_were(latest_event_to_state(a) == 1)")
    async with cluster() as client:
        with pytest.raises(ExpressionError, match="duration_where"):
            await ask.apply(client, wrong)
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(
                "TimelineDriver", DriverInput(metric=wrong), id="driver", task_queue=TASK_QUEUE
            )
        assert isinstance(failed.value.cause, ApplicationError)
        assert "duration_where" in str(failed.value.cause)
        assert await ask.registered(client) == []
        await apply(client, metric("buffering", BUFFERING))
        with pytest.raises(UnknownNameError, match="did you mean 'buffering'"):
            await ask.delete(client, "bufering")
        with pytest.raises(UnknownNameError, match="did you mean 'buffering'"):
            await ask.find_metric(client, "bufering")


async def test_the_catalog_itself_refuses_what_cannot_be_planned() -> None:
    """Whoever sends it the update: nothing is registered, and the update fails with the mistake."""
    wrong = metric("wrong", "duration_were(latest_event_to_state(a) == 1)")
    large = metric("large", BUFFERING).model_copy(update={"description": "x" * 10_000})
    async with cluster() as client:
        await apply(client, metric("buffering", BUFFERING))
        for one, said in ((wrong, "duration_where"), (large, "description")):
            with pytest.raises(ApplicationError, match=said):
                await call_catalog(client, "register", one, RegisterResult)
        assert [entry.metric.name for entry in await ask.registered(client)] == ["buffering"]


async def test_an_output_that_its_reader_cannot_read_is_refused() -> None:
    """The metric that reads was applied before it; once it says which function, the output may be there."""

    def longest(changelog: str | bool) -> Metric:
        source = Source.model_validate({"topic": "load-changes", "changelog": changelog})
        return Metric(name="longest", source=source, expression="changelog(numeric)")

    load = metric("load", f"{BUFFERING} | aggregate(group_by(cdnChange), count, max)").model_copy(
        update={"output": Output(topic="load-changes")}
    )
    async with cluster() as client:
        await ask.apply(client, longest(True))
        with pytest.raises(MetricError, match="In 'longest' write one of them, such as 'changelog: count'"):
            await ask.apply(client, load)
        assert [entry.metric.name for entry in await ask.registered(client)] == ["longest"]
        await ask.apply(client, longest("max"))
        await ask.apply(client, load)
        with pytest.raises(MetricError, match="has count, max of the aggregate of metric 'load'"):
            await ask.apply(client, longest(True))
        assert [entry.metric.name for entry in await ask.registered(client)] == ["load", "longest"]
        assert (await ask.find_metric(client, "longest")).source.changelog == "max"


async def test_an_entry_that_cannot_be_used_hides_no_other() -> None:
    """One that cannot be planned, as an earlier release may have let in, is a row of its own with the reason;
    the others are fed, asked, replaced and removed as ever, and so it can be.
    """
    good, other = metric("good", BUFFERING), metric("other", CIRR.replace("buffer", "pause"))
    wrong = metric("wrong", "duration_were(latest_event_to_state(a) == 1)")
    entries = (CatalogEntry(metric=wrong, generation=1),)
    state = CatalogState(version=1, entries=entries)
    async with cluster() as client:
        await client.start_workflow("MetricCatalog", state, id=CATALOG_ID, task_queue=TASK_QUEUE)
        await apply(client, good)
        await apply(client, other)
        rows, nobody = await overview(TimelineClient(client))
        assert nobody is None
        assert [(row["metric"], row["state"]) for row in rows] == [
            ("good", "ok"),
            ("other", "ok"),
            ("wrong", "failing"),
        ]
        assert "metric 'wrong' cannot be planned" in rows[2]["cause"]
        assert "no function `duration_were`" in rows[2]["cause"]
        with pytest.raises(MetricError, match="metric 'wrong' cannot be planned"):
            await ask.find_metric(client, "wrong")
        feeds = Catalog(client)
        assert await feeds.refresh()
        assert feeds.metrics == ("good", "other")
        replaced = await apply(client, metric("other", BUFFERING))
        assert replaced.outcome == "replaced"
        assert replaced.stopped
        assert (await ask.delete(client, "wrong")).stopped == ()
        assert [row["metric"] for row in (await overview(TimelineClient(client)))[0]] == ["good", "other"]


def test_an_entry_of_a_later_release_is_named() -> None:
    """An entry of a later release is named with the reason."""
    good = CatalogEntry(metric=metric("good", BUFFERING), generation=1).model_dump(mode="json")
    later = CatalogEntry(metric=metric("later", BUFFERING), generation=2).model_dump(mode="json")
    later["metric"]["flux"] = 1
    entries, unusable = read_entries([later, good, {"generation": 3}])
    assert [entry.metric.name for entry in entries] == ["good"]
    assert [one.name for one in unusable] == ["later", "?"]
    assert "metric.flux" in unusable[0].reason


async def test_metrics_applied_at_once_all_run() -> None:
    """Several metrics applied and removed at the same time end as if one after the other."""
    names = [f"m{i}" for i in range(4)]
    async with cluster() as client:
        await asyncio.gather(*(apply(client, metric(name, BUFFERING)) for name in names))
        removed = await asyncio.gather(*(ask.delete(client, name) for name in names[1:]))
        assert not any(result.stopped for result in removed)
        assert all([await runs(client, worker) for worker in ids(BUFFERING)])
        last = await ask.delete(client, names[0])
        assert set(last.stopped) == ids(BUFFERING)


async def test_a_metric_removed_and_applied_again_starts_afresh() -> None:
    """Workers that were ended are started again, without what they knew."""
    buffering = metric("buffering", BUFFERING)
    async with cluster() as client:
        await apply(client, buffering)
        await ask.delete(client, "buffering")
        again = await apply(client, buffering)
        assert (again.outcome, again.started) == ("new", len(ids(BUFFERING)))


async def test_per_key_metrics_run_until_removed() -> None:
    """The driver starts nothing, the feeder's call starts a key's tree once, and removing the metric ends
    it.
    """
    buffering = metric("buffering", BUFFERING, partitions="per-key")
    tree = workers(plan(buffering), partition_of("s1", buffering.source))
    async with cluster() as client:
        result = await apply(client, buffering)
        assert (result.started, result.result_workers) == (0, ())
        assert "<per-key>" in result.text
        first = await ensure_workers(client, tree, metrics=["buffering"])
        second = await ensure_workers(client, tree, metrics=["buffering"])
        assert set(first.started) == set(second.existing) == {spec.worker_id for spec in tree}
        while set(await ask.running_workers(client, plan(buffering))) != set(first.started):
            await asyncio.sleep(0.05)  # visibility follows; the loop ends by what it sees
        removed = await ask.delete(client, "buffering")
        assert set(removed.stopped) == set(first.started)


async def test_without_a_worker_process_applying_says_so() -> None:
    """When nobody works, applying gives up in time with the command that starts a worker."""
    from datetime import timedelta

    from tests.workflows.cluster import dev_server

    async with dev_server() as client:
        with pytest.raises(ConnectionFailedError, match="timeline worker"):
            await ask.apply(client, metric(), timeout=timedelta(seconds=1))


def test_unknown_nodes_are_answered_with_the_nearest() -> None:
    """A node is found by name, by the start of it and by its expression; otherwise the nearest name is
    given.
    """
    planned = plan(metric())
    assert ask.find_node(planned, None) == planned.result
    assert ask.find_node(planned, "tl-duration-where") == planned.result
    assert ask.find_node(planned, planned.result.expression.replace(" ", "")) == planned.result
    with pytest.raises(UnknownNameError, match="did you mean 'tl-duration-where"):
        ask.find_node(planned, "tl-duration-were")
    with pytest.raises(MetricError):
        ask.refuse(ApplicationError("x", type="ExpressionError"))
