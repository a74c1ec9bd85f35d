"""What the feeder signals to a leaf: one batch of its events, in columns."""

from __future__ import annotations

from ..algebra.leaves import LeafBatch, Progress
from ..algebra.values import Tagged
from ..errors import StateError
from .packing import (
    MESSAGE_BYTES,
    check_keys,
    decoding,
    pack,
    pack_ints,
    pack_positions,
    pack_values,
    unpack,
    unpack_ints,
    unpack_positions,
    unpack_values,
)

__all__ = [
    "LeafBatch",
    "Progress",
    "decode_leaf_batch",
    "encode_leaf_batch",
    "pack_progress",
    "unpack_progress",
]

PackedProgress = list[tuple[int, int, int, int | None]]


def pack_progress(progress: tuple[Progress, ...]) -> PackedProgress:
    """Progress as plain tuples."""
    return [(p.partition, p.major, p.minor, p.watermark) for p in progress]


def unpack_progress(packed: PackedProgress) -> tuple[Progress, ...]:
    """Reverse ``pack_progress``."""
    return tuple(Progress(*item) for item in packed)


def encode_leaf_batch(batch: LeafBatch) -> bytes:
    """Encode a batch for one leaf."""
    return pack(
        {
            "keys": batch.keys,
            "origins": pack_ints(batch.origins),
            "key": pack_ints(batch.key),
            "time": pack_ints(batch.time),
            "position": pack_positions(batch.position),
            "values": None if batch.values is None else pack_values(batch.values),
            "progress": pack_progress(batch.progress),
        },
        MESSAGE_BYTES,
    )


def decode_leaf_batch(payload: bytes) -> LeafBatch:
    """Reverse ``encode_leaf_batch``. Raises StateError for bytes that are no leaf batch."""
    message = unpack(payload, MESSAGE_BYTES)
    with decoding("a leaf batch"):
        check_keys(message["keys"])
        values = None if message["values"] is None else unpack_values(message["values"])
        if values is not None and not isinstance(values, Tagged):
            raise StateError("a leaf batch holds tagged values")
        batch = LeafBatch(
            message["keys"],
            unpack_ints(message["origins"]),
            unpack_ints(message["key"]),
            unpack_ints(message["time"]),
            unpack_positions(message["position"]),
            values,
            unpack_progress(message["progress"]),
        )
    rows = len(batch.time)
    if len(batch.origins) != len(batch.keys) or len(batch.key) != rows:
        raise StateError("a leaf batch's columns differ in length")
    if len(batch.position) != rows or (values is not None and len(values) != rows):
        raise StateError("a leaf batch's columns differ in length")
    if rows and not 0 <= int(batch.key.min()) <= int(batch.key.max()) < len(batch.keys):
        raise StateError("a leaf batch names a key it does not list")
    return batch
