"""Signals and updates that no part of ours sends: they change nothing, and stop nobody."""

from __future__ import annotations

import random
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.chaos.faults import SIGNALS, forge
from tests.workflows.cluster import (
    apply,
    cluster,
    feed,
    metric,
    result_workers,
    status,
    until_everything_arrived,
    value,
    worked_example,
)
from timeline_workers.plan.physical import all_workers, plan
from workflows.client import ask
from workflows.messages import CATALOG_ID

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("arguments", [[], [b"one", b"more"], [1, 2, 3]], ids=["none", "two", "three"])
async def test_a_signal_with_wrong_arguments_is_dropped(arguments: list[Any]) -> None:
    """By every kind of workflow: none of them fails its task over it."""
    cirr = metric(partitions=1)
    events = worked_example()
    async with cluster() as client:
        await apply(client, cirr)
        for workflow in [CATALOG_ID, *(spec.worker_id for spec in all_workers(plan(cirr)))]:
            for signal in SIGNALS:
                await client.get_workflow_handle(workflow).signal(signal, args=arguments)
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        assert await value(client, cirr, "s1", 45) == 7
        assert [entry.metric for entry in await ask.registered(client)] == [cirr]
        for worker in result_workers(cirr):
            assert (await status(client, worker))["refused"] == 0


@pytest.mark.parametrize("arguments", [[b"garbage"], [None], [], [1, 2, 3]], ids=repr)
async def test_an_update_with_wrong_arguments_is_refused(arguments: list[Any]) -> None:
    """By the catalog, whose next update is taken."""
    cirr = metric(partitions=1)
    async with cluster() as client:
        await apply(client, cirr)
        catalog = client.get_workflow_handle(CATALOG_ID)
        for update in ("register", "remove", "register_source", "remove_source", "confirm"):
            with pytest.raises(WorkflowUpdateFailedError):
                await catalog.execute_update(update, args=arguments)
        await ask.delete(client, cirr.name)
        assert await ask.registered(client) == []


async def test_garbage_in_every_signal_changes_no_answer() -> None:
    """What can be decoded and is no payload is refused and counted."""
    cirr = metric(partitions=1)
    events = worked_example()
    async with cluster() as client:
        await apply(client, cirr)
        for spec in all_workers(plan(cirr)):
            await forge(client, spec.worker_id, random.Random(spec.worker_id))
        await feed(client, cirr, events)
        await until_everything_arrived(client, cirr, events)
        assert await value(client, cirr, "s1", 45) == 7
