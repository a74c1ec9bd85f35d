"""Starting the workers of outputs, as ``client.start`` does those of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.plan.output_workers import OutputSpec
from timeline_workers.settings.timeline_settings import Settings
from workflows import search_attributes
from workflows.messages import OutputInput
from workflows.registry import TOPIC_OUTPUT

OPERATOR = "output"


async def ensure_outputs(
    client: Client,
    specs: Sequence[OutputSpec],
    *,
    settings: Settings | None = None,
    continue_as_new_after: int | None = None,
) -> tuple[str, ...]:
    """Have every worker of ``specs`` running; returns those that had to be started. Raises RPCError."""
    chosen = settings or Settings.from_env()
    started = []
    for spec in specs:
        input = OutputInput(spec=spec, continue_as_new_after=continue_as_new_after)
        if await _start(client, input, chosen.task_queue):
            started.append(spec.worker_id)
    return tuple(started)


async def _start(client: Client, input: OutputInput, task_queue: str) -> bool:
    searchable = await search_attributes.ensure_search_attributes(client)
    while True:
        try:
            await client.start_workflow(
                TOPIC_OUTPUT.type,
                args=[input, b""],
                id=input.spec.worker_id,
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo={"metric": input.spec.metric, "topic": input.spec.topic},
                search_attributes=_attributes(input.spec) if searchable else TypedSearchAttributes.empty,
                static_summary=f"{_told(input.spec)} to {input.spec.topic} [{input.spec.partition}]",
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


def _told(spec: OutputSpec) -> str:
    return f"{spec.function} of {spec.metric}" if spec.function else spec.metric


def _attributes(spec: OutputSpec) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(search_attributes.METRIC, [spec.metric]),
            SearchAttributePair(search_attributes.OPERATOR, OPERATOR),
            SearchAttributePair(search_attributes.PARTITION, spec.partition),
        ]
    )
