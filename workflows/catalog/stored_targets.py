"""The client's side of targets of alerts: applying, finding, trying out and removing them in the catalog.

Everything here raises ``timeline_workers.errors`` only.
"""

from __future__ import annotations

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.metric.model import Metric
from timeline_workers.targets.sending import Answer
from timeline_workers.targets.target import AnyTarget, Target
from workflows.client.ask_worker import QUERY_TIMEOUT
from workflows.client.client_errors import clear_errors, while_somebody_works
from workflows.messages import CATALOG_ID, TargetResult

from .catalog_workflow import refuse_unknown_targets, told_by, unknown_target
from .stored_sources import catalog_call


async def known_targets(client: Client) -> list[Target]:
    """Every target, by name."""
    async with clear_errors(client):
        try:
            found: list[Target] = await while_somebody_works(
                client,
                client.get_workflow_handle(CATALOG_ID).query(
                    "targets", result_type=list[AnyTarget], rpc_timeout=QUERY_TIMEOUT
                ),
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []  # nobody has applied anything yet
            raise
        return found


async def find_target(client: Client, name: str) -> Target:
    """The target ``name``; raises UnknownNameError with the nearest name."""
    found = {one.name: one for one in await known_targets(client)}
    if name not in found:
        raise unknown_target(name, found)
    return found[name]


async def find_rule_targets(client: Client, rule: Metric, applied: Metric | None) -> None:
    """Raise UnknownNameError, with the nearest name, where a rule that is to be applied names a target that
    is not there; ``applied``: its definition so far.
    """
    if told_by(rule):
        refuse_unknown_targets(rule, applied, [one.name for one in await known_targets(client)])


async def apply_target(client: Client, target: Target) -> TargetResult:
    """Have ``target`` known; another of the same name is replaced, also for what waits to be sent."""
    result: TargetResult = await catalog_call(client, "register_target", target, TargetResult)
    return result


async def delete_target(client: Client, name: str) -> None:
    """Remove a target; what waits to be sent becomes dead letters. Refused, with their names, while rules
    name it.
    """
    await find_target(client, name)
    await catalog_call(client, "remove_target", name, type(None))


async def try_target(client: Client, name: str) -> Answer:
    """Send a target a message that says that it is a test; what it answers."""
    await find_target(client, name)
    answer: Answer = await catalog_call(client, "test_target", name, Answer)
    return answer
