"""Edges that only one of their two workers knows, and mending them.

A worker that was started afresh knows nobody who hears it, and those who heard the one before it go on
waiting. What a reader says of its inputs and what these say of their edges is compared, epochs included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client, WorkflowQueryFailedError

from timeline_workers.plan.output_workers import Subscribing
from workflows.durable.activities import signal_worker
from workflows.worker_status import WorkerStatus

from .running import NotRunningError, running_status

Statuses = Mapping[str, WorkerStatus]
"""What workers answer to ``status``, by their ids; without those that do not answer."""

_TIMEOUT = timedelta(seconds=30)
_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class BrokenEdge:
    """``reader`` has subscribed to ``input`` under ``epoch``, and hears nothing of it: ``why``."""

    reader: str
    input: str
    epoch: str
    why: str


def inputs_of(spec: Subscribing) -> tuple[str, ...]:
    """The workers that one of ``spec`` hears, each once."""
    return tuple(dict.fromkeys(worker for slot in spec.inputs for worker in slot))


def readers_of(workers: Iterable[str], specs: Iterable[Subscribing]) -> dict[str, tuple[str, ...]]:
    """Of each of ``workers`` that somebody in ``specs`` hears, who does."""
    wanted = set(workers)
    found: dict[str, dict[str, None]] = {}
    for spec in specs:
        for worker in wanted.intersection(inputs_of(spec)):
            found.setdefault(worker, {})[spec.worker_id] = None
    return {worker: tuple(readers) for worker, readers in found.items()}


def broken_edges(readers: Statuses, inputs: Statuses) -> list[BrokenEdge]:
    """The edges on which ``readers`` wait for what will not come. Where a reader was asked before its input,
    what it says it has subscribed to must be known there.

    A worker that is fetching its state, and one of a release that tells no epochs, is believed.
    """
    found = []
    for reader, said in readers.items():
        for line in said.inputs:
            other = inputs.get(line.worker)
            if not line.subscribed or other is None or other.state is None:
                continue
            edge = next((edge for edge in other.edges if edge.subscriber == reader), None)
            epoch, told = line.epoch, "" if edge is None else edge.epoch
            if edge is None:
                why = f"{line.worker} has no edge to {reader}: it was restarted"
            elif edge.state == "gone":
                why = f"{line.worker} has closed its edge to {reader}: {edge.last_error}"
            elif edge.state == "held" and not (said.paused or said.holds):
                why = f"{line.worker} holds back what it has for {reader}, which takes it"
            elif epoch and told and epoch != told:
                why = f"{line.worker} sends to {reader} under epoch {told}, not {epoch}"
            else:
                continue
            found.append(BrokenEdge(reader, line.worker, epoch, why))
    return found


async def confirmed(client: Client, suspects: Sequence[BrokenEdge]) -> list[BrokenEdge]:
    """Those of ``suspects`` that are broken still: a subscription on its way may have been taken for one.
    Raises RPCError.
    """
    readers = await statuses(client, list({edge.reader: None for edge in suspects}))
    inputs = await statuses(client, list({edge.input: None for edge in suspects}))
    known = {(edge.reader, edge.input, edge.epoch) for edge in suspects}
    again = broken_edges(readers, inputs)
    return [edge for edge in again if (edge.reader, edge.input, edge.epoch) in known]


async def mend_edges(client: Client, specs: Sequence[Subscribing]) -> list[BrokenEdge]:
    """Have the workers of ``specs`` that wait in vain for an input subscribe to it anew; returns on which
    edges. Raises RPCError.
    """
    readers = await statuses(client, [spec.worker_id for spec in specs if spec.inputs])
    heard = dict.fromkeys(w for spec in specs if spec.worker_id in readers for w in inputs_of(spec))
    broken = await confirmed(client, broken_edges(readers, await statuses(client, list(heard))))
    for edge in broken:
        await signal_worker(client, edge.reader, "resubscribe", edge.input)
    return broken


async def statuses(client: Client, workers: Sequence[str]) -> Statuses:
    """What those of ``workers`` that run and can answer say. Raises RPCError."""
    slots = asyncio.Semaphore(_CONCURRENCY)
    found: dict[str, WorkerStatus] = {}

    async def one(worker: str) -> None:
        async with slots:
            try:
                found[worker] = await running_status(client, worker, timeout=_TIMEOUT)
            except (NotRunningError, WorkflowQueryFailedError):
                return

    await asyncio.gather(*(one(worker) for worker in workers))
    return found
