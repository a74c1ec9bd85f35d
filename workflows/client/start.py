"""Starting timeline workers: what the driver does for a whole graph and the feeder for a leaf that is
missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.plan.output_workers import Subscribing
from timeline_workers.plan.physical import WorkerSpec
from timeline_workers.settings.timeline_settings import Settings
from workflows import search_attributes
from workflows.durable.activities import signal_worker
from workflows.messages import EnsureResult, ProcessorInput
from workflows.registry import LEAF, NODE

from .edge_repair import readers_of
from .running import NotRunningError, running_status

_SUMMARY_LENGTH = 180
MEMO_LENGTH = 1_000  # Temporal warns of a memo beyond 2 KiB
_DETAILS_LENGTH = 10_000  # Temporal takes 20,000 bytes
_NAMES_LENGTH = 4_000
_ATTRIBUTE_ATTEMPTS = 20
_QUERY_TIMEOUT = timedelta(seconds=30)


async def ensure_workers(
    client: Client,
    specs: Sequence[WorkerSpec],
    *,
    metrics: Sequence[str] = (),
    others: Sequence[Subscribing] = (),
    settings: Settings | None = None,
    concurrency: int = 8,
    continue_as_new_after: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> EnsureResult:
    """Have every worker of ``specs`` running, children before parents, and noted as needed by ``metrics``.

    A worker that runs already is left as it is. Where an input was missing and had to be started, the
    workers that hear it are told to subscribe again: those of ``specs`` and of ``others``, the workers of
    other metrics. Calling it twice, or from several processes at once, starts each worker once.
    ``progress`` is called with the number of workers seen to so far. Raises RPCError.
    """
    chosen = settings or Settings.from_env()
    searchable = await search_attributes.ensure_search_attributes(client)
    started: set[str] = set()
    done = 0

    async def ensure(spec: WorkerSpec) -> None:
        nonlocal done
        input = ProcessorInput(
            spec=spec,
            metrics=tuple(sorted(metrics)),
            searchable=searchable,
            message_bytes=chosen.message_bytes,
            state_bytes=chosen.state_bytes,
            continue_as_new_after=continue_as_new_after,
            incomplete=spec.node.is_leaf and spec.source.partitions != "per-key",
        )
        if await _start(client, input, chosen.task_queue):
            started.add(spec.worker_id)
        else:
            for metric in metrics:
                await signal_worker(client, spec.worker_id, "attach", metric)
        done += 1
        if progress is not None:
            progress(done)

    for level in _levels(specs):
        await _in_batches([lambda spec=spec: ensure(spec) for spec in level], concurrency)  # type: ignore[misc]
    for worker, readers in readers_of(started, (*specs, *others)).items():
        for reader in readers:
            if reader not in started:
                await signal_worker(client, reader, "resubscribe", worker)
    return EnsureResult(
        started=tuple(s.worker_id for s in specs if s.worker_id in started),
        existing=tuple(s.worker_id for s in specs if s.worker_id not in started),
        departed=await _departed(client, specs, started),
    )


async def _departed(client: Client, specs: Sequence[WorkerSpec], started: set[str]) -> tuple[str, ...]:
    """The workers that those of ``specs`` just started will hear, and that keys have left before."""
    heard = {
        worker
        for spec in specs
        if spec.worker_id in started and spec.key_ttl is not None
        for slot in spec.inputs
        for worker in slot
    }
    found = []
    for worker in sorted(heard - started):
        with suppress(NotRunningError):
            status = await running_status(client, worker, timeout=_QUERY_TIMEOUT)
            if status.archives:
                found.append(worker)
    return tuple(found)


async def _start(client: Client, input: ProcessorInput, task_queue: str) -> bool:
    """Start one worker; False when it runs already."""
    for attempt in range(_ATTRIBUTE_ATTEMPTS + 2):
        spec = input.spec
        if not await search_attributes.ensure_search_attributes(client):
            input = input.model_copy(update={"searchable": False})
        attributes = (
            search_attributes.worker_attributes(spec, input.metrics)
            if input.searchable
            else TypedSearchAttributes.empty
        )
        try:
            await client.start_workflow(
                (LEAF if spec.node.is_leaf else NODE).type,
                args=[input, b""],
                id=spec.worker_id,
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo=_memo(spec),
                search_attributes=attributes,
                static_summary=_summary(spec),
                static_details=_details(spec),
            )
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            if not _refuses_attributes(error) or not input.searchable:
                raise
            # A cluster takes a few seconds until a new search attribute is known on every node.
            if attempt < _ATTRIBUTE_ATTEMPTS:
                await asyncio.sleep(0.5)
            else:
                search_attributes.give_up(client)
        else:
            return True
    raise AssertionError("unreachable")


def _refuses_attributes(error: RPCError) -> bool:
    return error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message.lower()


def _memo(spec: WorkerSpec) -> dict[str, object]:
    return {
        "expression": shortened(spec.node.expression, MEMO_LENGTH),
        "operator": spec.node.operator,
        "kind": spec.node.kind,
        "topic": spec.source.topic,
        "partition": spec.partition,
        "inputs": [_some(slot) for slot in spec.inputs],
        **({"nodes": _some([node.name for node in spec.fused])} if spec.fused else {}),
    }


def _some(names: Sequence[str]) -> list[str]:
    """The first names; an aggregate hears every partition, and fused nodes are many."""
    return [*names[:4], f"and {len(names) - 4} more"] if len(names) > 5 else list(names)


def _summary(spec: WorkerSpec) -> str:
    return shortened(f"{spec.node.expression} [{spec.partition}]", _SUMMARY_LENGTH)


def shortened(text: str, length: int) -> str:
    """``text``, cut to ``length`` characters with a sign that it goes on."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _details(spec: WorkerSpec) -> str:
    lines = [
        f"`{shortened(spec.node.expression, _DETAILS_LENGTH)}`",
        "",
        f"- source: topic `{spec.source.topic}`, partition {spec.partition}",
    ]
    if spec.node.is_leaf:
        lines.append(f"- fed by the feeder with columns {', '.join(spec.node.columns) or '(none)'}")
    if spec.fused:
        names = ", ".join(f"`{node.name}`" for node in spec.fused)
        lines.append(f"- also computes, and answers for, {shortened(names, _NAMES_LENGTH)}")
    lines += [f"- input {i + 1}: `{worker}`" for i, slot in enumerate(spec.inputs) for worker in slot]
    return "\n".join(lines)


def _levels(specs: Sequence[WorkerSpec]) -> Iterator[list[WorkerSpec]]:
    """Group workers so that a worker's inputs are in earlier groups; ``specs`` has children first."""
    depth: dict[str, int] = {}
    groups: list[list[WorkerSpec]] = []
    for spec in specs:
        level = 1 + max((depth.get(worker, -1) for slot in spec.inputs for worker in slot), default=-1)
        depth[spec.worker_id] = level
        while len(groups) <= level:
            groups.append([])
        groups[level].append(spec)
    yield from groups


async def _in_batches(calls: Sequence[Callable[[], Awaitable[None]]], concurrency: int) -> None:
    slots = asyncio.Semaphore(concurrency)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with slots:
            await call()

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(call))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def wait_until_ready(
    client: Client,
    worker_ids: Sequence[str],
    *,
    concurrency: int = 8,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Return when every worker answers and every input of each has accepted its subscription.

    From then on whatever the feeder sends reaches the result. It waits for as long as that takes: bound it
    from outside. A worker that was ended meanwhile is not waited for.
    """
    done = 0

    async def wait(worker_id: str) -> None:
        nonlocal done
        pause = 0.05
        while True:
            try:
                if (await running_status(client, worker_id, timeout=_QUERY_TIMEOUT)).ready:
                    break
            except NotRunningError:
                break
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 2.0)
        done += 1
        if progress is not None:
            progress(done)

    await _in_batches([lambda w=w: wait(w) for w in worker_ids], concurrency)  # type: ignore[misc]
