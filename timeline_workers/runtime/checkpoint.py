"""The carried state of a worker, as bytes: its node's rows, its edges, and how far it has come.

A leaf carries the events that are still needed and its timeline, a derived node what is still needed of its
inputs' timelines and its own; fused nodes carry what is needed of their leaves once, and each its own. A
worker restored from it is the same worker: it answers, and sends, from then on what it would have. States of
earlier releases are read, too (``checkpoint_migrations``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timeline_workers.algebra.nodes.published_values import published
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.errors import StateError
from timeline_workers.wire.edge_messages import InboundEdge, OutboundEdge, edge_name
from timeline_workers.wire.encoding import decoding, pack, unpack
from timeline_workers.wire.key_state import pack_rows, unpack_rows
from timeline_workers.wire.leaf_batch import (
    column_name,
    pack_noted,
    pack_progress,
    unpack_noted,
    unpack_progress,
)

from .checkpoint_migrations import VERSION, migrated

if TYPE_CHECKING:
    from .node_worker import NodeWorker


def pack_state(worker: NodeWorker) -> bytes:
    """Everything ``worker`` must carry, as bytes."""
    node = worker.node
    inner = [part.answerable_from for part in node.parts()[:-1]]
    message: dict[str, Any] = {
        "version": VERSION,
        "worker": worker.spec.worker_id,
        "keys": node.keys.names,
        "progress": pack_progress(worker.progress),
        "noted": pack_noted(worker.progress),
        "repeated": worker.repeated,
        "inputs_taken": worker.inputs_taken,
        "inbound": [edge.carried() for edges in worker.inbound.values() for edge in edges],
        "outbound": [edge.carried() for edge in worker.outbound.values()],
        "rows": pack_rows(node.copy_all()),
        "folded": node.compacted,
        "answerable_from": node.answerable_from,
        "too_late": node.too_late,
        "cut_off": worker.cut_off,
        "left_below": worker.left_below,
        "unseen": sorted(worker.unseen),
    }
    if inner:
        message["inner"] = inner
    if node.before:
        message["before"] = node.before
    return pack(message)


def unpack_state(worker: NodeWorker, data: bytes) -> None:
    """Fill a new ``worker`` with carried state, of this release or an earlier one.

    Raises StateError when the bytes are no state, are of another worker, or of a version this release
    cannot read.
    """
    message = unpack(data)
    if message.get("worker") != worker.spec.worker_id:
        raise StateError(f"carried state is of {message.get('worker')!r}, not of {worker.spec.worker_id!r}")
    with decoding(f"carried state of {worker.spec.worker_id} that can be read"):
        _fill(worker, migrated(message, worker.spec))


def _fill(worker: NodeWorker, message: dict[str, Any]) -> None:
    node = worker.node
    names: list[Key] = message["keys"]
    node.keys = KeyTable(names)
    worker.progress = unpack_noted(unpack_progress(message["progress"]), message.get("noted", ()))
    worker.repeated = message["repeated"]
    worker.inputs_taken = message["inputs_taken"]
    for edge in map(InboundEdge.restored, message["inbound"]):
        held = worker.inbound[edge.sender]
        worker.inbound[edge.sender] = [edge if other.slot == edge.slot else other for other in held]
    for outbound in map(OutboundEdge.restored, message["outbound"]):
        worker.outbound[edge_name(outbound.subscriber, outbound.output)] = outbound
    node.put_all(unpack_rows(message["rows"], node.rows_shape))
    node.compacted, node.answerable_from = message["folded"], message["answerable_from"]
    node.too_late = message["too_late"]
    node.before = published(message.get("before", ""))
    node.put_inner_marks(message.get("inner", ()))
    worker.cut_off = message["cut_off"]
    worker.left_below = message.get("left_below")
    # Of release 0.3.0 and before it is not known, and no name is doubted.
    worker.unseen = set(map(column_name, message.get("unseen", ())))
