"""A durable worker without its durability: one node in one partition, its edges, its questions, its carried
state.

Pure and deterministic: no clock, no I/O, no Temporal. The workflows call it and carry its messages; tests
connect workers directly, lose and repeat their messages, and must get the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..algebra.aggregate import AggregateNode
from ..algebra.leaves import LeafBatch, Progress
from ..algebra.nodes import DerivedNode, EventNode, Revision
from ..algebra.operators import is_leaf
from ..algebra.timelinestore import TimelineStore
from ..algebra.values import Bools
from ..answers import KindName
from ..errors import QuestionError, StateError
from ..graph.plan import WorkerSpec
from ..language.parser import parse
from ..language.tree import Aggregate
from ..questions import Reader
from ..wire.edges import BEGINNING, InboundEdge, OutboundEdge, open_message
from ..wire.leaf import decode_leaf_batch
from ..wire.progress import has_seen, later, least, watermark
from .answering import Answers, ask
from .state import pack_state, unpack_state

PAGE = 1_000


class NodeWorker:
    """The node of ``spec``, fed with messages and asked questions.

    Events are applied exactly once per source position, messages of an edge exactly once and in order, across
    ``snapshot`` and ``restore``.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        expression = parse(spec.node.expression)
        self.node: EventNode | DerivedNode | AggregateNode
        if is_leaf(expression):
            self.node = EventNode(expression)
        elif isinstance(expression, Aggregate):
            self.node = AggregateNode(expression)
        else:
            self.node = DerivedNode(expression)
        self.inbound = {
            sender: [
                InboundEdge(sender, slot) for slot, senders in enumerate(spec.inputs) if sender in senders
            ]
            for sender in dict.fromkeys(worker for slot in spec.inputs for worker in slot)
        }
        self.outbound: dict[str, OutboundEdge] = {}
        self.progress: tuple[Progress, ...] = ()
        self.repeated = 0
        self.inputs_taken = 0

    # What comes in.

    def ingest(self, payload: bytes) -> None:
        """Take a feeder's batch (leaves only). Rows at positions seen before are dropped and counted.

        Raises StateError for bytes that are no leaf batch; nothing is applied then.
        """
        batch = decode_leaf_batch(payload)
        self.inputs_taken += 1
        if not isinstance(self.node, EventNode):
            raise StateError(f"{self.spec.worker_id} is no leaf: it takes revisions, not events")
        seen = has_seen(self.progress, batch.position)
        if seen.any():
            self.repeated += int(seen.sum())
            batch = _without(batch, seen)
        self._changed(self.node.ingest(batch))
        self.progress = later(self.progress, batch.progress)

    def receive(self, payload: bytes) -> None:
        """Take a message of an inbound edge. A repeated one is dropped and counted.

        Raises StateError for bytes that are no message, for a sender that is no input, and for a gap.
        """
        message = open_message(payload)
        self.inputs_taken += 1
        edges = self.inbound.get(message["from"])
        if edges is None or isinstance(self.node, EventNode):
            raise StateError(f"{message['from']} is no input of {self.spec.worker_id}")
        for edge in edges:
            revisions = edge.accept(message, self.node.keys)
            self.repeated += not revisions
            for revision in revisions:
                self.node.receive(edge.slot, revision)
        if isinstance(self.node, AggregateNode):
            self.node.advance()
        else:
            self._changed(self.node.advance())
        self.progress = least([edge.progress for edges in self.inbound.values() for edge in edges])

    def _changed(self, revision: Revision) -> None:
        for edge in self.outbound.values():
            edge.pending.add(revision.keys, revision.froms)

    # What goes out.

    def subscribe(self, subscriber: str, epoch: str) -> None:
        """Open the edge to worker ``subscriber``; its first messages are a snapshot. The same epoch again
        is nothing new."""
        edge = self.outbound.get(subscriber)
        if edge is not None and edge.epoch == epoch:
            return
        edge = OutboundEdge(subscriber, epoch)
        if not isinstance(self.node, AggregateNode):
            known = self.node.output.known_keys()
            edge.pending.add(known, np.full(len(known), BEGINNING, np.int64))
        self.outbound[subscriber] = edge

    def unsubscribe(self, subscriber: str) -> None:
        """Close the edge to ``subscriber``, if there is one."""
        self.outbound.pop(subscriber, None)

    def subscribers(self) -> list[str]:
        """Worker ids with an open edge."""
        return list(self.outbound)

    def outgoing(self, subscriber: str, limit_bytes: int) -> bytes | None:
        """The next message for ``subscriber`` (see ``OutboundEdge.message``), now in flight."""
        edge = self.outbound.get(subscriber)
        if edge is None or isinstance(self.node, AggregateNode):
            return None
        return edge.message(
            self.spec.worker_id,
            self.node.keys,
            self.node.output,
            self.progress,
            limit_bytes,
            self.inputs_taken,
        )

    def delivered(self, subscriber: str) -> None:
        """The message in flight to ``subscriber`` has been accepted."""
        if subscriber in self.outbound:
            self.outbound[subscriber].delivered()

    # Questions.

    def value_at(self, question: Mapping[str, Any]) -> Answers:
        """``{"key": …, "at": …}`` → the value at that instant (``answering.ask``)."""
        return ask(self._readers, question, {"at"}, set(), _value_at)

    def spans(self, question: Mapping[str, Any]) -> Answers:
        """``{"key": …, "start": …, "end": …}`` → the spans over the range (``answering.ask``)."""
        return ask(self._readers, question, {"start", "end"}, set(), _spans)

    def change(self, question: Mapping[str, Any]) -> Answers:
        """``{"key": …, "start": …, "end": …}`` → the change over the range; with ``every``, a list of one
        per interval (``answering.ask``).
        """
        return ask(self._readers, question, {"start", "end"}, {"every"}, _change)

    def keys(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """``{"after": n, "limit": m}`` → the keys (groups, for an aggregate) numbered from ``after`` on,
        ``count`` of all, and ``next``, the number to go on after, or None.
        """
        after, limit = int(question.get("after", 0)), int(question.get("limit", PAGE))
        names = self._names()
        end = after + min(max(limit, 1), 10 * PAGE)
        return {
            "keys": list(names[after:end]),
            "count": len(names),
            "next": end if end < len(names) else None,
        }

    def status(self) -> dict[str, Any]:
        """How far the worker is and what it holds, as plain JSON."""
        outputs = self._outputs()
        state: dict[str, Any] = {
            "kind": self.spec.node.kind,
            "keys": len(self._names()),
            "change_points": sum(len(output) for output in outputs.values()),
            "watermark": watermark(self.progress),
            "progress": [
                {"partition": p.partition, "major": p.major, "minor": p.minor, "watermark": p.watermark}
                for p in self.progress
            ],
            "repeated": self.repeated,
            "edges": [
                {
                    "subscriber": edge.subscriber,
                    "sequence": edge.sequence,
                    "pending_keys": len(edge.pending.marked()),
                    "in_flight": edge.in_flight is not None,
                }
                for edge in self.outbound.values()
            ],
        }
        if isinstance(self.node, EventNode):
            state["events"] = len(self.node.log)
        return state

    def _outputs(self) -> dict[str, TimelineStore]:
        return self.node.outputs if isinstance(self.node, AggregateNode) else {"": self.node.output}

    def _names(self) -> Sequence[Any]:
        if isinstance(self.node, AggregateNode):
            return self.node.groups
        return self.node.keys.names

    def _readers(self, question: Mapping[str, Any]) -> Reader:
        unit = question.get("unit", self.spec.source.time_unit)
        kind: KindName = self.spec.node.kind
        limit = watermark(self.progress)
        if not isinstance(self.node, AggregateNode):
            return Reader(self.node.output.timeline(), self.node.keys, kind, unit=unit, watermark=limit)
        functions = list(self.node.outputs)
        function = question.get("aggregate", functions[0] if len(functions) == 1 else None)
        if function not in self.node.outputs:
            raise QuestionError(f"aggregate {function!r} is not one of {', '.join(functions)}; say which")
        timeline = self.node.output(function)
        return Reader(timeline, self.node.groups, kind, unit=unit, watermark=limit, aggregate=function)

    # Carried state.

    def snapshot(self, chunk_bytes: int) -> list[bytes]:
        """Everything, in chunks of at most ``chunk_bytes``: compressed, versioned, read by ``restore``."""
        data = pack_state(self)
        return [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]

    @classmethod
    def restore(cls, spec: WorkerSpec, chunks: Sequence[bytes]) -> NodeWorker:
        """Reverse ``snapshot``. Raises StateError for chunks of another worker or an unknown version."""
        worker = cls(spec)
        unpack_state(worker, b"".join(chunks))
        return worker


def _value_at(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    at = question["at"]
    if isinstance(at, list):
        return [reader.value_at(key, instant).model_dump() for instant in at]
    return reader.value_at(key, at).model_dump()


def _spans(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    return reader.spans(key, question["start"], question["end"]).model_dump()


def _change(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    start, end, every = question["start"], question["end"], question.get("every")
    if every is None:
        return reader.change(key, start, end).model_dump()
    return [answer.model_dump() for answer in reader.change_every(key, start, end, every)]


def _without(batch: LeafBatch, seen: Bools) -> LeafBatch:
    rows = np.flatnonzero(~seen)
    values = batch.values
    if values is not None:
        values = type(values)(values.tags[rows], values.bits[rows], values.strings)
    return LeafBatch(
        batch.keys,
        batch.origins,
        batch.key[rows],
        batch.time[rows],
        batch.position.take(rows),
        values,
        batch.progress,
    )
