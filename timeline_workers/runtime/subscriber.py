"""A subscriber that is not a node: it hears workers as a derived node does, and holds no timelines.

Pure and deterministic, as ``node_worker``. What a message of an edge makes new is handed on once per stamp
and in order (``take``), also when messages are lost with an attempt, repeated, or told under a new epoch.
Each revision is the whole of a key's timeline from some instant on, so who keeps what it is handed, or passes
it on, needs nothing from here but the order.

What an input has told below its watermark is final: a new epoch tells it again, and it is not handed on
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.columns.rows import ranges
from timeline_workers.columns.values import Int64
from timeline_workers.errors import StateError
from timeline_workers.wire.edge_messages import BEGINNING, InboundEdge, open_message
from timeline_workers.wire.encoding import decoding, pack, unpack
from timeline_workers.wire.news import News
from timeline_workers.wire.source_progress import least, watermark

VERSION = 1


class Subscriber:
    """Hears the workers ``inputs``. ``life``: as for ``NodeWorker``: what its epochs begin with.

    ``floor``: of one whose state is lost, the watermark that was handed on before: what is below it is not
    handed on again. ``bridges``: where an input has forgotten what was not heard of it, go on and say what is
    missing (``News.unheard``), instead of taking nothing more.
    """

    def __init__(
        self,
        worker_id: str,
        inputs: Sequence[str],
        life: str = "",
        floor: int | None = None,
        *,
        bridges: bool = False,
    ) -> None:
        self.worker_id = worker_id
        self.life = life
        self.floor = floor
        self.bridges = bridges
        self.keys = KeyTable()
        senders = dict.fromkeys(inputs)
        self.inbound = {sender: InboundEdge(sender, slot) for slot, sender in enumerate(senders)}
        self.progress: tuple[Progress, ...] = ()
        self.repeated = 0
        self.inputs_taken = 0
        self.cut_off: dict[str, str] = {}

    @property
    def watermark(self) -> int | None:
        """Nothing below it will change, microseconds; None: not known yet."""
        return watermark(self.progress)

    def take(self, payload: bytes) -> News | None:
        """Take a message of an inbound edge; returns what it makes new, None for nothing.

        Raises StateError for bytes that are no message, for a sender that is no input, and for a gap: then
        the edge must be opened anew.
        """
        message = open_message(payload)
        edge = self.inbound.get(message["from"])
        if edge is None:
            raise StateError(f"{message['from']} is no input of {self.worker_id}")
        self.inputs_taken += 1
        if not message["epoch"].startswith(self.life) or not self._joins(message, edge):
            self.repeated += 1
            return None
        before = self.watermark
        floor = max((m for m in (watermark(edge.progress), self.floor) if m is not None), default=None)
        since = message["answerable_from"]
        unheard = self._unheard(message, edge) if self.bridges else None
        revisions = edge.accept(message, self.keys)
        if not revisions:
            self.repeated += 1
            return None
        self.progress = least([one.progress for one in self.inbound.values()])
        revision = _above(_begun_at(_one(revisions), since), floor)
        risen = self.watermark is not None and self.watermark != before
        names = self.keys.names
        news = News(
            [names[key] for key in revision.keys.tolist()],
            revision.froms,
            revision.suffix,
            self.watermark,
            risen,
            unheard,
            message["before"],
        )
        return news or None

    def _joins(self, message: dict[str, Any], edge: InboundEdge) -> bool:
        """Whether what ``message`` tells joins what was heard without a gap, if it begins an epoch."""
        sender, since = message["from"], message["answerable_from"]
        if message["sequence"] or message["epoch"] == edge.epoch or edge.is_past(message["epoch"]):
            return True
        self.cut_off.pop(sender, None)
        heard = watermark(edge.progress)
        if self.bridges or since is None or not edge.epoch or (heard is not None and since <= heard):
            return True
        self.cut_off[sender] = (
            f"{sender} has forgotten what was before {since} µs, and this subscriber has heard it up to "
            f"{heard} µs only: nothing more of it is taken. Delete the metric and apply it again; a longer "
            "retention makes up for longer pauses"
        )
        return False

    def _unheard(self, message: dict[str, Any], edge: InboundEdge) -> tuple[int | None, int] | None:
        """From when to when ``message``, which begins an epoch, and those before leave out what was."""
        since, heard = message["answerable_from"], watermark(edge.progress)
        if heard is None:
            heard = self.floor
        if message["sequence"] or message["epoch"] == edge.epoch or edge.is_past(message["epoch"]):
            return None
        return None if since is None or (heard is not None and since <= heard) else (heard, since)

    def compact(self) -> None:
        """Forget the names of keys that have left every input: nothing more is told of them by number."""
        numbered = [edge.numbers for edge in self.inbound.values()]
        keep = np.unique(np.concatenate(numbered)) if numbered else np.zeros(0, np.int64)
        if len(keep) == len(self.keys):
            return
        self.keys = self.keys.renumbered(keep)
        for edge in self.inbound.values():
            edge.renumber(keep)

    def status(self) -> dict[str, Any]:
        """How far it is and what it holds, as plain JSON."""
        state: dict[str, Any] = {
            "keys": len(self.keys),
            "watermark": self.watermark,
            "published": max((p.published for p in self.progress if p.published is not None), default=None),
            "repeated": self.repeated,
            "progress": [
                {"partition": p.partition, "major": p.major, "minor": p.minor, "watermark": p.watermark}
                for p in self.progress
            ],
        }
        return {**state, "cut_off": dict(self.cut_off)} if self.cut_off else state

    def snapshot(self) -> bytes:
        """Everything that it must carry."""
        return pack(
            {
                "version": VERSION,
                "subscriber": self.worker_id,
                "keys": self.keys.names,
                "inbound": [edge.carried() for edge in self.inbound.values()],
                "repeated": self.repeated,
                "inputs_taken": self.inputs_taken,
                "cut_off": self.cut_off,
                **({} if self.floor is None else {"floor": self.floor}),
            }
        )

    @staticmethod
    def restore(
        worker_id: str, inputs: Sequence[str], data: bytes, life: str = "", *, bridges: bool = False
    ) -> Subscriber:
        """The subscriber that ``snapshot`` was taken of. Raises StateError for other bytes."""
        message = unpack(data)
        if message.get("subscriber") != worker_id or message.get("version") != VERSION:
            raise StateError(f"carried state is not of subscriber {worker_id!r}, or of a newer release")
        made = Subscriber(worker_id, inputs, life, bridges=bridges)
        with decoding(f"carried state of {worker_id}"):
            names: list[Key] = message["keys"]
            made.keys = KeyTable(names)
            for edge in map(InboundEdge.restored, message["inbound"]):
                made.inbound[edge.sender] = edge
            made.repeated, made.inputs_taken = message["repeated"], message["inputs_taken"]
            made.cut_off, made.floor = message["cut_off"], message.get("floor")
            made.progress = least([edge.progress for edge in made.inbound.values()])
        return made


def _one(revisions: Sequence[Revision]) -> Revision:
    """Several revisions, taken one after the other, as one: the last that tells of a key counts, and those
    before it do not tell of a later instant."""
    last = revisions[-1]
    if len(revisions) == 1:
        return last
    back = revisions[0]
    others = np.setdiff1d(back.keys, last.keys)
    froms = np.where(np.isin(last.keys, back.keys), BEGINNING, last.froms)
    keys = np.concatenate([others, last.keys])
    order = np.argsort(keys)
    counts = np.concatenate([np.zeros(len(others), np.int64), np.diff(last.suffix.offsets)])
    firsts = np.concatenate([np.zeros(len(others), np.int64), last.suffix.offsets[:-1]])
    rows = ranges(firsts[order], counts[order])
    offsets = np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64)
    suffix = Timeline(offsets, last.suffix.starts[rows], operations.take(last.suffix.values, rows))
    all_froms = np.concatenate([np.full(len(others), BEGINNING, np.int64), froms])
    return Revision(keys[order], all_froms[order], suffix)


def _begun_at(revision: Revision, since: int | None) -> Revision:
    """``revision``, which says nothing of what an input has forgotten, below ``since``."""
    if since is None or not len(revision.keys):
        return revision
    first, suffix = revision.suffix.offsets[:-1], revision.suffix
    told = np.flatnonzero(np.diff(suffix.offsets))
    begins = np.full(len(first), since, np.int64)
    begins[told] = suffix.starts[first[told]]
    return Revision(revision.keys, np.maximum(revision.froms, begins), suffix)


def _above(revision: Revision, floor: int | None) -> Revision:
    if floor is None or not len(revision.keys):
        return revision
    froms: Int64 = np.maximum(revision.froms, floor)
    return Revision(revision.keys, froms, pieces.clip(revision.suffix, froms))
