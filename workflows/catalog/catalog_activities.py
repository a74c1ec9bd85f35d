"""Activities of the catalog and the driver: they reach many workers at once, through the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import MetricError, TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.metric.size_limits import refuse_oversized
from timeline_workers.plan.changelog_pairs import Applied, refuse_pairs
from timeline_workers.plan.output_workers import OutputSpec, Subscribing, output_workers
from timeline_workers.plan.physical import KEY_LABEL, Plan, WorkerSpec, all_worker_names, all_workers, plan
from timeline_workers.settings.history_settings import HistorySettings
from timeline_workers.settings.timeline_settings import Settings
from workflows.archive.archive_activities import end_archives
from workflows.client.edge_repair import inputs_of, mend_edges
from workflows.client.running import Run, runs_of
from workflows.client.start import ensure_workers, wait_until_ready
from workflows.durable.activities import signal_worker, wait_until_ended
from workflows.durable.refusal_codes import refusal
from workflows.messages import (
    CATALOG_ID,
    CatalogEntry,
    ConfirmInput,
    ConfirmResult,
    EnsureInput,
    EnsureResult,
    Graph,
    RegisterResult,
    ReleaseInput,
    ReleaseResult,
    RemoveResult,
)
from workflows.outputs.start_outputs import Told, ensure_outputs, has_history, told_of
from workflows.reconciling.start_reconcilers import (
    follow_anew,
    leave_followed,
    reconcilers_of,
    registered_reconcilers,
)
from workflows.registry import ALERT_RULE, HISTORY_OUTPUT, TOPIC_OUTPUT
from workflows.search_attributes import METRIC

from .catalog_client import call_catalog
from .entries import read_entries
from .render import render_graph


async def remove_metric(client: Client, name: str) -> RemoveResult:
    """Remove a metric and wait until the workers that nobody else needs have ended."""
    result: RemoveResult = await call_catalog(client, "remove", name, RemoveResult)
    return result


@activity.defn
async def register_metric(metric: Metric) -> RegisterResult:
    """Register a metric in the catalog. Fails for good, with what is wrong, when it cannot be planned."""
    client = activity.client()
    async with _heartbeats():
        try:
            refuse_oversized(metric)
            await asyncio.to_thread(_refuse_history, metric)
            planned = await asyncio.to_thread(plan, metric)
            specs = all_workers(planned)
            if metric.source.changelog or metric.output is not None:
                refuse_pairs(Applied(metric, output_workers(planned)), await _applied(client))
        except TimelineError as error:
            raise refusal(error) from error
        # A feeder that hears of the metric may start some of them before the driver does.
        runs = await runs_of(client, [spec.worker_id for spec in specs])
        result: RegisterResult = await call_catalog(client, "register", metric, RegisterResult)
        absent = tuple(worker for worker, run in runs.items() if not isinstance(run, Run))
        return result.model_copy(update={"absent": absent})


def _refuse_history(metric: Metric) -> None:
    if metric.history is not None and not has_history():
        raise MetricError(
            f"metric {metric.name!r}: history: no history store is known to the worker processes: set "
            f"{HistorySettings.variable('history')} for them, or leave history out"
        )


@activity.defn
async def confirm_metric(question: ConfirmInput) -> ConfirmResult:
    """Ask the catalog whether what was started is still wanted; it ends the workers that are not."""
    async with _heartbeats():
        result: ConfirmResult = await call_catalog(activity.client(), "confirm", question, ConfirmResult)
        return result


@activity.defn
async def ensure_graph(input: EnsureInput) -> EnsureResult:
    """Start the workers of a metric that do not run yet, and have those that hear one in vain, of whichever
    registered metric, subscribe to it anew.
    """
    settings = Settings.from_env().model_copy(update={"message_bytes": input.message_bytes})
    async with _heartbeats():
        client = activity.client()
        planned = await asyncio.to_thread(plan, input.metric)
        labels = await _trees(client, planned) if input.metric.source.partitions == "per-key" else ()
        specs = await asyncio.to_thread(all_workers, planned, labels)
        outputs = told_of(planned, history=has_history())
        others: list[Subscribing] = [
            *await _registered_workers(client, labels),
            *await _registered_outputs(client),
        ]
        ensured = await ensure_workers(
            client,
            specs,
            metrics=[input.metric.name],
            others=others,
            settings=settings,
            continue_as_new_after=input.continue_as_new_after,
        )
        await ensure_outputs(
            client, outputs, settings=settings, continue_as_new_after=input.continue_as_new_after
        )
        for definition in await registered_reconcilers(client):
            if definition.follow == input.metric.name:
                await follow_anew(client, definition, input.metric)
        # Whoever started one of them before may not have come to telling those who hear it.
        await mend_edges(client, _neighbours(_all(specs, outputs), others))
        return ensured


async def _registered_workers(client: Client, labels: Sequence[str]) -> list[WorkerSpec]:
    """The workers of all registered metrics; of trees of keys, those of the keys with these ``labels``."""
    entries = await _entries(client)
    return await asyncio.to_thread(
        lambda: [spec for entry in entries for spec in workers_of(entry.metric, labels)]
    )


async def _registered_outputs(client: Client) -> list[Subscribing]:
    """The workers of the outputs of all registered metrics, and of the reconcilers that follow them."""
    entries = await _entries(client)
    reconcilers = await registered_reconcilers(client)
    return await asyncio.to_thread(
        lambda: [
            spec
            for entry in entries
            for spec in (*told_by(entry.metric), *reconcilers_of(reconcilers, entry.metric))
        ]
    )


async def _applied(client: Client) -> list[Applied]:
    """The registered metrics and their outputs; none where there is no catalog yet."""
    try:
        entries = await _entries(client)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return await asyncio.to_thread(lambda: [Applied(e.metric, outputs_of(e.metric)) for e in entries])


async def _entries(client: Client) -> list[CatalogEntry]:
    """What the catalog has registered and this release can read."""
    catalog: dict[str, Any] = await client.get_workflow_handle(CATALOG_ID).query("routing")
    return read_entries(catalog["entries"])[0]


def workers_of(metric: Metric, labels: Sequence[str] = ()) -> list[WorkerSpec]:
    """``all_workers`` of a registered metric; none where this release cannot plan it."""
    try:
        return all_workers(plan(metric), labels)
    except TimelineError:
        return []


def outputs_of(metric: Metric) -> list[OutputSpec]:
    """The workers of the output of a registered metric; none where this release cannot plan it."""
    if metric.output is None:
        return []
    try:
        return output_workers(plan(metric))
    except TimelineError:
        return []


def told_by(metric: Metric) -> list[Told]:
    """The workers of all outputs of a registered metric; none where this release cannot plan it."""
    try:
        return told_of(plan(metric), history=has_history())
    except TimelineError:
        return []


def _all(*specs: Sequence[Subscribing]) -> list[Subscribing]:
    return [one for some in specs for one in some]


def _neighbours(specs: Sequence[Subscribing], others: Sequence[Subscribing]) -> list[Subscribing]:
    """Those of ``specs``, and those of ``others`` that hear one of them."""
    own = {spec.worker_id: spec for spec in specs}
    hearing = {spec.worker_id: spec for spec in others if not own.keys().isdisjoint(inputs_of(spec))}
    return list({**hearing, **own}.values())


async def _trees(client: Client, planned: Plan) -> list[str]:
    """The labels of keys whose leaves run already, for another metric or an earlier definition of this one.

    The feeder starts a tree when it finds that a leaf is missing, and will not for these.
    """
    labels: dict[str, None] = {}
    for leaf in (node.name for node in planned.nodes if node.is_leaf):
        query = f'WorkflowId STARTS_WITH "{leaf}.{KEY_LABEL}" AND ExecutionStatus = "Running"'
        found = [run.id.removeprefix(f"{leaf}.") async for run in client.list_workflows(query)]
        labels.update((label, None) for label in found if "." not in label)  # no archives
    return list(labels)


@activity.defn
async def await_graph(metric: Metric) -> Graph:
    """Wait until every worker of a metric has subscribed to its inputs; returns those to know."""
    async with _heartbeats():
        planned = await asyncio.to_thread(plan, metric)
        specs = await asyncio.to_thread(all_workers, planned)
        outputs = told_of(planned, history=has_history())
        await wait_until_ready(activity.client(), [one.worker_id for one in _all(specs, outputs)])
    return render_graph(planned, specs)


@activity.defn
async def release_workers(input: ReleaseInput) -> ReleaseResult:
    """End those workers of the definition that no registered metric needs; returns when they have ended.

    What is needed is computed here and not in the catalog, from all registered definitions: planning many
    of them would keep a workflow task longer than Temporal lets it run. A registered definition that cannot
    be planned needs nothing; one that is to be released had the workers that say they are its.
    """
    client = activity.client()
    definition = input.definition
    async with _heartbeats():
        entries = await _entries(client)
        try:
            ids, trees = await asyncio.to_thread(_need, definition)
        except TimelineError:
            ids, trees = await _workers_named_for(client, definition.name), []
        wanted: set[str] = set()
        still: set[str] = set()  # what the metric needs by the definition that it has now
        for entry in entries:
            try:
                needed = {name for names in await asyncio.to_thread(_need, entry.metric) for name in names}
            except TimelineError:
                continue  # it is named to whoever lists the metrics
            wanted |= needed
            if entry.metric.name == definition.name:
                still = needed
        for worker_id in ids:
            if worker_id in wanted and worker_id not in still and not _is_output(worker_id):
                await signal_worker(client, worker_id, "detach", definition.name)
        stop = [worker_id for worker_id in ids if worker_id not in wanted]
        for name in trees:
            if name not in wanted:
                query = f'WorkflowId STARTS_WITH "{name}." AND ExecutionStatus = "Running"'
                stop += [found.id async for found in client.list_workflows(query)]
        reason = f"no metric needs it since {definition.name} changed"
        told = [w for w in stop if await signal_worker(client, w, "stop", reason)]
        for worker_id in told:
            await wait_until_ended(client, worker_id)
        if all(entry.metric.name != definition.name for entry in entries):
            await leave_followed(client, definition.name)
        if definition.key_ttl is not None:
            # Also those of a worker that was ended by hand.
            for worker_id in stop:
                await end_archives(client, worker_id, reason)
    return ReleaseResult(stopped=tuple(told), kept=tuple(w for w in ids if w in wanted))


def _is_output(worker_id: str) -> bool:
    """Whether it is no node's: it carries no names of metrics."""
    return any(kind.has(worker_id) for kind in (TOPIC_OUTPUT, HISTORY_OUTPUT, ALERT_RULE))


def _need(metric: Metric) -> tuple[list[str], list[str]]:
    """Worker ids, parents first; of a per-key source, whose workers only the server knows, what their ids
    begin with. Raises TimelineError when the metric cannot be planned."""
    planned = plan(metric)
    per_key = metric.source.partitions == "per-key"
    return (
        [one.worker_id for one in _all(told_of(planned, history=True), all_workers(planned)[::-1])],
        list(reversed(all_worker_names(planned))) if per_key else [],
    )


async def _workers_named_for(client: Client, metric: str) -> list[str]:
    """The running workers whose search attributes name ``metric``; none where the server knows no such."""
    query = f'{METRIC.name} = "{metric}" AND ExecutionStatus = "Running"'
    try:
        found = [run.id async for run in client.list_workflows(query)]
    except RPCError:
        return []
    return [worker for worker in found if worker != CATALOG_ID]


@asynccontextmanager
async def _heartbeats(every: float = 5.0) -> AsyncIterator[None]:
    """Heartbeat for as long as the block runs, so that a lost process is noticed soon."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(every)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


HEARTBEAT_TIMEOUT = timedelta(seconds=30)
CATALOG_ACTIVITIES = (register_metric, confirm_metric, ensure_graph, await_graph, release_workers)
