"""The carried state of a worker: what it was told, not what follows from it.

A leaf carries its events, a derived node copies of its children's timelines, both with their edges and
high-water marks. The node's own timeline is computed again from them, by the same operator, when the state
is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..algebra.aggregate import AggregateNode
from ..algebra.log import EventLog
from ..algebra.nodes import DerivedNode, EventNode, Revision
from ..algebra.timelines import Key, KeyTable
from ..algebra.values import Tagged
from ..errors import StateError
from ..wire.edges import BEGINNING, InboundEdge, OutboundEdge
from ..wire.leaf import pack_progress, unpack_progress
from ..wire.packing import (
    pack,
    pack_ints,
    pack_positions,
    pack_timeline,
    pack_values,
    unpack,
    unpack_ints,
    unpack_positions,
    unpack_timeline,
    unpack_values,
)

if TYPE_CHECKING:
    from .worker import NodeWorker

VERSION = 1


def pack_state(worker: NodeWorker) -> bytes:
    """Everything ``worker`` must carry, as bytes."""
    node = worker.node
    message: dict[str, Any] = {
        "version": VERSION,
        "worker": worker.spec.worker_id,
        "keys": node.keys.names,
        "progress": pack_progress(worker.progress),
        "repeated": worker.repeated,
        "inputs_taken": worker.inputs_taken,
        "inbound": [edge.carried() for edges in worker.inbound.values() for edge in edges],
        "outbound": [edge.carried() for edge in worker.outbound.values()],
    }
    if isinstance(node, EventNode):
        log = node.log.log(len(node.origins))
        message["origins"] = pack_ints(node.origins)
        message["log"] = [
            pack_ints(np.diff(log.offsets)),
            pack_ints(log.times),
            pack_positions(log.positions),
            None if log.values is None else pack_values(log.values),
        ]
    else:
        message["inputs"] = [None if t is None else pack_timeline(t.timeline()) for t in node.inputs]
    return pack(message)


def unpack_state(worker: NodeWorker, data: bytes) -> None:
    """Fill a new ``worker`` with carried state.

    Raises StateError when the bytes are no state, are of another worker, or of a version this release
    cannot read.
    """
    message = unpack(data)
    version = message.get("version")
    if version != VERSION:
        raise StateError(f"carried state has version {version!r}; this release reads {VERSION}")
    if message.get("worker") != worker.spec.worker_id:
        raise StateError(f"carried state is of {message.get('worker')!r}, not of {worker.spec.worker_id!r}")
    try:
        _fill(worker, message)
    except (KeyError, TypeError, ValueError, IndexError, msgspec.MsgspecError) as error:
        raise StateError(f"carried state of {worker.spec.worker_id} cannot be read: {error!r}") from error


def _fill(worker: NodeWorker, message: dict[str, Any]) -> None:
    names: list[Key] = message["keys"]
    worker.node.keys = KeyTable(names, {name: number for number, name in enumerate(names)})
    worker.progress = unpack_progress(message["progress"])
    worker.repeated = message["repeated"]
    worker.inputs_taken = message["inputs_taken"]
    for edge in map(InboundEdge.restored, message["inbound"]):
        held = worker.inbound[edge.sender]
        worker.inbound[edge.sender] = [edge if other.slot == edge.slot else other for other in held]
    for outbound in map(OutboundEdge.restored, message["outbound"]):
        worker.outbound[outbound.subscriber] = outbound
    if isinstance(worker.node, EventNode):
        _fill_leaf(worker.node, message)
    else:
        _fill_derived(worker.node, message)


def _fill_leaf(node: EventNode, message: dict[str, Any]) -> None:
    counts, times, positions, values = message["log"]
    offsets = np.concatenate([[0], np.cumsum(unpack_ints(counts))]).astype(np.int64)
    column = None if values is None else unpack_values(values)
    assert column is None or isinstance(column, Tagged)
    log = EventLog(offsets, unpack_ints(times), unpack_positions(positions), column)
    node.rebuild(log, unpack_ints(message["origins"]))


def _fill_derived(node: DerivedNode | AggregateNode, message: dict[str, Any]) -> None:
    for slot, packed in enumerate(message["inputs"]):
        if packed is None:
            continue
        timeline = unpack_timeline(packed)
        keys = np.flatnonzero(np.diff(timeline.offsets))
        if not len(keys):
            continue
        ends = timeline.offsets[np.append(keys, timeline.keys)]
        suffix = type(timeline)(ends, timeline.starts, timeline.values)
        node.receive(slot, Revision(keys, np.full(len(keys), BEGINNING, np.int64), suffix))
    node.advance()
