"""Registering reconcilers, starting their workers, and telling these what is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ReconcilerError, TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, plan
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.reconcilers.orders import Order, Word, pack_order
from timeline_workers.reconcilers.reconciler_workers import (
    PREFIX,
    ReconcilerSpec,
    bucket_worker,
    reconciler_workers,
    worker_of,
    workers_of,
)
from timeline_workers.settings.timeline_settings import Settings
from workflows import search_attributes
from workflows.catalog.catalog_client import call_catalog
from workflows.durable.activities import signal_worker
from workflows.messages import CATALOG_ID, ReconcilerInput
from workflows.outputs.start_outputs import start_subscriber
from workflows.registry import RECONCILER

from .unknown_names import unknown_reconciler

OPERATOR = "reconciler"


async def registered_reconcilers(client: Client) -> list[Definition]:
    """The reconcilers of the catalog; none where there is no catalog. Raises RPCError."""
    try:
        found: list[Definition] = await client.get_workflow_handle(CATALOG_ID).query(
            "reconcilers", result_type=list[Definition]
        )
    except WorkflowQueryFailedError:
        return []  # worker processes of a release that had none
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return found


async def find_reconciler(client: Client, name: str) -> Definition:
    """The registered reconciler ``name``. Raises UnknownNameError with the nearest name."""
    found = {one.name: one for one in await registered_reconcilers(client)}
    if name not in found:
        raise unknown_reconciler(name, found)
    return found[name]


async def running_workers(client: Client, definition: Definition) -> list[str]:
    """The ids of the workers of a reconciler. Raises RPCError."""
    known = workers_of(definition)
    if known is not None:
        return known
    return await _listed(client, definition.name)


async def _listed(client: Client, name: str) -> list[str]:
    query = f'WorkflowId STARTS_WITH "{PREFIX}{name}." AND ExecutionStatus = "Running"'
    return sorted([found.id async for found in client.list_workflows(query)])


async def send_order(
    client: Client, name: str, word: Word, key: Key | None = None, value: Any = None, *, force: bool = False
) -> list[str]:
    """Give the worker of ``key`` an order, or (None) all workers; returns those that run and have it.

    Raises UnknownNameError for a reconciler that is not registered.
    """
    definition = await find_reconciler(client, name)
    ids = await running_workers(client, definition) if key is None else [worker_of(definition, key)]
    order = Order(word, key, value, force=force)
    return [one for one in ids if await _order(client, one, order)]


async def delete_reconciler(client: Client, name: str, *, force: bool = False) -> list[str]:
    """Forget a reconciler: its workers have the finalizers of all keys called, and end; ``force``: without.

    Returns these workers. Raises UnknownNameError.
    """
    known = {one.name: one for one in await registered_reconcilers(client)}
    ids = await _listed(client, name) if name not in known else await running_workers(client, known[name])
    if name in known:
        # First the definition: a feeder that finds a worker missing must not start it again.
        await call_catalog(client, "remove_reconciler", name, type(None))
    elif not ids:
        raise unknown_reconciler(name, known)
    return [one for one in ids if await _order(client, one, Order("end", force=force))]


async def leave_followed(client: Client, metric: str) -> None:
    """Tell the reconcilers that follow ``metric``, which is deleted: all their keys leave."""
    for definition in await registered_reconcilers(client):
        if definition.follow == metric:
            for worker_id in await running_workers(client, definition):
                await _order(client, worker_id, Order("gone"))


async def register_reconciler(client: Client, definition: Definition, metric: Metric | None) -> list[str]:
    """Register a reconciler, and have its workers running; ``metric``: the one that it follows, None: there
    is none, or none yet.

    Returns the workers that were started. Raises ReconcilerError for one that cannot follow that metric, and
    for an aggregate or a number of partitions that does not fit.
    """
    missing = definition.follow is not None and metric is None
    specs = [] if missing else reconciler_workers(definition, None if metric is None else plan(metric))
    known = specs[0].definition if specs else definition
    if known not in await registered_reconcilers(client):
        await call_catalog(client, "register_reconciler", known, type(None))
        if known.partitions != "per-key":
            await _stop_others(client, known, [spec.worker_id for spec in specs])
    return await ensure_reconcilers(client, specs, configure=True)


async def _stop_others(client: Client, definition: Definition, wanted: Sequence[str]) -> None:
    """Stop workers of partitions that there are no more: other workers have their keys."""
    for worker_id in await _listed(client, definition.name):
        if wanted and worker_id not in wanted:
            await signal_worker(client, worker_id, "stop", "there is no such partition any more")


async def ensure_reconcilers(
    client: Client,
    specs: Sequence[ReconcilerSpec],
    *,
    configure: bool = False,
    continue_as_new_after: int | None = None,
) -> list[str]:
    """Have every worker of ``specs`` running; returns those that had to be started. ``configure``: those that
    run are told what their spec is. Raises RPCError."""
    started = []
    for spec in specs:
        if await _start(client, spec, continue_as_new_after):
            started.append(spec.worker_id)
        elif configure:
            await _order(client, spec.worker_id, Order("configure", value=spec.model_dump_json()))
    return started


async def _start(client: Client, spec: ReconcilerSpec, continue_as_new_after: int | None = None) -> bool:
    return await start_subscriber(
        client,
        RECONCILER,
        spec.worker_id,
        ReconcilerInput(spec=spec, continue_as_new_after=continue_as_new_after),
        task_queue=Settings.from_env().task_queue,
        memo={"reconciler": spec.definition.name, "follows": spec.definition.follow or "a bucket"},
        attributes=_attributes(spec),
        summary=f"reconciler {spec.definition.name} [{spec.partition}]",
    )


async def _order(client: Client, worker_id: str, order: Order) -> bool:
    return await signal_worker(client, worker_id, "order", pack_order(order))


def _attributes(spec: ReconcilerSpec) -> TypedSearchAttributes:
    found: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OPERATOR, OPERATOR),
        SearchAttributePair(search_attributes.PARTITION, spec.partition),
    ]
    if spec.definition.follow is not None:
        found.append(SearchAttributePair(search_attributes.METRIC, [spec.definition.follow]))
    return TypedSearchAttributes(found)


async def follow_anew(client: Client, definition: Definition, metric: Metric) -> None:
    """Have a reconciler follow a metric that was applied, if it can."""
    with suppress(ReconcilerError):
        await register_reconciler(client, definition, metric)


def reconcilers_of(definitions: Sequence[Definition], metric: Metric) -> list[ReconcilerSpec]:
    """The workers of those reconcilers that follow ``metric``, if they can."""
    found: list[ReconcilerSpec] = []
    for definition in definitions:
        if definition.follow == metric.name:
            try:
                found += reconciler_workers(definition, plan(metric))
            except TimelineError:
                continue
    return found


def reconciler_specs(
    definitions: Sequence[Definition], plans: Mapping[str, Plan]
) -> dict[str, ReconcilerSpec]:
    """The workers that are known beforehand, of buckets and of what follows one of ``plans``, by id."""
    found: dict[str, ReconcilerSpec] = {}
    for definition in definitions:
        follow = definition.follow
        if follow is None or follow in plans:
            with suppress(TimelineError):
                specs = reconciler_workers(definition, None if follow is None else plans[follow])
                found.update({spec.worker_id: spec for spec in specs})
    return found


async def order_key(
    client: Client,
    definition: Definition,
    worker_id: str,
    key: Key,
    input: Any = None,
    stamp: int | None = None,
) -> None:
    """Have the function called for ``key``: of a bucket with the state ``input``; None: with what it has.

    ``worker_id``: who asks; of a reconciler that follows a metric, a key of the same partition is meant.
    Raises ReconcilerError for a state of one that follows a metric.
    """
    if definition.follow is not None:
        if input is not None:
            raise ReconcilerError(
                f"reconciler {definition.name!r} follows metric {definition.follow!r}, which says what its "
                "states are; notify a key without a state, or a bucket"
            )
        await _order(client, worker_id, Order("matter", key))
        return
    order = Order("matter", key) if input is None else Order("notify", key, plain(input), stamp)
    spec = bucket_worker(definition, key)
    while not await _order(client, spec.worker_id, order):
        await _start(client, spec)


def plain(value: Any) -> Any:
    """``value`` as plain JSON. Raises ReconcilerError for what JSON cannot hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ReconcilerError(f"the state {value!r:.60} cannot be written as JSON: {error}") from None
