"""Activities that store keys in archives and get them back.

Storing is a signal that starts the archive where there is none: at least once, which an archive cannot tell
from once. Getting back is a question to the archives, the newest first; what each process has learnt about
which keys an archive may hold spares most of them the question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
from temporalio import activity
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError
from timeline_workers.runtime.key_archive import fingerprint
from workflows.durable.activities import heartbeats, signal_worker, tell, wait_until_ended
from workflows.messages import ArchiveInput, RecallInput
from workflows.registry import ARCHIVE

RECALL_BYTES = 768 * 1024
_QUERY_TIMEOUT = timedelta(seconds=20)
_REMEMBERED = 64  # archives, of some 400 KB each
_known: OrderedDict[tuple[str, str, str, int], Any] = OrderedDict()


class Recalled(msgspec.Struct, array_like=True, frozen=True):
    """What is known of keys that a worker has asked for.

    ``segments`` of keys that are here, ``rest``: keys to ask for again, for the reply was full. Of an archive
    ``held`` are those that it holds, with ``rest`` among them; of all archives ``lost`` are the ids of those
    that do not run any more.
    """

    segments: list[bytes] = []
    rest: list[str | int] = []
    held: list[str | int] = []
    lost: list[str] = []


_RECALLED = msgspec.msgpack.Decoder(Recalled)


def pack_recalled(recalled: Recalled) -> bytes:
    """Encode; ``unpack_recalled`` reads it."""
    return msgspec.msgpack.encode(recalled)


def unpack_recalled(packed: bytes) -> Recalled:
    """Reverse ``pack_recalled``. Raises StateError for other bytes."""
    try:
        return _RECALLED.decode(packed)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no reply of archives: {error}") from error


def archive_id(worker_id: str, number: int) -> str:
    """The workflow id of an archive of a worker."""
    return f"{worker_id}.archive-{number}"


@activity.defn
async def store_segment(archive: str, segment: bytes) -> None:
    """Have an archive that was begun before hold ``segment``, too. Fails as ``WorkerGone`` when it does not
    run: a new one of the same name would hide what it held.
    """
    await tell(archive, "store", segment)


@activity.defn
async def begin_archive(archive: str, input: ArchiveInput, segment: bytes) -> None:
    """Have an archive hold ``segment``; it is started if it does not run."""
    spec = input.spec
    await activity.client().start_workflow(
        ARCHIVE.type,
        args=[input, b""],
        id=archive,
        task_queue=activity.info().task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        start_signal="store",
        start_signal_args=[segment],
        memo={"worker": spec.worker_id, "partition": spec.partition, "topic": spec.source.topic},
        static_summary=f"Archived keys of {spec.worker_id}",
    )


@activity.defn
async def recall_keys(question: RecallInput) -> bytes:
    """The newest of what the archives hold of the keys asked for, as ``Recalled``, packed.

    Raises ApplicationError, to be tried again, while an archive cannot answer; one that does not run any more
    is named in ``lost`` instead, and known to hold nothing.
    """
    client = activity.client()
    names: list[Key] = list(question.names)
    segments: list[bytes] = []
    lost: list[str] = []
    for number in reversed(range(question.archives)):
        if not names:
            break
        archive = archive_id(question.worker_id, number)
        # Only the last one is sent more keys, each time that some leave.
        version = question.departures if number == question.archives - 1 else -1
        room = max(1, RECALL_BYTES - sum(map(len, segments)))
        async with heartbeats():
            part = await _recall(client, archive, question.life, version, names, room)
        if part is None:
            lost.append(archive)
            continue
        segments += part.segments
        held = set(part.held)
        names = [name for name in names if name not in held]
        if part.rest:
            return pack_recalled(Recalled(segments, [*part.rest, *names], lost=lost))
    return pack_recalled(Recalled(segments, lost=lost))


async def _recall(
    client: Client, archive: str, life: str, version: int, names: Sequence[Key], room: int
) -> Recalled | None:
    try:
        place = (client.namespace, archive, life, version)
        if place not in _known:
            hashes = await _ask(client, archive, "fingerprints", life)
            _known[place] = np.frombuffer(hashes, "<u4")
            if len(_known) > _REMEMBERED:
                _known.popitem(last=False)
        _known.move_to_end(place)
        prints = np.fromiter(map(fingerprint, names), np.uint32, len(names))
        likely = [names[i] for i in np.flatnonzero(np.isin(prints, _known[place])).tolist()]
        if not likely:
            return Recalled()
        asked = {"keys": likely, "life": life, "limit": room}
        return unpack_recalled(await _ask(client, archive, "recall", asked))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _ask(client: Client, archive: str, query: str, question: Any) -> bytes:
    try:
        handle = client.get_workflow_handle(archive)
        answer = await handle.query(query, question, result_type=bytes, rpc_timeout=_QUERY_TIMEOUT)
    except WorkflowQueryFailedError as error:
        raise ApplicationError(f"archive {archive} does not answer: {error}") from error
    return bytes(answer)


async def end_archives(client: Client, worker_id: str, reason: str) -> list[str]:
    """End the archives of a worker that has ended; returns their ids when they have ended, too."""
    ended: list[str] = []
    while await signal_worker(client, archive := archive_id(worker_id, len(ended)), "stop", reason):
        ended.append(archive)
    for archive in ended:
        await wait_until_ended(client, archive)
    return ended


ARCHIVE_ACTIVITIES = (begin_archive, store_segment, recall_keys)
