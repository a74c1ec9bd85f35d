"""Asking the workers of reconcilers: how they are, and what is known of a key."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client
from temporalio.service import RPCError

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, UnknownNameError
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.reconcilers.reconciler_status import GroupSaid, KeyPage, KeySaid
from timeline_workers.reconcilers.reconciler_workers import worker_of
from timeline_workers.settings.timeline_settings import Settings
from workflows.reconciling.reconciler_workflow import calls_queue
from workflows.reconciling.start_reconcilers import find_reconciler, registered_reconcilers, running_workers

from .ask_worker import ask_worker, gather
from .client_errors import clear_errors
from .queues import queue_of

_PAGE = 200


class ReconcilerSaid(BaseModel):
    """A reconciler. ``groups``: what its workers say; ``missing``: workers that do not run, or do not answer;
    ``processes``: how many processes have asked for calls of late."""

    model_config = ConfigDict(frozen=True)

    definition: Definition
    groups: tuple[GroupSaid, ...] = ()
    missing: tuple[str, ...] = ()
    processes: int = 0

    def total(self, field: str) -> int:
        """The sum of a number of the workers."""
        return sum(getattr(group, field) for group in self.groups)

    @property
    def paused(self) -> bool:
        """Whether all of it is paused."""
        return bool(self.groups) and all(group.paused for group in self.groups)

    @property
    def state(self) -> str:
        """How it is, in words."""
        if not self.groups and self.definition.follow:
            return f"waits for metric {self.definition.follow}"
        if self.missing:
            return f"{len(self.missing)} of {len(self.missing) + len(self.groups)} workers do not answer"
        if any(group.ending for group in self.groups):
            return "is being deleted"
        if self.paused:
            return "paused"
        waiting = self.total("keys") - self.total("ready")
        if waiting and not self.processes:
            return "no process calls it"
        if stalled := self.total("stalled"):
            return f"{stalled} stalled"
        failing = self.total("failing")
        return f"{failing} failing" if failing else "ok"


async def reconcilers(client: Client, *names: str) -> list[ReconcilerSaid]:
    """The registered reconcilers, or those with ``names``, and how they are."""
    async with clear_errors(client):
        if names:
            found = [await find_reconciler(client, name) for name in names]
        else:
            found = await registered_reconcilers(client)
        return [await _look(client, definition) for definition in found]


async def _look(client: Client, definition: Definition) -> ReconcilerSaid:
    ids = await running_workers(client, definition)
    asked = await gather([lambda one=one: _group(client, one) for one in ids])  # type: ignore[misc]
    name = calls_queue(Settings.from_env().task_queue, definition.name)
    queue = await queue_of(client, name, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    return ReconcilerSaid(
        definition=definition,
        groups=tuple(group for group in asked if group is not None),
        missing=tuple(one for one, group in zip(ids, asked, strict=True) if group is None),
        processes=queue.processes,
    )


async def _group(client: Client, worker_id: str) -> GroupSaid | None:
    try:
        return GroupSaid.model_validate(await ask_worker(client, worker_id, "reconciler"))
    except UnknownNameError:
        return None


async def keys_of(client: Client, name: str, only: str = "") -> list[KeySaid]:
    """The keys of a reconciler, those that are not ready with ``only`` ``ill``."""
    async with clear_errors(client):
        definition = await find_reconciler(client, name)
        ids = await running_workers(client, definition)
    found: list[KeySaid] = []
    for worker_id in ids:
        after: int | None = 0
        while after is not None:
            question = {"after": after, "limit": _PAGE, "only": only}
            page = KeyPage.model_validate(await ask_worker(client, worker_id, "reconciler_keys", question))
            found += page.keys
            after = page.next
    return found


async def key_of(client: Client, name: str, key: Key) -> KeySaid:
    """What is known of a key; the process that calls it, too. A text that is no key, and is written as a
    whole number, is one. Raises UnknownNameError."""
    async with clear_errors(client):
        definition = await find_reconciler(client, name)
    try:
        said = await _key(client, definition, key)
    except UnknownNameError as error:
        if not isinstance(key, str) or not key.lstrip("-").isdecimal():
            if error.code is Code.NOT_RUNNING and definition.partitions == "per-key":
                raise UnknownNameError(
                    f"reconciler {name!r} has no key {key!r}", code=Code.UNKNOWN_KEY
                ) from None
            raise
        said = await _key(client, definition, int(key))
    if said.batch is None:
        return said
    return said.model_copy(update={"lease_holder": await _holder(client, said)})


async def _key(client: Client, definition: Definition, key: Key) -> KeySaid:
    worker_id = worker_of(definition, key)
    return KeySaid.model_validate(await ask_worker(client, worker_id, "reconciler_key", {"key": key}))


async def _holder(client: Client, said: KeySaid) -> str | None:
    """The process that the server has given the calls to; None: nobody has taken them yet."""
    try:
        described = await client.get_workflow_handle(said.workflow).describe()
    except RPCError:
        return None
    pending = described.raw_description.pending_activities
    return next((one.last_worker_identity or None for one in pending if one.activity_id == said.batch), None)


async def existing_key(client: Client, name: str, key: str) -> Key:
    """The key that a text of the command line means. Raises UnknownNameError."""
    return (await key_of(client, name, key)).key
