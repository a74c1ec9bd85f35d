"""Asking about keys: each at the worker that holds it or, when it has left that, at the worker's archives.

An archive does not know how far its worker is. So that its answers are final where the worker's would be, it
is told the worker's watermark, read before the worker was asked and did not hold the key: what is below that
had been applied by then, and nothing of it was the key's since it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio.client import Client

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import UnknownNameError
from workflows.archive.archive_activities import archive_id
from workflows.worker_status import WorkerStatus

from .ask_worker import LeftError, TooLargeError, ask_status, ask_worker

_PAGE = 10_000


async def ask_key(client: Client, worker: str, query: str, question: dict[str, Any]) -> Any:
    """Ask ``worker`` a question about its ``key``, and its archives when it does not hold that.

    Raises QuestionError with the words of whoever holds the key, UnknownNameError with the worker's when
    nobody does.
    """
    try:
        return await ask_worker(client, worker, query, question)
    except LeftError:
        mark = _watermark(await ask_status(client, worker), question.get("node"))
    try:
        return await ask_worker(client, worker, query, question)
    except LeftError as error:
        refusal = error
    for archive in await archives_of(client, worker):
        try:
            return await ask_worker(client, archive, query, {**question, **mark})
        except UnknownNameError:
            continue  # not in there, or ended by others; the worker's status says so
    raise refusal


async def ask_keys(
    client: Client, holder: Holder, query: str, question: dict[str, Any], keys: list[Key]
) -> list[dict[str, Any]]:
    """One question about some keys of a worker or archive, cut in halves until the replies are small enough.

    A key that has left the worker meanwhile is asked for where it is.
    """
    try:
        asked = {"keys": keys, **question, **holder.watermark}
        return listed(await ask_worker(client, holder.workflow_id, query, asked))
    except (TooLargeError, LeftError) as error:
        if len(keys) == 1:
            if isinstance(error, TooLargeError):
                raise
            return listed(await ask_key(client, holder.workflow_id, query, {"key": keys[0], **question}))
        middle = len(keys) // 2
        first = await ask_keys(client, holder, query, question, keys[:middle])
        return first + await ask_keys(client, holder, query, question, keys[middle:])


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker or archive with those of its keys to ask it for; ``watermark`` goes with the questions."""

    workflow_id: str
    keys: list[Key]
    watermark: dict[str, int]


async def holders(client: Client, worker: str, node: str | None = None) -> list[Holder]:
    """Who holds the keys of ``worker``: the worker itself, and its archives, the newest first. Each key is
    listed once. ``node``: which of several nodes of the worker questions will be about.
    """
    mark = _watermark(await ask_status(client, worker), node)
    found = [Holder(worker, await _keys_of(client, worker), {})]
    seen = {(type(key), key) for key in found[0].keys}
    for archive in await archives_of(client, worker):
        try:
            keys = [key for key in await _keys_of(client, archive) if (type(key), key) not in seen]
        except UnknownNameError:
            continue
        seen.update((type(key), key) for key in keys)
        found.append(Holder(archive, keys, mark))
    return found


async def archives_of(client: Client, worker: str) -> list[str]:
    """The ids of the archives of ``worker``, the newest first."""
    status = await ask_status(client, worker)  # a worker of release 0.1.0 knows of none
    return [archive_id(worker, number) for number in reversed(range(status.archives))]


def _watermark(status: WorkerStatus, node: str | None) -> dict[str, int]:
    if status.state is None:
        return {}
    of = status.state if node is None else status.state.nodes.get(node)
    return {} if of is None or of.watermark is None else {"watermark": of.watermark}


async def _keys_of(client: Client, holder: str) -> list[Key]:
    keys: list[Key] = []
    after: int | None = 0
    numbering = None
    limit = _PAGE
    while after is not None:
        try:
            page = await ask_worker(client, holder, "keys", {"after": after, "limit": limit})
        except TooLargeError:
            # Keys may have a kilobyte each.
            if limit == 1:
                raise
            limit //= 2
            continue
        if after and page.get("numbering") != numbering:
            # Keys have left between two pages, and the others have moved up.
            keys, after = [], 0
            continue
        numbering = page.get("numbering")
        keys += page["keys"]
        after = page["next"]
    return keys


def listed(answer: Any) -> list[dict[str, Any]]:
    """One answer or several, as a list."""
    return answer if isinstance(answer, list) else [answer]
