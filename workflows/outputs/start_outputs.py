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

from timeline_workers.plan.alert_workers import AlertSpec, alert_workers
from timeline_workers.plan.history_workers import HistorySpec, history_workers
from timeline_workers.plan.output_workers import OutputSpec, output_workers
from timeline_workers.plan.physical import Plan
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.timeline_settings import Settings
from workflows import search_attributes
from workflows.durable.activities import signal_worker
from workflows.messages import AlertInput, HistoryInput, OutputInput, SubscriberInput
from workflows.registry import ALERT_RULE, HISTORY_OUTPUT, TOPIC_OUTPUT, WorkflowKind

_OPERATORS = {TOPIC_OUTPUT: "output", HISTORY_OUTPUT: "history", ALERT_RULE: "alert"}
"""What the search attribute of the operator says."""
Told = OutputSpec | HistorySpec | AlertSpec
"""The worker of an output of whichever kind."""
_Input = OutputInput | HistoryInput | AlertInput


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
        if await _start(client, _input(spec, continue_as_new_after), chosen.task_queue):
            started.append(spec.worker_id)
        elif isinstance(spec, AlertSpec):
            # The same truth told in another way is told by the same worker, which knows what it has told.
            await signal_worker(client, spec.worker_id, "configure", spec)
    return tuple(started)


def _input(spec: Told, after: int | None) -> _Input:
    if isinstance(spec, OutputSpec):
        return OutputInput(spec=spec, continue_as_new_after=after)
    if isinstance(spec, AlertSpec):
        return AlertInput(spec=spec, continue_as_new_after=after)
    return HistoryInput(spec=spec, continue_as_new_after=after)


def _kind(spec: Told) -> WorkflowKind:
    if isinstance(spec, OutputSpec):
        return TOPIC_OUTPUT
    return ALERT_RULE if isinstance(spec, AlertSpec) else HISTORY_OUTPUT


async def _start(client: Client, input: _Input, task_queue: str) -> bool:
    spec = input.spec
    return await start_subscriber(
        client,
        _kind(spec),
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
    if isinstance(spec, AlertSpec):
        return {"rule": spec.rule, "to": ", ".join(spec.alert.to)}
    return {"node": spec.node}


def _told(spec: Told) -> str:
    if isinstance(spec, AlertSpec):
        return f"{spec.rule} to {', '.join(spec.alert.to) or 'nobody'}"
    if not isinstance(spec, OutputSpec):
        return f"{spec.node} to the history"
    return f"{f'{spec.function} of {spec.metric}' if spec.function else spec.metric} to {spec.topic}"


def _attributes(spec: Told) -> TypedSearchAttributes:
    found: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OPERATOR, _OPERATORS[_kind(spec)]),
        SearchAttributePair(search_attributes.PARTITION, spec.partition),
    ]
    if not isinstance(spec, HistorySpec):
        metric = spec.metric if isinstance(spec, OutputSpec) else spec.rule
        found.insert(0, SearchAttributePair(search_attributes.METRIC, [metric]))
    return TypedSearchAttributes(found)


def told_of(planned: Plan, *, history: bool) -> list[Told]:
    """The workers of all outputs of a metric; ``history``: there is a history store."""
    found: list[Told] = [*output_workers(planned), *alert_workers(planned)]
    return [*found, *(history_workers(planned) if history else [])]


def has_history() -> bool:
    """Whether this process knows of a history store. Raises SettingsError."""
    return history_address() is not None
