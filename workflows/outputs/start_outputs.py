"""Starting the workers of outputs, as ``client.start`` does those of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.plan.history_workers import HistorySpec, history_workers
from timeline_workers.plan.output_workers import OutputSpec, output_workers
from timeline_workers.plan.physical import Plan
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.timeline_settings import Settings
from workflows import search_attributes
from workflows.messages import HistoryInput, OutputInput, SubscriberInput
from workflows.registry import HISTORY_OUTPUT, TOPIC_OUTPUT, WorkflowKind

OPERATOR = "output"
HISTORY = "history"
Told = OutputSpec | HistorySpec
"""The worker of an output of whichever kind."""


async def ensure_outputs(
    client: Client,
    specs: Sequence[Told],
    *,
    settings: Settings | None = None,
    continue_as_new_after: int | None = None,
) -> tuple[str, ...]:
    """Have every worker of ``specs`` running; returns those that had to be started. Raises RPCError."""
    chosen = settings or Settings.from_env()
    started = []
    for spec in specs:
        input: OutputInput | HistoryInput = (
            OutputInput(spec=spec, continue_as_new_after=continue_as_new_after)
            if isinstance(spec, OutputSpec)
            else HistoryInput(spec=spec, continue_as_new_after=continue_as_new_after)
        )
        if await _start(client, input, chosen.task_queue):
            started.append(spec.worker_id)
    return tuple(started)


async def _start(client: Client, input: OutputInput | HistoryInput, task_queue: str) -> bool:
    spec = input.spec
    return await start_subscriber(
        client,
        TOPIC_OUTPUT if isinstance(spec, OutputSpec) else HISTORY_OUTPUT,
        spec.worker_id,
        input,
        task_queue=task_queue,
        memo=_memo(spec),
        attributes=_attributes(spec),
        summary=f"{_told(spec)} [{spec.partition}]",
    )


async def start_subscriber(
    client: Client,
    kind: WorkflowKind,
    worker_id: str,
    input: SubscriberInput,
    *,
    task_queue: str,
    memo: dict[str, str],
    attributes: TypedSearchAttributes,
    summary: str,
) -> bool:
    """Start a subscriber unless it runs; returns whether it had to be started. Raises RPCError."""
    searchable = await search_attributes.ensure_search_attributes(client)
    while True:
        try:
            await client.start_workflow(
                kind.type,
                args=[input, b""],
                id=worker_id,
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo=memo,
                search_attributes=attributes if searchable else TypedSearchAttributes.empty,
                static_summary=summary,
            )
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            # A cluster takes a few seconds until a new search attribute is known on every node: go without.
            refused = (
                error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message.lower()
            )
            if not refused or not searchable:
                raise
            searchable = False
        else:
            return True


def _memo(spec: Told) -> dict[str, str]:
    if isinstance(spec, OutputSpec):
        return {"metric": spec.metric, "topic": spec.topic}
    return {"node": spec.node}


def _told(spec: Told) -> str:
    if not isinstance(spec, OutputSpec):
        return f"{spec.node} to the history"
    return f"{f'{spec.function} of {spec.metric}' if spec.function else spec.metric} to {spec.topic}"


def _attributes(spec: Told) -> TypedSearchAttributes:
    of_output = isinstance(spec, OutputSpec)
    found: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OPERATOR, OPERATOR if of_output else HISTORY),
        SearchAttributePair(search_attributes.PARTITION, spec.partition),
    ]
    if isinstance(spec, OutputSpec):
        found.insert(0, SearchAttributePair(search_attributes.METRIC, [spec.metric]))
    return TypedSearchAttributes(found)


def told_of(planned: Plan, *, history: bool) -> list[Told]:
    """The workers of all outputs of a metric; ``history``: there is a history store."""
    return [*output_workers(planned), *(history_workers(planned) if history else [])]


def has_history() -> bool:
    """Whether this process knows of a history store. Raises SettingsError."""
    return history_address() is not None
