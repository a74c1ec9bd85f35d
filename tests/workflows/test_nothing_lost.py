"""Signals that arrive while a run ends are in the next one, whichever attempt of the last task ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import (
    ContinueAsNewInput,
    Interceptor,
    Replayer,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from tests.workflows.cluster import apply, cluster, leaf_payloads, metric, worked_example
from timeline_workers.servers.temporal.temporal_client import DATA_CONVERTER
from workflows.durable.inbox import unpack
from workflows.worker import WORKFLOWS, sandbox

pytestmark = pytest.mark.integration

CARRIED: list[Sequence[Any]] = []


class _Watch(Interceptor):
    """Remembers what runs that are replayed hand over."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        CARRIED.append(input.args)
        super().continue_as_new(input)


async def run_that_ended(client: Client, worker: str) -> list[HistoryEvent]:
    """The history of the first run of ``worker``, once it has continued as new."""
    first = (await client.get_workflow_handle(worker).describe()).run_id
    await client.get_workflow_handle(worker).signal("continue_as_new")
    while (await client.get_workflow_handle(worker).describe()).run_id == first:
        await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
    history = await client.get_workflow_handle(worker, run_id=first).fetch_history()
    return list(history.events)


def with_a_signal_that_came_late(events: list[HistoryEvent]) -> list[HistoryEvent]:
    """``events`` as they would be had a signal arrived while the last workflow task was under way: that task
    is refused, and the next one knows of the signal.
    """
    last = max(
        i for i, e in enumerate(events) if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    )
    signal = HistoryEvent()
    signal.CopyFrom(next(e for e in events if _name(e) == "ingest"))
    refused = []
    for kind in ("scheduled", "started", "failed"):
        event = HistoryEvent(event_type=getattr(EventType, f"EVENT_TYPE_WORKFLOW_TASK_{kind.upper()}"))
        event.event_time.CopyFrom(events[last].event_time)
        getattr(event, f"workflow_task_{kind}_event_attributes").SetInParent()
        refused.append(event)
    made = [*events[:last], *refused, signal, *events[last:]]
    shift = len(refused) + 1
    for event in made[last + shift :]:
        for kind in ("started", "completed"):
            field: Any = f"workflow_task_{kind}_event_attributes"
            attributes = getattr(event, field)
            if event.HasField(field):
                attributes.scheduled_event_id += shift
                if kind == "completed":
                    attributes.started_event_id += shift
        if event.HasField("workflow_execution_continued_as_new_event_attributes"):
            ended = event.workflow_execution_continued_as_new_event_attributes
            ended.workflow_task_completed_event_id += shift
    refused[1].workflow_task_started_event_attributes.scheduled_event_id = last + 1
    refused[2].workflow_task_failed_event_attributes.scheduled_event_id = last + 1
    refused[2].workflow_task_failed_event_attributes.started_event_id = last + 2
    for number, event in enumerate(made, 1):
        event.event_id = number
    return made


def _name(event: HistoryEvent) -> str:
    return event.workflow_execution_signaled_event_attributes.signal_name


async def test_a_signal_at_the_end_travels_on() -> None:
    """The server refuses the end of a run when a signal has come meanwhile; the next attempt, which goes
    through the history again, hands the signal over.
    """
    applied = metric(partitions=1)
    async with cluster() as client:
        await apply(client, applied)
        [(spec, payload), *_] = leaf_payloads(applied, worked_example())
        await client.get_workflow_handle(spec.worker_id).signal("ingest", payload)
        events = await run_that_ended(client, spec.worker_id)
    CARRIED.clear()
    made = WorkflowHistory(spec.worker_id, with_a_signal_that_came_late(events))
    runner = sandbox()
    passed = runner.restrictions.with_passthrough_modules("tests")
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=DATA_CONVERTER,
        workflow_runner=type(runner)(restrictions=passed),
        interceptors=[_Watch()],
    )
    await replayer.replay_workflow(made)
    [(_, carried)] = CARRIED
    assert unpack(carried)[-1] == ("ingest", payload)
