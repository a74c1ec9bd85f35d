"""Columns as compact bytes: the encoding shared by leaf batches, revisions and carried state.

A message is a MessagePack map (msgspec) of packed columns, compressed with zstd. Whole-number columns are
stored as they are or as differences, whichever needs the narrower integers. Arrow's IPC format was looked
at: its schema costs about a kilobyte a message, which is more than most messages hold.

What is read was written by another process and kept by a server, so nothing is taken on trust: frames carry a
checksum (those of release 0.1.0 do not, and are read all the same), sizes are bounded before memory is taken
for them, and whatever is wrong in between is a StateError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import (
    STRING,
    UNKNOWN,
    Bools,
    Flags,
    Int64,
    Linear,
    Numbers,
    StringTable,
    Tagged,
    Values,
)
from timeline_workers.errors import StateError

_WIDTHS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)
_LIMITS = (2**7, 2**15, 2**31, 2**63)
STATE_BYTES = 1 << 30
"""The most bytes before compression: a worker's carried state may be many rows that compress well."""
MESSAGE_BYTES = 1 << 26
"""The same for a message between workers: a few bytes that were made for it must not claim all memory."""
STATE_ROWS = 1 << 25
"""The most rows of a column: 256 MiB. On the wire, a column of one repeated value is a few bytes."""
MESSAGE_ROWS = 1 << 22
"""The same for a message between workers, which never holds a hundredth of it."""

_NUMBER = re.compile(r"-?[0-9]{1,4300}(?:/[0-9]{1,4300})?", re.ASCII)


def pack(message: dict[str, Any], most: int = STATE_BYTES) -> bytes:
    """Encode and compress a map of plain values and packed columns.

    Raises StateError when it has more than ``most`` bytes: ``unpack`` would refuse it.
    """
    return compress(encode(message), most)


def encode(message: dict[str, Any]) -> bytes:
    """Encode a map of plain values and packed columns; ``compress`` makes it a message."""
    return msgspec.msgpack.encode(message)


def compress(encoded: bytes, most: int = STATE_BYTES) -> bytes:
    """Compress what ``encode`` made, with a checksum; raises StateError when it is larger than ``most``."""
    if len(encoded) > most:
        raise StateError(f"a message of {len(encoded):,} bytes; {most:,} are the most that can be read again")
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(encoded)


def unpack(payload: bytes, most: int = STATE_BYTES) -> dict[str, Any]:
    """Reverse ``pack``. Raises StateError for bytes that are no message, or one of over ``most`` bytes."""
    try:
        # The library takes memory for as many bytes as the frame's header says, whatever it was told.
        size = zstandard.get_frame_parameters(payload).content_size
        if size > most:
            raise StateError(
                f"{len(payload)} bytes are no packed message: its size is not said, or over {most:,}"
            )
        raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=most, allow_extra_data=False)
        message = msgspec.msgpack.decode(raw)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise StateError(f"{len(payload)} bytes are no packed message: {error}") from error
    if not isinstance(message, dict):
        raise StateError(f"a packed message is a map, not {type(message).__name__}")
    return message


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn whatever goes wrong inside the block, where foreign values are taken apart, into StateError.

    ``what`` says what they should have been: "a leaf batch".
    """
    try:
        yield
    except StateError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
        MemoryError,
        msgspec.MsgspecError,
    ) as error:
        raise StateError(f"not {what}: {error!r}") from error


def check_keys(names: Sequence[Any]) -> None:
    """Raise StateError unless ``names`` are keys, strings and ints, each of them once."""
    if not set(map(type, names)) <= {str, int}:
        raise StateError("a list of keys holds something that is neither a string nor an int")
    if len(set(names)) != len(names):
        raise StateError("a list of keys holds one of them twice")


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
        steps = values[1:] - values[:-1]
        step_width = _width(int(steps.min()), int(steps.max()))
        if step_width < width:
            return [count, 2, step_width, first, steps.astype(_WIDTHS[step_width]).tobytes()]
        return [count, 1, width, first, (values - first).astype(_WIDTHS[width]).tobytes()]
    return [count, 3, 3, 0, values.tobytes()]


def unpack_ints(packed: Sequence[Any], most: int = STATE_ROWS) -> Int64:
    """Reverse ``pack_ints``. Raises StateError when it is no such column, or has more than ``most`` rows."""
    with decoding("a packed column"):
        count, mode, width, first, data = packed
        if not (type(count) is type(first) is int and isinstance(data, bytes) and 0 <= count <= most):
            raise StateError(f"a packed column of {count!r} rows; 0 to {most:,} can be read")
        if mode == 0 and not data:
            return np.full(count, first, np.int64)
        stored = np.frombuffer(data, _WIDTHS[width]).astype(np.int64)
        if mode not in (1, 2, 3) or len(stored) != count - (mode == 2):
            raise StateError(f"a packed column of {count} rows has {len(stored)} in mode {mode!r}")
        if mode == 1:
            shifted: Int64 = stored + np.int64(first)
            return shifted
        if mode == 2:
            values = np.empty(count, np.int64)
            values[0] = first
            np.cumsum(stored, out=values[1:])
            values[1:] += first
            return values
        return stored


def _width(low: int, high: int) -> int:
    for index, limit in enumerate(_LIMITS):
        if -limit <= low and high < limit:
            return index
    raise StateError(f"{low}..{high} does not fit 64 bits")


def pack_bools(column: Bools) -> list[Any]:
    """Pack booleans, eight a byte: ``[count, bytes]``."""
    return [len(column), np.packbits(column).tobytes()]


def unpack_bools(packed: Sequence[Any]) -> Bools:
    """Reverse ``pack_bools``. Raises StateError when it is no such column."""
    with decoding("a packed column"):
        count, data = packed
        if type(count) is not int or not isinstance(data, bytes) or len(data) != (count + 7) // 8:
            raise StateError(f"a packed column of {count!r} booleans has another number of bytes")
        return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(np.bool_)


def _pack_numbers(numbers: Numbers) -> list[Any]:
    if numbers.dtype == np.object_:
        return ["exact", [str(Fraction(n)) for n in numbers.tolist()]]
    return ["ints", pack_ints(numbers.astype(np.int64))]


def _unpack_numbers(packed: Sequence[Any], most: int) -> Numbers:
    kind, data = packed
    if kind == "ints":
        return unpack_ints(data, most)
    if kind != "exact" or not isinstance(data, list):
        raise StateError(f"packed numbers are ints or exact, not {kind!r}")
    numbers = np.empty(len(data), np.object_)
    numbers[:] = [_fraction(text) for text in data]
    return numbers


def _fraction(text: str) -> Fraction:
    # Fraction itself would read 1e999999999, and take a gigabyte for it.
    if not _NUMBER.fullmatch(text):
        raise StateError(f"{text[:40]!r} is no exact number")
    return Fraction(text)


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


def unpack_values(packed: Sequence[Any], most: int = STATE_ROWS) -> Values:
    """Reverse ``pack_values``. Raises StateError for no such column, or one of over ``most`` rows."""
    with decoding("a packed column of values"):
        if packed[0] == "flags":
            return Flags(unpack_bools(packed[1]))
        if packed[0] == "linear":
            known = unpack_bools(packed[1])
            num, slope = _unpack_numbers(packed[2], most), _unpack_numbers(packed[3], most)
            if not len(known) == len(num) == len(slope):
                raise StateError("a packed column of lines has parts of different lengths")
            return Linear(known, num, slope)
        if packed[0] != "tagged":
            raise StateError(f"a packed column of values is flags, linear or tagged, not {packed[0]!r}")
        tags, bits, names = unpack_ints(packed[1], most), unpack_ints(packed[2], most), packed[3]
        if not isinstance(names, list) or not set(map(type, names)) <= {str}:
            raise StateError("the strings of a packed column are no strings")
        strings = bits[tags == STRING]
        if len(tags) != len(bits) or ((tags < UNKNOWN) | (tags > STRING)).any():
            raise StateError("a packed column has a tag that is none")
        if len(strings) and not 0 <= int(strings.min()) <= int(strings.max()) < len(names):
            raise StateError("a packed column names a string that it does not list")
        table = StringTable(names)
        return Tagged(tags.astype(np.uint8), bits, table)


def pack_timeline(timeline: Timeline) -> list[Any]:
    """Pack a timeline: row counts, starts and values."""
    return [pack_ints(np.diff(timeline.offsets)), pack_ints(timeline.starts), pack_values(timeline.values)]


def unpack_timeline(packed: Sequence[Any], most: int = STATE_ROWS) -> Timeline:
    """Reverse ``pack_timeline``.

    Raises StateError when the columns do not belong together, or have more than ``most`` rows.
    """
    with decoding("a packed timeline"):
        counts, starts = unpack_ints(packed[0], most), unpack_ints(packed[1], most)
        values = unpack_values(packed[2], most)
    if (counts < 0).any() or (counts > most).any():
        raise StateError("a timeline has a key with a number of rows that cannot be")
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    if offsets[-1] != len(starts) or len(starts) != len(values):
        raise StateError("a timeline's row counts, starts and values differ in length")
    ascending = starts[1:] > starts[:-1]
    ascending[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(starts))] - 1] = True  # of two keys
    if not ascending.all():
        raise StateError("a timeline's pieces are not in the order of their starts")
    return Timeline(offsets, starts, values)


def pack_positions(positions: Positions) -> list[Any]:
    """Pack source positions."""
    return [pack_ints(positions.partition), pack_ints(positions.major), pack_ints(positions.minor)]


def unpack_positions(packed: Sequence[Any], most: int = STATE_ROWS) -> Positions:
    """Reverse ``pack_positions``.

    Raises StateError when the columns do not belong together, or have more than ``most`` rows.
    """
    with decoding("packed positions"):
        partition, major, minor = (unpack_ints(column, most) for column in packed)
    narrow = partition.astype(np.int32)
    if not len(partition) == len(major) == len(minor) or (narrow != partition).any():
        raise StateError("packed positions differ in length, or name a partition beyond 32 bits")
    return Positions(narrow, major, minor)
