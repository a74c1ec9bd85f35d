"""The state of some keys of a node, or of all of an aggregate, as plain values: in carried state, and in
archives of evicted keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from timeline_workers.algebra.event_log import EventLog
from timeline_workers.algebra.nodes.key_rows import (
    AggregateRows,
    DerivedRows,
    FusedRows,
    KeyRows,
    LeafRows,
    RowsShape,
)
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Tagged
from timeline_workers.errors import StateError

from .encoding import (
    decoding,
    pack_ints,
    pack_positions,
    pack_timeline,
    pack_values,
    unpack_ints,
    unpack_positions,
    unpack_timeline,
    unpack_values,
)


def pack_rows(rows: KeyRows | AggregateRows) -> dict[str, Any]:
    """``rows`` as plain values; the ``unpack_…_rows`` of their kind reads them back."""
    if isinstance(rows, LeafRows):
        return {
            "origins": pack_ints(rows.origins),
            "seen": pack_ints(rows.seen),
            "log": pack_log(rows.log),
            "output": pack_timeline(rows.output),
        }
    if isinstance(rows, FusedRows):
        return {
            "inputs": [pack_timeline(timeline) for timeline in rows.inputs],
            "nodes": [pack_timeline(timeline) for timeline in rows.outputs],
            "stale": [pack_ints(stale) for stale in rows.stale],
        }
    inputs = [None if timeline is None else pack_timeline(timeline) for timeline in rows.inputs]
    if isinstance(rows, DerivedRows):
        return {"inputs": inputs, "output": pack_timeline(rows.output), "stale": pack_ints(rows.stale)}
    return {
        "inputs": inputs,
        "outputs": {function: pack_timeline(output) for function, output in rows.outputs.items()},
        "groups": list(rows.groups),
        "since": rows.since,
    }


def unpack_rows(packed: dict[str, Any], shape: RowsShape) -> KeyRows | AggregateRows:
    """Reverse ``pack_rows`` of rows of this shape. Raises StateError when the parts do not belong together,
    or are of another shape."""
    if shape.kind == "leaf":
        return unpack_leaf_rows(packed)
    if shape.kind == "fused":
        return unpack_fused_rows(packed, shape.slots, shape.nodes)
    if shape.kind == "derived":
        return unpack_derived_rows(packed, shape.slots)
    return unpack_aggregate_rows(packed, shape.functions)


def unpack_key_rows(packed: dict[str, Any]) -> KeyRows:
    """Reverse ``pack_rows`` of some keys' rows, whatever kind of node held them."""
    if "nodes" in packed:
        return unpack_fused_rows(packed, len(packed["inputs"]), len(packed["nodes"]))
    return unpack_leaf_rows(packed) if "log" in packed else unpack_derived_rows(packed, len(packed["inputs"]))


def unpack_leaf_rows(packed: dict[str, Any]) -> LeafRows:
    """Reverse ``pack_rows`` of a leaf's. Raises StateError when the parts do not belong together."""
    with decoding("rows of a leaf"):
        rows = LeafRows(
            unpack_ints(packed["origins"]),
            unpack_ints(packed["seen"]).copy(),
            unpack_log(packed["log"]),
            unpack_timeline(packed["output"]),
        )
    if not len(rows.origins) == len(rows.seen) == rows.log.keys == rows.output.keys:
        raise StateError("the rows of a leaf are of different numbers of keys")
    return rows


def unpack_derived_rows(packed: dict[str, Any], slots: int) -> DerivedRows:
    """Reverse ``pack_rows`` of a derived node's with ``slots`` inputs. Raises StateError when the parts do
    not belong together."""
    with decoding("rows of a derived node"):
        rows = DerivedRows(
            _inputs(packed, slots), unpack_timeline(packed["output"]), unpack_ints(packed["stale"])
        )
    held = [rows.output, *(timeline for timeline in rows.inputs if timeline is not None)]
    if any(timeline.keys != rows.keys for timeline in held):
        raise StateError("the rows of a derived node are of different numbers of keys")
    return rows


def unpack_fused_rows(packed: dict[str, Any], slots: int, nodes: int) -> FusedRows:
    """Reverse ``pack_rows`` of ``nodes`` fused nodes' over ``slots`` leaves. Raises StateError when the parts
    do not belong together."""
    with decoding("rows of fused nodes"):
        inputs = tuple(unpack_timeline(timeline) for timeline in packed["inputs"])
        outputs = tuple(unpack_timeline(timeline) for timeline in packed["nodes"])
        stale = tuple(unpack_ints(instants) for instants in packed["stale"])
    if not outputs or (len(inputs), len(outputs), len(stale)) != (slots, nodes, nodes):
        raise StateError(
            f"rows of {len(outputs)} fused nodes over {len(inputs)} leaves, not {nodes} over {slots}"
        )
    counts = {*(timeline.keys for timeline in (*inputs, *outputs)), *map(len, stale)}
    if len(counts) != 1:
        raise StateError("the rows of fused nodes are of different numbers of keys")
    return FusedRows(inputs, outputs, stale)


def unpack_aggregate_rows(packed: dict[str, Any], functions: tuple[str, ...]) -> AggregateRows:
    """Reverse ``pack_rows`` of an aggregate's with these ``functions``. Raises StateError when the parts do
    not belong together."""
    with decoding("rows of an aggregate"):
        outputs = {function: unpack_timeline(packed["outputs"][function]) for function in functions}
        rows = AggregateRows(_inputs(packed, 2), outputs, tuple(packed["groups"]), int(packed["since"]))
    if any(output.keys > len(rows.groups) for output in outputs.values()):
        raise StateError("an aggregate has rows of groups that it does not name")
    return rows


def _inputs(packed: dict[str, Any], slots: int) -> tuple[Timeline | None, ...]:
    inputs = packed["inputs"]
    if len(inputs) != slots:
        raise StateError(f"rows of a node with {len(inputs)} inputs, not {slots}")
    return tuple(None if timeline is None else unpack_timeline(timeline) for timeline in inputs)


def pack_log(log: EventLog) -> list[Any]:
    """A log of events as plain values: counts, times, positions, values."""
    return [
        pack_ints(np.diff(log.offsets)),
        pack_ints(log.times),
        pack_positions(log.positions),
        None if log.values is None else pack_values(log.values),
    ]


def unpack_log(packed: list[Any]) -> EventLog:
    """Reverse ``pack_log``. Raises StateError when the columns do not belong together."""
    with decoding("a packed log of events"):
        counts, times, positions, values = packed
        lengths = unpack_ints(counts)
        column = None if values is None else unpack_values(values)
        log = EventLog(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            unpack_ints(times),
            unpack_positions(positions),
            column if isinstance(column, Tagged) else None,
        )
    parts = [len(log.positions), *([] if column is None else [len(column)])]
    if (lengths < 0).any() or any(part != len(log.times) for part in (int(log.offsets[-1]), *parts)):
        raise StateError("the columns of a packed log differ in length")
    if column is not None and log.values is None:
        raise StateError("a packed log holds values that no event has")
    return log
