"""The keys that a metric knows: those that the workers of a node hold, and those in their archives."""

from __future__ import annotations

from temporalio.client import Client

from timeline_workers.answers.reader import Group, in_order
from timeline_workers.plan.physical import NodeSpec, Plan, about, worker_name

from .ask import gather, running_workers
from .ask_keys import holders


async def known_keys(client: Client, planned: Plan, node: NodeSpec) -> list[Group]:
    """The keys of ``node`` (of an aggregate, its groups), in order. Raises as ``ask`` does."""
    name = worker_name(planned, node)
    workers = [one for one in await running_workers(client, planned) if one.startswith(f"{name}.")]
    inner = about(planned, node).get("node")
    found = await gather([lambda one=one: holders(client, one, inner) for one in workers])  # type: ignore[misc]
    return in_order([key for of_worker in found for holder in of_worker for key in holder.keys])
