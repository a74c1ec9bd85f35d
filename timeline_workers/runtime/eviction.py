"""Eviction of idle keys and restoring them: the worker's side. Pure, as the worker is.

A key may leave when nothing has happened to it for long, and nobody is waiting for news of it:

* its last event or change point lies more than the metric's ``key_ttl``, and more than the operator looks
  back, below what the worker's watermark is and every subscriber has been told it is;
* no edge has anything pending about it, and no inbound edge has a number for it: the workers below have sent
  it away before, and will name it when they tell of it again.

So everything it ever said is final, and known to every subscriber; and if an event arrives after all that the
worker needs, its payload names the key, and ``unknown`` says so before the payload is applied. With the
key's rows put back (``recall``) the worker is as if the key had never left.

Aggregates keep every key, and so does a worker that has one key only (``partitions: per-key``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.rows import FOREVER
from timeline_workers.columns.values import Int64
from timeline_workers.errors import StateError
from timeline_workers.wire.edge_messages import BEGINNING, OutboundEdge
from timeline_workers.wire.encoding import unpack
from timeline_workers.wire.source_progress import watermark

from .archive_segment import Segment, pack_segment, unpack_segment
from .node_worker import NodeWorker

SEGMENT_BYTES = 256 * 1024
ARCHIVE_BYTES = 4 * 1024 * 1024
ARCHIVE_KEYS = 100_000
_KEYS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Evicted:
    """What is to be stored before the keys leave: ``segments`` of the keys numbered ``keys``, to which
    nothing happens from the instant ``below`` on, as far as anybody knows.
    """

    keys: Int64
    segments: list[bytes]
    below: int

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(map(len, self.segments))


def live_edges(worker: NodeWorker, gone: Collection[str] = ()) -> list[OutboundEdge]:
    """The open edges of the worker, but those to subscribers that are ``gone``: they know nothing any more,
    and begin with a snapshot if they come back.
    """
    return [edge for edge in worker.outbound.values() if edge.subscriber not in gone]


def idle_keys(worker: NodeWorker, gone: Collection[str] = ()) -> Int64:
    """The numbers of the keys that may leave, ascending; none when the metric has no ``key_ttl``."""
    node, ttl, mark = worker.node, worker.spec.key_ttl, _final_everywhere(worker, gone)
    reach = node.idle_reach
    if ttl is None or mark is None or reach is None:
        return np.zeros(0, np.int64)
    edges = live_edges(worker, gone)
    news = node.last_news(np.arange(len(node.keys), dtype=np.int64))
    idle = (news > -FOREVER) & (news < mark - max(ttl, reach))
    for edge in edges:
        idle[edge.pending.marked()] = False
    for inbound in (edge for edges_in in worker.inbound.values() for edge in edges_in):
        idle[inbound.numbers] = False
    return np.flatnonzero(idle)


def _final_everywhere(worker: NodeWorker, gone: Collection[str]) -> int | None:
    """Below which instant everything is final and known to every subscriber to be; None: there is none, or
    keys do not leave workers of this kind.
    """
    if worker.node.idle_reach is None or worker.spec.source.partitions == "per-key":
        return None
    marks = [watermark(worker.progress), *(watermark(edge.arrived) for edge in live_edges(worker, gone))]
    known = [mark for mark in marks if mark is not None]
    return min(known) if len(known) == len(marks) else None


def known_below(worker: NodeWorker) -> tuple[int | None, ...]:
    """Per subscriber, below which instant it knows everything; what is above cannot be given up yet."""
    return tuple(watermark(edge.arrived) for edge in worker.outbound.values())


def pack_idle(worker: NodeWorker, life: str, gone: Collection[str] = ()) -> Evicted:
    """Pack what may leave, as much as one archive takes; the worker stays as it is until ``evict``.

    ``life`` names this life of the worker; segments are at most ``SEGMENT_BYTES`` large, but for a single key
    that is larger. A key that could not be called back in one message (four times that) stays.
    """
    node, mark = worker.node, _final_everywhere(worker, gone)
    if mark is None:
        return Evicted(np.zeros(0, np.int64), [], BEGINNING)
    told = tuple((edge.subscriber, edge.epoch) for edge in live_edges(worker, gone))
    keys = idle_keys(worker, gone)[:ARCHIVE_KEYS]
    queue = [keys[i : i + _KEYS_AT_ONCE] for i in range(0, len(keys), _KEYS_AT_ONCE)][::-1]
    left: list[Int64] = []
    segments: list[bytes] = []
    size = 0
    while queue and size < ARCHIVE_BYTES:
        part = queue.pop()
        names = [node.keys.names[number] for number in part.tolist()]
        packed = pack_segment(
            Segment(
                worker.spec.worker_id,
                life,
                worker.inputs_taken,
                watermark(worker.progress),
                node.answerable_from,
                told,
                names,
                node.copy_out(part),
                tuple(part.answerable_from for part in node.parts()[:-1]),
                node.before,
            )
        )
        if len(packed) > SEGMENT_BYTES and len(part) > 1:
            middle = len(part) // 2
            queue += [part[middle:], part[:middle]]
        elif len(packed) <= 4 * SEGMENT_BYTES:
            left.append(part)
            segments.append(packed)
            size += len(packed)
    return Evicted(np.concatenate(left) if left else keys[:0], segments, mark)


def evict(worker: NodeWorker, evicted: Evicted) -> None:
    """Drop the keys of ``evicted``, whose segments are stored, and number the rest anew."""
    node = worker.node
    keep = np.delete(np.arange(len(node.keys), dtype=np.int64), evicted.keys)
    node.renumber(keep)
    worker.left_below = max(evicted.below, worker.left_below or evicted.below)
    # A lost attempt may have sent what is sent next in other portions, and must not count as having said it.
    worker.inputs_taken += 1
    for inbound in worker.inbound.values():
        for edge in inbound:
            edge.renumber(keep)
    for outbound in worker.outbound.values():
        outbound.renumber(keep)


def unknown(worker: NodeWorker, payloads: Iterable[bytes]) -> list[Key]:
    """The keys that batches of events (for a leaf) or messages (for other workers) name and the worker does
    not hold, each once. A payload that cannot be read names none.
    """
    field = "keys" if worker.spec.node.is_leaf else "new_keys"
    names: dict[Key, None] = {}
    for payload in payloads:
        try:
            named = unpack(payload).get(field)
        except StateError:
            continue
        if isinstance(named, list):
            names.update((name, None) for name in named if isinstance(name, str | int))
    some = list(names)
    held = worker.node.keys.find_all(some)
    return [some[place] for place in np.flatnonzero(held < 0).tolist()]


def recall(worker: NodeWorker, segments: Iterable[bytes], life: str) -> int:
    """Put back the keys of ``segments`` (bytes from ``Archive.recall``); returns how many came back.

    A key that the worker holds by now is left as it is. Subscribers that did not know of a key when it left
    are told all about it. Raises StateError for a segment of another worker or another life of it.
    """
    node = worker.node
    count = 0
    for segment in map(unpack_segment, segments):
        if (segment.worker_id, segment.life) != (worker.spec.worker_id, life):
            raise StateError(
                f"keys of {segment.worker_id} ({segment.life}) are not {worker.spec.worker_id}'s"
            )
        new = np.flatnonzero(node.keys.find_all(segment.names) < 0).tolist()
        if not new:
            continue
        back = segment.of(new)
        numbers = node.keys.intern_all(back.names)
        node.put_back(numbers, back.rows)
        if segment.answerable_from is not None:
            node.answerable_from = max(segment.answerable_from, node.answerable_from or BEGINNING)
        node.put_inner_marks(segment.inner_answerable_from)
        for edge in worker.outbound.values():
            if (edge.subscriber, edge.epoch) not in segment.told:
                edge.pending.add(numbers, np.full(len(numbers), BEGINNING, np.int64))
        count += len(new)
    return count
