"""A message of an edge that cannot be read is not lost: the edge begins anew."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from tests.workflows.cluster import (
    apply,
    assert_same_as_in_process,
    cluster,
    feed,
    metric,
    status,
    until_everything_arrived,
    worked_example,
)
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.wire.encoding import pack
from workflows.client import worker_health
from workflows.worker_status import WorkerStatus

pytestmark = pytest.mark.integration

UNREADABLE = 6  # twice as many as begin a new epoch


async def subscriptions(client: Client, worker: str) -> int:
    """How often somebody has opened an edge from this worker in its current run."""
    history = await client.get_workflow_handle(worker).fetch_history()
    signals = [event.workflow_execution_signaled_event_attributes.signal_name for event in history.events]
    return signals.count("subscribe")


async def test_an_unreadable_message_begins_a_new_epoch() -> None:
    """The receiver refuses it, counts it, and subscribes again, three times in a run at most; its answers are
    right afterwards.
    """
    buffering = metric("b", 'latest_event_to_state(playerStateChange) == "buffer"', 1)
    leaf, parent = [spec.worker_id for spec in all_workers(plan(buffering))]
    events = worked_example()
    async with cluster() as client:
        await apply(client, buffering)
        for sent in range(1, UNREADABLE + 1):
            message = pack({"from": leaf, "epoch": "of a later release"})
            await client.get_workflow_handle(parent).signal("receive", message)
            assert (await status(client, parent))["refused"] == sent
            while not (await status(client, parent))["ready"]:
                pass  # each look is a question to the worker; the loop ends by what it sees
            assert await subscriptions(client, leaf) == 1 + min(sent, 3)
        await feed(client, buffering, events)
        await until_everything_arrived(client, buffering, events)
        await assert_same_as_in_process(client, buffering, events)
        last = await status(client, parent)
        assert last["refused"] == UNREADABLE
        assert worker_health.judge(WorkerStatus.model_validate(last)) == ("ok", None), (
            "what was refused has been sent again"
        )


async def test_a_leaf_fails_until_a_readable_batch() -> None:
    """The count stays."""
    leaf_only = metric("l", "latest_event_to_state(playerStateChange)", 1)
    [leaf] = all_workers(plan(leaf_only))
    async with cluster() as client:
        await apply(client, leaf_only)
        await client.get_workflow_handle(leaf.worker_id).signal("ingest", b"nonsense")
        assert (
            worker_health.judge(WorkerStatus.model_validate(await status(client, leaf.worker_id)))[0]
            == "failing"
        )
        await feed(client, leaf_only, worked_example())
        await until_everything_arrived(client, leaf_only, worked_example())
        last = await status(client, leaf.worker_id)
        assert last["refused"] == 1
        assert worker_health.judge(WorkerStatus.model_validate(last)) == ("ok", None)
