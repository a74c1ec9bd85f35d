"""Columns as compact bytes: the encoding shared by leaf batches, revisions and carried state.

A message is a MessagePack map (msgspec) of packed columns, compressed with zstd. Whole-number columns are
stored as they are or as differences, whichever needs the narrower integers. Arrow's IPC format was looked
at: its schema costs about a kilobyte a message, which is more than most messages hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from ..algebra.timelines import Timeline
from ..algebra.values import STRING, Bools, Flags, Int64, Linear, Numbers, StringTable, Tagged, Values
from ..errors import StateError
from ..events.batch import Positions

_WIDTHS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)
_MAX_MESSAGE = 1 << 30


def pack(message: dict[str, Any]) -> bytes:
    """Encode and compress a map of plain values and packed columns."""
    return zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(message))


def unpack(payload: bytes) -> dict[str, Any]:
    """Reverse ``pack``. Raises StateError for bytes that are no message."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=_MAX_MESSAGE)
        message = msgspec.msgpack.decode(raw)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise StateError(f"{len(payload)} bytes are no packed message: {error}") from error
    if not isinstance(message, dict):
        raise StateError(f"a packed message is a map, not {type(message).__name__}")
    return message


def pack_ints(column: NDArray[np.integer]) -> list[Any]:
    """Pack whole numbers of up to 64 bits: ``[count, mode, width, first, bytes]``."""
    values = np.ascontiguousarray(column, np.int64)
    count = len(values)
    if count == 0:
        return [0, 0, 0, 0, b""]
    first, low, high = int(values[0]), int(values.min()), int(values.max())
    if low == high:
        return [count, 0, 0, first, b""]
    if high - low < 2**62:
        width = _width(low - first, high - first)
        steps = np.diff(values)
        step_width = _width(int(steps.min()), int(steps.max()))
        if step_width < width:
            return [count, 2, step_width, first, steps.astype(_WIDTHS[step_width]).tobytes()]
        return [count, 1, width, first, (values - first).astype(_WIDTHS[width]).tobytes()]
    return [count, 3, 3, 0, values.tobytes()]


def unpack_ints(packed: Sequence[Any]) -> Int64:
    """Reverse ``pack_ints``."""
    count, mode, width, first, data = packed
    if mode == 0:
        return np.full(count, first, np.int64)
    stored = np.frombuffer(data, _WIDTHS[width]).astype(np.int64)
    if mode == 1:
        shifted: Int64 = stored + first
        return shifted
    if mode == 2:
        values = np.empty(count, np.int64)
        values[0] = first
        np.cumsum(stored, out=values[1:])
        values[1:] += first
        return values
    return stored


def _width(low: int, high: int) -> int:
    for index, kind in enumerate(_WIDTHS):
        info = np.iinfo(kind)
        if info.min <= low and high <= info.max:
            return index
    raise StateError(f"{low}..{high} does not fit 64 bits")


def pack_bools(column: Bools) -> list[Any]:
    """Pack booleans, eight a byte: ``[count, bytes]``."""
    return [len(column), np.packbits(column).tobytes()]


def unpack_bools(packed: Sequence[Any]) -> Bools:
    """Reverse ``pack_bools``."""
    count, data = packed
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(np.bool_)


def _pack_numbers(numbers: Numbers) -> list[Any]:
    if numbers.dtype == np.object_:
        return ["exact", [str(Fraction(n)) for n in numbers.tolist()]]
    return ["ints", pack_ints(numbers.astype(np.int64))]


def _unpack_numbers(packed: Sequence[Any]) -> Numbers:
    kind, data = packed
    if kind == "ints":
        return unpack_ints(data)
    numbers = np.empty(len(data), np.object_)
    numbers[:] = [Fraction(text) for text in data]
    return numbers


def pack_values(values: Values) -> list[Any]:
    """Pack a value column of any layout; of a string table only the used names."""
    if isinstance(values, Flags):
        return ["flags", pack_bools(values.data)]
    if isinstance(values, Linear):
        return ["linear", pack_bools(values.known), _pack_numbers(values.num), _pack_numbers(values.slope)]
    bits, names = values.bits, []
    strings = values.tags == STRING
    if strings.any():
        used, inverse = np.unique(bits[strings], return_inverse=True)
        names = [values.strings.names[code] for code in used.tolist()]
        bits = bits.copy()
        bits[strings] = inverse
    return ["tagged", pack_ints(values.tags), pack_ints(bits), names]


def unpack_values(packed: Sequence[Any]) -> Values:
    """Reverse ``pack_values``."""
    if packed[0] == "flags":
        return Flags(unpack_bools(packed[1]))
    if packed[0] == "linear":
        return Linear(unpack_bools(packed[1]), _unpack_numbers(packed[2]), _unpack_numbers(packed[3]))
    names = list(packed[3])
    table = StringTable(names, {name: code for code, name in enumerate(names)})
    return Tagged(unpack_ints(packed[1]).astype(np.uint8), unpack_ints(packed[2]), table)


def pack_timeline(timeline: Timeline) -> list[Any]:
    """Pack a timeline: row counts, starts and values."""
    return [pack_ints(np.diff(timeline.offsets)), pack_ints(timeline.starts), pack_values(timeline.values)]


def unpack_timeline(packed: Sequence[Any]) -> Timeline:
    """Reverse ``pack_timeline``. Raises StateError when the columns do not belong together."""
    counts, starts, values = unpack_ints(packed[0]), unpack_ints(packed[1]), unpack_values(packed[2])
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    if (counts < 0).any() or offsets[-1] != len(starts) or len(starts) != len(values):
        raise StateError("a timeline's row counts, starts and values differ in length")
    return Timeline(offsets, starts, values)


def pack_positions(positions: Positions) -> list[Any]:
    """Pack source positions."""
    return [pack_ints(positions.partition), pack_ints(positions.major), pack_ints(positions.minor)]


def unpack_positions(packed: Sequence[Any]) -> Positions:
    """Reverse ``pack_positions``."""
    partition, major, minor = (unpack_ints(column) for column in packed)
    return Positions(partition.astype(np.int32), major, minor)
