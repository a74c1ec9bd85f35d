"""The batch that the feeder signals to a leaf: its part of the events, in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from timeline_workers.algebra.leaf_input import LeafBatch, Noted, Progress
from timeline_workers.columns.values import INT64_MAX, INT64_MIN, Tagged
from timeline_workers.errors import StateError
from timeline_workers.events.times import EARLIEST, LATEST

from .encoding import (
    MESSAGE_BYTES,
    MESSAGE_ROWS,
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
    "column_name",
    "decode_leaf_batch",
    "encode_leaf_batch",
    "noted_of",
    "pack_noted",
    "pack_progress",
    "progress_fields",
    "progress_of_fields",
    "unpack_noted",
    "unpack_progress",
]

_NOTED = {field.name: type(field.default) for field in fields(Noted)}
_PLACE_AND_COUNTS = 7
_WORDS = 1_000  # characters of a reason, at most

PackedProgress = list[tuple[int, int, int, int | None, int, int, int | None]]


def pack_progress(progress: tuple[Progress, ...]) -> PackedProgress:
    """Progress as plain tuples, for carried state."""
    return [(p.partition, p.major, p.minor, p.watermark, p.late, p.refused, p.published) for p in progress]


def unpack_progress(packed: Sequence[Sequence[Any]]) -> tuple[Progress, ...]:
    """Reverse ``pack_progress``, also of release 0.1.0, which knew no counts. Raises StateError."""
    with decoding("progress"):
        progress = tuple(Progress(*item) for item in packed)
        for p, item in zip(progress, packed, strict=True):
            if len(item) > _PLACE_AND_COUNTS:
                raise StateError(f"progress {item!r:.200} has more than {_PLACE_AND_COUNTS} numbers")
            numbers = [p.partition, p.major, p.minor, p.late, p.refused]
            numbers += [mark for mark in (p.watermark, p.published) if mark is not None]
            if set(map(type, numbers)) != {int} or not INT64_MIN <= min(numbers) <= max(numbers) <= INT64_MAX:
                raise StateError(f"progress {p!r:.200} is not made of numbers")
        return progress


def pack_noted(progress: tuple[Progress, ...]) -> list[dict[str, int | str]]:
    """What is noted of each partition of ``progress``, without what says nothing; empty when nothing is."""
    noted = [{name: value for name, value in asdict(p.noted).items() if value} for p in progress]
    return noted if any(noted) else []


def unpack_noted(progress: tuple[Progress, ...], packed: Sequence[Mapping[str, Any]]) -> tuple[Progress, ...]:
    """``progress`` with what ``pack_noted`` made; what a later release notes besides is left out.

    Raises StateError.
    """
    if not packed:
        return progress
    with decoding("what is noted of a source"):
        return tuple(replace(p, noted=noted_of(item)) for p, item in zip(progress, packed, strict=True))


def noted_of(item: Mapping[str, Any]) -> Noted:
    """What is noted of one partition, from its fields, some of which may be unknown. Raises StateError."""
    known = {name: item[name] for name in _NOTED if name in item}
    for name, value in known.items():
        if type(value) is not _NOTED[name]:
            raise StateError(f"{name} {value!r:.200} is not of type {_NOTED[name].__name__}")
        if isinstance(value, str) and len(value) > _WORDS:
            raise StateError(f"{name} has {len(value)} characters, {_WORDS} at most")
    return Noted(**known)


def progress_fields(progress: tuple[Progress, ...]) -> dict[str, Any]:
    """Progress as fields of a message: ``progress`` as release 0.1.0 has it, so that its workers can read it,
    and ``counts`` beside it.
    """
    packed = pack_progress(progress)
    counts = [item[4:] for item in packed]
    said = {"counts": counts} if any(count != (0, 0, None) for count in counts) else {}
    return {"progress": [item[:4] for item in packed], **said}


def progress_of_fields(message: Mapping[str, Any]) -> tuple[Progress, ...]:
    """Reverse ``progress_fields``."""
    progress, counts = message["progress"], message.get("counts")
    if counts is None:
        return unpack_progress(progress)
    return unpack_progress([(*place, *count) for place, count in zip(progress, counts, strict=True)])


def column_name(name: object) -> str:
    """``name``, which was written elsewhere. Raises StateError unless it is a string."""
    if not isinstance(name, str):
        raise StateError(f"{name!r:.200} is not the name of a column")
    return name


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
            **progress_fields(batch.progress),
            **({"seen": list(batch.seen)} if batch.seen else {}),
            **({"noted": noted} if (noted := pack_noted(batch.progress)) else {}),
        },
        MESSAGE_BYTES,
    )


def decode_leaf_batch(payload: bytes) -> LeafBatch:
    """Reverse ``encode_leaf_batch``. Raises StateError for bytes that are no leaf batch."""
    message = unpack(payload, MESSAGE_BYTES)
    with decoding("a leaf batch"):
        check_keys(message["keys"])
        values = None if message["values"] is None else unpack_values(message["values"], MESSAGE_ROWS)
        if values is not None and not isinstance(values, Tagged):
            raise StateError("a leaf batch holds tagged values")
        batch = LeafBatch(
            message["keys"],
            unpack_ints(message["origins"], MESSAGE_ROWS),
            unpack_ints(message["key"], MESSAGE_ROWS),
            unpack_ints(message["time"], MESSAGE_ROWS),
            unpack_positions(message["position"], MESSAGE_ROWS),
            values,
            unpack_noted(progress_of_fields(message), message.get("noted", ())),
            tuple(map(column_name, message.get("seen", ()))),
        )
    rows = len(batch.time)
    if len(batch.origins) != len(batch.keys) or len(batch.key) != rows:
        raise StateError("a leaf batch's columns differ in length")
    if len(batch.position) != rows or (values is not None and len(values) != rows):
        raise StateError("a leaf batch's columns differ in length")
    if rows and not 0 <= int(batch.key.min()) <= int(batch.key.max()) < len(batch.keys):
        raise StateError("a leaf batch names a key it does not list")
    for times in (batch.time, batch.origins):
        if len(times) and not EARLIEST <= int(times.min()) <= int(times.max()) <= LATEST:
            raise StateError("a leaf batch has a time outside the years 1 to 9999")
    return batch
