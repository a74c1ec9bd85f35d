"""Blocks: the payloads of some events, compressed together. No I/O.

A block holds about ``BLOCK_BYTES``, so that reading one event costs a bounded time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec
import zstandard

from timeline_workers.columns.values import Int64
from timeline_workers.errors import StateError
from timeline_workers.wire import encoding

BLOCK_BYTES = 64 * 1024
_LARGEST = 1 << 30  # beyond every event that a source takes
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


def cut(payloads: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """The ranges ``[first, last)`` of ``payloads`` that make a block each."""
    ends = list(accumulate(map(len, payloads)))
    first = before = 0
    while first < len(ends):
        last = max(bisect_right(ends, before + BLOCK_BYTES, first), first + 1)
        yield first, last
        first, before = last, ends[last - 1]


def pack(payloads: Sequence[bytes]) -> bytes:
    """One block of ``payloads``."""
    return zstandard.ZstdCompressor(level=3).compress(_encode(payloads))


def unpack(block: bytes) -> list[bytes]:
    """Reverse ``pack``. Raises StateError for other bytes."""
    try:
        return _decode(zstandard.ZstdDecompressor().decompress(block, max_output_size=_LARGEST))
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise StateError(f"{len(block)} bytes are no block of events: {error}") from error


def pack_places(major: Int64, minor: Int64, published: Int64) -> bytes:
    """Where successive events are, and when they were published, as bytes."""
    return encoding.pack({"columns": [encoding.pack_ints(column) for column in (major, minor, published)]})


def unpack_places(body: bytes) -> tuple[Int64, Int64, Int64]:
    """Reverse ``pack_places``. Raises StateError for other bytes."""
    said = encoding.unpack(body)
    with encoding.decoding("places of events"):
        major, minor, published = map(encoding.unpack_ints, said["columns"])
        return major, minor, published
