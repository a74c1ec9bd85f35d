"""A segment: some keys of a worker, packed as they leave it, with all that it takes to answer for them and
to go on with them.

A segment says of which *life* of the worker it is (a worker that lost its state begins another one) and
carries a *stamp*, the number of inputs that the worker had taken. A worker that is killed after it has sent
keys away and before that was recorded sends them away again, perhaps others, or with newer rows: of two
segments that hold a key the one with the greater watermark counts, then the one with the greater stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from timeline_workers.algebra.nodes.key_rows import KeyRows
from timeline_workers.algebra.nodes.published_values import published
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError
from timeline_workers.wire.encoding import check_keys, decoding, pack, unpack
from timeline_workers.wire.key_state import pack_rows, unpack_key_rows

VERSION = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """``names[i]`` is key ``i`` of ``rows``. ``watermark`` and ``answerable_from``: the worker's when the
    keys left, microseconds; ``told``: the (subscriber, epoch) pairs that knew everything about them;
    ``inner_answerable_from``: of a worker with several nodes, that of all but the last; ``before``: the
    node's.
    """

    worker_id: str
    life: str
    stamp: int
    watermark: int | None
    answerable_from: int | None
    told: tuple[tuple[str, str], ...]
    names: list[Key]
    rows: KeyRows
    inner_answerable_from: tuple[int | None, ...] = ()
    before: str = ""

    def of(self, picked: Sequence[int]) -> Segment:
        """The segment with only the keys numbered ``picked``."""
        numbers = np.array(picked, np.int64)
        names = [self.names[number] for number in picked]
        return replace(self, names=names, rows=self.rows.of(numbers))


def pack_segment(segment: Segment) -> bytes:
    """Encode a segment."""
    return pack(
        {
            "version": VERSION,
            "worker": segment.worker_id,
            "life": segment.life,
            "stamp": segment.stamp,
            "watermark": segment.watermark,
            "answerable_from": segment.answerable_from,
            "told": segment.told,
            "names": segment.names,
            "rows": pack_rows(segment.rows),
            **({"inner": segment.inner_answerable_from} if segment.inner_answerable_from else {}),
            **({"before": segment.before} if segment.before else {}),
        }
    )


def unpack_segment(packed: bytes) -> Segment:
    """Reverse ``pack_segment``. Raises StateError for bytes that are none, or of a newer version."""
    message = unpack(packed)
    if message.get("version") != VERSION:
        raise StateError(f"a segment of version {message.get('version')!r}; this release reads {VERSION}")
    with decoding("a segment of keys"):
        names = message["names"]
        check_keys(names)
        segment = Segment(
            message["worker"],
            message["life"],
            message["stamp"],
            message["watermark"],
            message["answerable_from"],
            tuple((subscriber, epoch) for subscriber, epoch in message["told"]),
            names,
            unpack_key_rows(message["rows"]),
            tuple(message.get("inner", ())),
            published(message.get("before", "")),
        )
    if segment.rows.keys != len(names):
        raise StateError(f"a segment names {len(names)} keys and holds rows of {segment.rows.keys}")
    inner = len(segment.rows.inner)
    if len(segment.inner_answerable_from) != inner:
        said = len(segment.inner_answerable_from)
        raise StateError(f"a segment of {inner} inner nodes says of {said} what is answerable")
    return segment
