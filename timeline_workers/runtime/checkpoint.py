"""The carried state of a worker, as bytes: its node's rows, its edges, and how far it has come.

A leaf carries the events that are still needed and its timeline, a derived node what is still needed of its
inputs' timelines and its own; fused nodes carry what is needed of their leaves once, and each its own. A
worker restored from it is the same worker: it answers, and sends, from then on what it would have. States of
earlier releases are read, too (``checkpoint_migrations``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.algebra.nodes.any_node import AnyNode, everything
from timeline_workers.algebra.nodes.fused import FusedNode
from timeline_workers.algebra.nodes.node import EventNode
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.errors import StateError
from timeline_workers.wire.edge_messages import InboundEdge, OutboundEdge
from timeline_workers.wire.encoding import decoding, pack, unpack
from timeline_workers.wire.key_state import (
    pack_rows,
    unpack_aggregate_rows,
    unpack_derived_rows,
    unpack_fused_rows,
    unpack_leaf_rows,
)
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
        "rows": pack_rows(everything(node)),
        "folded": node.compacted,
        "answerable_from": node.answerable_from,
        "too_late": node.too_late if isinstance(node, EventNode) else 0,
        "cut_off": worker.cut_off,
        "left_below": worker.left_below,
        "unseen": sorted(worker.unseen),
    }
    if isinstance(node, FusedNode):
        message["inner"] = [inner.answerable_from for inner in node.nodes[:-1]]
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
        worker.outbound[outbound.subscriber] = outbound
    _fill_node(node, message["rows"])
    node.compacted, node.answerable_from = message["folded"], message["answerable_from"]
    if isinstance(node, EventNode):
        node.too_late = message["too_late"]
    if isinstance(node, FusedNode):
        for inner, instant in zip(node.nodes[:-1], message["inner"], strict=True):
            inner.answerable_from = instant
    worker.cut_off = message["cut_off"]
    worker.left_below = message.get("left_below")
    # Of release 0.3.0 and before it is not known, and no name is doubted.
    worker.unseen = set(map(column_name, message.get("unseen", ())))


def _fill_node(node: AnyNode, packed: dict[str, Any]) -> None:
    if isinstance(node, AggregateNode):
        node.put_back(unpack_aggregate_rows(packed, node.expression.functions))
        return
    everyone = np.arange(len(node.keys), dtype=np.int64)
    if isinstance(node, EventNode):
        leaf = unpack_leaf_rows(packed)
        _check_keys(leaf.keys, len(everyone))
        node.put_back(everyone, leaf)
    elif isinstance(node, FusedNode):
        fused = unpack_fused_rows(packed, len(node.inputs), len(node.nodes))
        _check_keys(fused.keys, len(everyone))
        node.put_back(everyone, fused)
    else:
        derived = unpack_derived_rows(packed, len(node.inputs))
        _check_keys(derived.keys, len(everyone))
        node.put_back(everyone, derived)


def _check_keys(held: int, named: int) -> None:
    if held != named:
        raise StateError(f"carried state names {named} keys and holds rows of {held}")
