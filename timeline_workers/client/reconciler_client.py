"""``Reconcilers``: has a process of one's own call reconcilers, and tells them what is wanted.

Example::

    reconcilers = Reconcilers(await TimelineClient.connect())
    await reconcilers.run()                       # what `timeline worker --import` does, too

    players = await reconcilers.open("players")   # a bucket: states come from elsewhere
    players.register(play, input=Player)
    await players.notify("player/7", Player(song="x"))
    await players.work()
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import BaseModel
from temporalio.client import Client

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ReconcilerError, UnknownNameError
from timeline_workers.metric.model import Metric
from timeline_workers.process.exit import stop_signals
from timeline_workers.process.logging import configure_logging
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.reconcilers.orders import Word
from timeline_workers.reconcilers.reconciler_declaration import (
    Finalizer,
    Function,
    Nothing,
    Reconciler,
    declared,
    keep,
    reconciler,
)
from timeline_workers.reconcilers.reconciler_status import KeySaid
from workflows.client import ask, ask_reconcilers
from workflows.client.ask_reconcilers import ReconcilerSaid as ReconcilerSaid
from workflows.client.client_errors import clear_errors
from workflows.reconciling.serve_calls import GRACE, serve_calls
from workflows.reconciling.start_reconcilers import (
    delete_reconciler,
    order_key,
    register_reconciler,
    send_order,
)

from .timeline_client import TimelineClient


class Reconcilers:
    """The reconcilers that this process has declared, on a cluster."""

    def __init__(self, client: TimelineClient | Client) -> None:
        self._client = client.temporal if isinstance(client, TimelineClient) else client

    async def register(self, *names: str) -> list[Definition]:
        """Make the declared reconcilers (or those with ``names``) known to the cluster, with workers that
        know what is to be called; where a metric is not applied yet, `timeline apply` starts them. Raises
        ReconcilerError.
        """
        found = declared(*names)
        for one in found:
            await self._register(one)
        return [one.definition for one in found]

    async def run(self, *names: str, stop: asyncio.Event | None = None, graceful: timedelta = GRACE) -> None:
        """Register them and make their calls, until SIGTERM or Ctrl-C, or until ``stop`` is set; calls that
        are under way then have ``graceful`` to end. Where the process has set up no log of its own, it goes
        to standard error."""
        if not structlog.is_configured():
            configure_logging("reconcilers")
        await self.register(*names)
        found = declared(*names)
        if not found:
            raise ReconcilerError("no reconciler is declared here; import the module that declares some")
        if stop is not None:
            await serve_calls(self._client, found, stop=stop, graceful=graceful)
            return
        async with stop_signals() as signalled:
            await serve_calls(self._client, found, stop=signalled, graceful=graceful)

    async def open(self, bucket: str, **options: Any) -> Bucket:
        """A bucket: a reconciler whose states are told by ``notify``. ``options``: as for ``reconciler``,
        without ``follow``."""
        return Bucket(self, bucket, options)

    async def notify(self, name: str, key: Key, input: Any = None, stamp: int | None = None) -> None:
        """The state of ``key`` in the bucket ``name`` is ``input``; None: call it with the state it has. Of
        two states the one with the greater ``stamp`` counts; without, the later."""
        await self._order(self._definition(name), key, input, stamp)

    async def observe(self, name: str, key: Key, report: BaseModel) -> None:
        """The world looks like ``report`` for ``key``: it is its cache, and where that was another the
        function is called."""
        async with clear_errors(self._client):
            await send_order(self._client, name, "observe", key, report.model_dump_json())

    # How they are, and what people do about it.

    async def overview(self, *names: str) -> list[ReconcilerSaid]:
        """The registered reconcilers, or those with ``names``, and how they are."""
        return await ask_reconcilers.reconcilers(self._client, *names)

    async def keys(self, name: str, *, only: Literal["", "ill"] = "") -> list[KeySaid]:
        """The keys of a reconciler; ``only`` those that are not ready."""
        return await ask_reconcilers.keys_of(self._client, name, only)

    async def describe(self, name: str, key: Key) -> KeySaid:
        """What is known of a key: desired, observed, the cache, the attempt, the next try, the last error,
        who calls it, what its finalizer waits for. Raises UnknownNameError."""
        return await ask_reconcilers.key_of(self._client, name, key)

    async def pause(self, name: str, key: Key | None = None, *, paused: bool = True) -> None:
        """Call a key, or (None) all of them, no more; calls under way end. ``paused`` False: go on."""
        await self._tell(name, "pause" if paused else "resume", key)

    async def retry(self, name: str, key: Key | None = None) -> None:
        """Call a key now, whatever it waits for; None: all that are stalled or fail."""
        await self._tell(name, "retry", key)

    async def delete(self, name: str, key: Key | None = None, *, force: bool = False) -> list[str]:
        """Have a key leave, or (None) forget the whole reconciler: finalizers are called until they succeed.
        ``force``: without them. Returns the workers that do it."""
        if key is not None:
            await self._tell(name, "leave", key, force=force)
            return []
        async with clear_errors(self._client):
            return await delete_reconciler(self._client, name, force=force)

    async def _tell(self, name: str, word: Word, key: Key | None, *, force: bool = False) -> None:
        found = key if key is None else (await self.describe(name, key)).key
        async with clear_errors(self._client):
            await send_order(self._client, name, word, found, force=force)

    def _definition(self, name: str) -> Definition:
        (found,) = declared(name)
        return found.definition

    async def _order(self, definition: Definition, key: Key, input: Any, stamp: int | None) -> None:
        async with clear_errors(self._client):
            if definition.follow is None:
                await order_key(self._client, definition, "", key, input, stamp)
            elif input is None:
                await send_order(self._client, definition.name, "matter", key)
            else:
                raise ReconcilerError(
                    f"reconciler {definition.name!r} follows metric {definition.follow!r}, which says what "
                    "its states are; notify a bucket"
                )

    async def _followed(self, name: str) -> Metric | None:
        try:
            return await ask.find_metric(self._client, name)
        except UnknownNameError:
            return None  # whoever applies it starts the workers

    async def _register(self, one: Reconciler) -> None:
        definition = one.definition
        metric: Metric | None = None
        async with clear_errors(self._client):
            if definition.follow is not None:
                metric = await self._followed(definition.follow)
            await register_reconciler(self._client, definition, metric)


class Bucket:
    """States by key that somebody tells, and a function that makes the world agree with them."""

    def __init__(self, reconcilers: Reconcilers, name: str, options: dict[str, Any]) -> None:
        self._reconcilers, self.name, self._options = reconcilers, name, options
        self._stop = asyncio.Event()
        self._declared: Reconciler | None = None

    def register(
        self,
        function: Function,
        *,
        input: type[BaseModel] | None = None,
        cache: type[BaseModel] = Nothing,
        finalizer: Finalizer | None = None,
    ) -> Reconciler:
        """Have ``function`` called for the keys of the bucket; states are read as ``input``."""
        made = reconciler(self.name, input=input, cache=cache, **self._options)(function)
        if finalizer is not None:
            made.finalizer(finalizer)
        self._declared = keep(made)
        return made

    async def work(self, *, graceful: timedelta = GRACE) -> None:
        """Make calls until ``close``, SIGTERM or Ctrl-C; calls that are under way then are finished."""
        if self._declared is None:
            raise ReconcilerError(f"bucket {self.name!r}: register a function before it works")
        async with stop_signals() as signalled:
            closing = asyncio.create_task(self._close_after(signalled))
            try:
                await self._reconcilers.run(self.name, stop=self._stop, graceful=graceful)
            finally:
                closing.cancel()

    async def _close_after(self, signalled: asyncio.Event) -> None:
        await signalled.wait()
        self._stop.set()

    async def notify(self, key: Key, input: Any, *, stamp: int | None = None) -> None:
        """The state of ``key`` is ``input``: it replaces one that waits."""
        await self._reconcilers._order(self._known(), key, input, stamp)

    async def matter(self, key: Key) -> None:
        """Have ``key`` called though nothing has changed."""
        await self._reconcilers._order(self._known(), key, None, None)

    async def observe(self, key: Key, report: BaseModel) -> None:
        """The world looks like ``report``; see ``Reconcilers.observe``."""
        await self._reconcilers.observe(self.name, key, report)

    async def forget(self, key: Key) -> None:
        """``key`` leaves: its finalizer is called until it succeeds, and it is forgotten then."""
        async with clear_errors(self._reconcilers._client):
            await send_order(self._reconcilers._client, self.name, "leave", key)

    def close(self) -> None:
        """Have ``work`` return, once the calls under way have ended."""
        self._stop.set()

    def _known(self) -> Definition:
        if self._declared is not None:
            return self._declared.definition
        made: Callable[[Function], Reconciler] = reconciler(self.name, **self._options)
        return made(_nobody).definition


async def _nobody(context: Any, desired: Any) -> None:
    """Stands for the function in a process that only notifies."""


def imported(module: str) -> None:
    """Import a module that declares reconcilers, also one of the current directory. Raises ReconcilerError
    where it cannot be imported."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ReconcilerError(
            f"--import: there is no module {error.name!r} in {Path.cwd()} or installed"
        ) from None
