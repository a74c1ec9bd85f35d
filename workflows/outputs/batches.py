"""Batches: what an output is told at once. Pure: the same news make the same batches.

A batch is an activity's input, of which Temporal takes two megabytes at most and whose bytes stay in the
history; so however much a message makes new, no batch takes many more than ``BATCH_BYTES``.
"""

from __future__ import annotations

import msgspec

from timeline_workers.errors import StateError
from timeline_workers.wire.news import News, pack_news, parts, unpack_news

BATCH_BYTES = 512 * 1024


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What is told at once: ``news``, packed, in order, with the revisions ``first`` to ``first + count``."""

    first: int
    count: int
    news: list[bytes]


_BATCHES = msgspec.msgpack.Decoder(Batch)


def pack_batch(batch: Batch) -> bytes:
    """Encode; ``unpack_batch`` reads it."""
    return msgspec.msgpack.encode(batch)


def unpack_batch(packed: bytes) -> Batch:
    """Reverse ``pack_batch``. Raises StateError for other bytes."""
    try:
        return _BATCHES.decode(packed)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no batch of an output: {error}") from error


def watermark_of(batch: Batch) -> int | None:
    """The watermark that ``batch`` tells of, microseconds: once it is told, so is everything below. None: it
    tells of none."""
    found = (news.watermark for news in map(unpack_news, reversed(batch.news)) if news.risen)
    return next(found, None)


class Gathering:
    """News put into batches. ``revision``: that of the next message, at first ``first``; ``size``: bytes
    gathered so far.
    """

    def __init__(self, first: int, batch_bytes: int = BATCH_BYTES) -> None:
        self.revision = first
        self.size = 0
        self._batch_bytes = batch_bytes
        self._made: list[Batch] = []
        self._begin()

    def _begin(self) -> None:
        self._first, self._news, self._bytes = self.revision, list[bytes](), 0

    def add(self, news: News) -> None:
        """Add to the last batch what fits, and begin others for the rest."""
        for part in parts(news, self._batch_bytes):
            packed = pack_news(part)
            if self._news and self._bytes + len(packed) > self._batch_bytes:
                self._end()
            self._news.append(packed)
            self._bytes += len(packed)
            self.size += len(packed)
            self.revision += part.count()

    def _end(self) -> None:
        self._made.append(Batch(self._first, self.revision - self._first, self._news))
        self._begin()

    def batches(self) -> list[Batch]:
        """All batches, in order; none where nothing was added."""
        if self._news:
            self._end()
        return self._made
