"""The activity of ``Reconciler``: makes calls for as long as the server takes its word that it lives.

``activity.heartbeat()`` does not tell whether the server took it, so the lease rests on a call of the server
that is waited for. Once the server has given up, the calls begin elsewhere; those here have been cancelled by
then, half a lease before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.columns.key_table import Key
from timeline_workers.metric.model import TimeUnit
from timeline_workers.reconcilers.calls import pack_outcomes, unpack_batch
from timeline_workers.reconcilers.lease import Gone, Lease
from timeline_workers.reconcilers.making_calls import make_call, make_calls
from timeline_workers.reconcilers.own_process import OwnProcesses
from timeline_workers.reconcilers.reconciler_declaration import Reconciler

from .reconciler_workflow import MAKE_CALLS
from .start_reconcilers import order_key


class CallMaker:
    """Makes the calls of the reconcilers that this process has ``declared``."""

    def __init__(self, client: Client, declared: Iterable[Reconciler]) -> None:
        self._client = client
        self._declared = {one.name: one for one in declared}

    @activity.defn(name=MAKE_CALLS)
    async def make_calls(self, name: str, worker_id: str, unit: TimeUnit, packed: bytes) -> bytes:
        """Make a batch of calls for the worker ``worker_id``, whose times are in ``unit``; returns what
        became of each, packed."""
        declared = self._declared[name]
        declared.learn_unit(unit)
        definition = declared.definition
        seconds = definition.lease / 1_000_000
        handle = self._client.get_async_activity_handle(task_token=activity.info().task_token)

        async def beat() -> None:
            try:
                await handle.heartbeat(rpc_timeout=timedelta(seconds=seconds / 4))
            except AsyncActivityCancelledError:
                raise Gone("somebody has asked for the call to end") from None
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise Gone("the server has given the call up, or it is not wanted any more") from None
                raise

        async def notify(key: Key, input: Any) -> None:
            await order_key(self._client, definition, worker_id, key, input)

        processes = OwnProcesses(seconds) if definition.process else None

        def renewed() -> None:
            activity.heartbeat()  # for the client library, which gives up by itself
            if processes is not None:
                processes.renewed()

        lease = Lease(seconds, beat, renewed)
        caller = make_call if processes is None else processes.call
        batch = await asyncio.to_thread(unpack_batch, packed)
        return pack_outcomes(await make_calls(declared, batch, lease, notify, caller))
