"""The client's side of stored sources: applying, finding and removing them in the catalog.

Everything here raises ``timeline_workers.errors`` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import ConnectionFailedError
from timeline_workers.metric.model import NamedSource, StoredSource
from workflows.client.ask_worker import QUERY_TIMEOUT
from workflows.client.client_errors import clear_errors, refuse, while_somebody_works
from workflows.client.queues import NO_WORKER
from workflows.messages import CATALOG_ID, SourceResult

from .catalog_client import call_catalog
from .catalog_workflow import unknown_source

TIMEOUT = timedelta(seconds=30)


async def stored_sources(client: Client) -> list[StoredSource]:
    """Every stored source, by name."""
    async with clear_errors(client):
        try:
            found: list[StoredSource] = await while_somebody_works(
                client,
                client.get_workflow_handle(CATALOG_ID).query(
                    "sources", result_type=list[StoredSource], rpc_timeout=QUERY_TIMEOUT
                ),
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []  # nobody has applied anything yet
            raise
        return found


async def find_source(client: Client, name: str) -> StoredSource:
    """The stored source ``name``; raises UnknownNameError with the nearest name."""
    return known_source(await stored_sources(client), name)


def known_source(sources: Iterable[StoredSource], name: str) -> StoredSource:
    """The source ``name`` of ``sources``; raises UnknownNameError with the nearest name."""
    found = {one.definition.name: one for one in sources}
    if name not in found:
        raise unknown_source(name, found)
    return found[name]


async def apply_source(client: Client, source: NamedSource) -> SourceResult:
    """Store ``source``. The same again changes nothing, another of the same name is its next version; no
    metric that runs changes by it.
    """
    result: SourceResult = await catalog_call(client, "register_source", source, SourceResult)
    return result


async def delete_source(client: Client, name: str) -> None:
    """Remove a stored source; refused, with their names, while registered metrics name it."""
    await find_source(client, name)
    await catalog_call(client, "remove_source", name, type(None))


async def catalog_call(client: Client, update: str, argument: Any, result_type: type[Any]) -> Any:
    """``call_catalog`` with the library's own errors, ConnectionFailedError where nobody answers."""
    async with clear_errors(client):
        try:
            async with asyncio.timeout(TIMEOUT.total_seconds()):
                return await call_catalog(client, update, argument, result_type)
        except ApplicationError as error:
            refuse(error)
        except TimeoutError:
            raise ConnectionFailedError(
                f"the catalog did not answer within {TIMEOUT.total_seconds():.0f} s: is a worker process "
                f"running? If not, {NO_WORKER}"
            ) from None
