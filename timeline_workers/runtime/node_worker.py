"""A durable worker without its durability: one node in one partition, its edges, its questions, its carried
state.

Pure and deterministic: no clock, no I/O, no Temporal. The workflows call it and carry its messages; tests
connect workers directly, lose and repeat their messages, and must get the same answers.

A worker does not grow for ever: ``compact`` forgets what lies below its watermark and is not needed to go on,
nor to be answered within the metric's retention.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from timeline_workers.algebra.leaf_input import Noted, Progress
from timeline_workers.algebra.nodes.any_node import make_node
from timeline_workers.algebra.nodes.protocol import News, Node
from timeline_workers.answers import json_questions
from timeline_workers.answers.json_questions import Answers
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.errors import StateError
from timeline_workers.events.times import from_microseconds
from timeline_workers.language.parser import parse
from timeline_workers.plan.physical import WorkerSpec
from timeline_workers.wire.edge_messages import BEGINNING, InboundEdge, OutboundEdge, edge_name, open_message
from timeline_workers.wire.leaf_batch import decode_leaf_batch
from timeline_workers.wire.source_progress import has_seen, later, least, watermark

from . import fused_nodes
from .checkpoint import pack_state, unpack_state

_BYTES_PER_KEY = 200  # about what a name takes in the key table and one of its indexes


class NodeWorker:
    """The node of ``spec``, fed with messages and asked questions.

    Events are applied exactly once per source position, messages of an edge exactly once and in order, across
    ``snapshot`` and ``restore``. ``life``: what the epochs that this worker opens begin with; what comes
    under others was for a worker that was there before. "": any may come.
    """

    def __init__(self, spec: WorkerSpec, life: str = "") -> None:
        self.spec = spec
        self.life = life
        self.node: Node = make_node(parse(spec.node.expression), fused=bool(spec.fused))
        self.inbound = {
            sender: [
                InboundEdge(sender, slot) for slot, senders in enumerate(spec.inputs) if sender in senders
            ]
            for sender in dict.fromkeys(worker for slot in spec.inputs for worker in slot)
        }
        self.outbound: dict[str, OutboundEdge] = {}
        self.progress: tuple[Progress, ...] = ()
        # Of a leaf, the columns that no event has had a value of.
        self.unseen = set(spec.node.columns if spec.node.is_leaf else ())
        self.repeated = 0
        self.inputs_taken = 0
        # By sender: why nothing more can be taken of it.
        self.cut_off: dict[str, str] = {}
        # Keys that have left (``eviction``) had nothing happen to them from this instant on.
        self.left_below: int | None = None

    # What comes in.

    def ingest(self, payload: bytes) -> None:
        """Take a feeder's batch (leaves only). Rows at positions seen before are dropped and counted.

        Raises StateError for bytes that are no leaf batch; nothing is applied then.
        """
        batch = decode_leaf_batch(payload)
        self.inputs_taken += 1
        seen = has_seen(self.progress, batch.position)
        repeated = int(seen.sum())
        news = self.node.take_events(batch.without(seen) if repeated else batch)
        self.repeated += repeated
        self.unseen -= set(batch.seen)
        self._changed(news)
        self.progress = later(self.progress, batch.progress)

    def receive(self, payload: bytes, settle: bool = True) -> None:
        """Take a message of an inbound edge. A repeated one is dropped and counted.

        With ``settle`` False nothing need follow from it until ``settle`` is called, before anything is asked
        of the worker: where nobody is told, what several messages touch is then computed once. Raises
        StateError for bytes that are no message, for a sender that is no input, and for a gap.
        """
        message = open_message(payload)
        self.inputs_taken += 1
        edges = self.inbound.get(message["from"])
        if edges is None:
            raise StateError(f"{message['from']} is no input of {self.spec.worker_id}")
        if not message["epoch"].startswith(self.life):
            self.repeated += 1
            return
        if not self._joins(message, edges):
            return
        for edge in edges:
            # Complete and final, however the edge begins anew, and however far its snapshot has come.
            floor = watermark(edge.progress)
            revisions = edge.accept(message, self.node.keys)
            self.repeated += not revisions
            # A child without keys may not have heard of any yet, and its message may come after another's.
            if revisions and (message["before"] or len(message["keys"])):
                self.node.before = message["before"]
            for revision in revisions:
                self.node.receive(edge.slot, revision, floor)
        self.progress = least([edge.progress for edges in self.inbound.values() for edge in edges])
        # What a node tells must cover every message: an attempt that was lost may have told what one of them
        # changed, though the next one takes it back. Results have nobody to tell.
        if settle or self.outbound:
            self.settle()

    def settle(self) -> None:
        """Compute what follows from the messages that were received without doing so."""
        self._changed(self.node.settle())

    def _joins(self, message: dict[str, Any], edges: list[InboundEdge]) -> bool:
        """Whether what ``message`` tells joins what is held without a gap, if it begins an epoch."""
        sender, since = message["from"], message["answerable_from"]
        edge = edges[0]
        if message["sequence"] or message["epoch"] == edge.epoch or edge.is_past(message["epoch"]):
            return True
        self.cut_off.pop(sender, None)
        if since is None:
            return True
        if not edge.epoch:
            # It begins where the sender's past begins, as it would begin with the first event.
            self.node.begin_from([edge.slot for edge in edges], since)
            return True
        heard = watermark(edge.progress)
        if heard is not None and since <= heard:
            return True
        self.cut_off[sender] = (
            f"{sender} has compacted what was before {_shown(since)}, and this worker has received it up to "
            f"{_shown(heard)} only, so that it takes no more updates from there. Delete the metric and apply "
            "it again; with a longer retention, longer pauses do no harm"
        )
        return False

    def _changed(self, news: News) -> None:
        for edge in self.outbound.values():
            if (revision := news.get(edge.output)) is not None:
                edge.pending.add(revision.keys, revision.froms)

    # What goes out.

    def subscribe(self, subscriber: str, epoch: str, output: str = "") -> None:
        """Open the edge to worker ``subscriber``; its first messages are a snapshot. The same epoch again
        is nothing new. ``output``: the function of an aggregate; "": the only one there is. Raises StateError
        where there is no such output.
        """
        edge = self.edge(subscriber, output)
        if edge is not None and edge.epoch == epoch:
            return
        told = self.node.output_called(output)
        self.settle()  # what was not told to anybody is part of the snapshot
        edge = OutboundEdge(subscriber, epoch, output=output)
        known = told.known_keys()
        edge.pending.add(known, np.full(len(known), BEGINNING, np.int64))
        self.outbound[edge_name(subscriber, output)] = edge

    def unsubscribe(self, subscriber: str, output: str | None = None) -> None:
        """Close the edges to ``subscriber``, if there are any; ``output``: only the edge that tells of it."""
        for name, edge in list(self.outbound.items()):
            if edge.subscriber == subscriber and output in (None, edge.output):
                del self.outbound[name]

    def subscribers(self) -> list[str]:
        """Worker ids with an open edge, each once."""
        return list(dict.fromkeys(edge.subscriber for edge in self.outbound.values()))

    def edge(self, subscriber: str, output: str = "") -> OutboundEdge | None:
        """The open edge to ``subscriber`` that tells of ``output``."""
        return self.outbound.get(edge_name(subscriber, output))

    def output_told(self, subscriber: str) -> str:
        """Which output the edge to ``subscriber`` tells of; of several edges, the first."""
        if subscriber in self.outbound:
            return ""
        return next((edge.output for edge in self.outbound.values() if edge.subscriber == subscriber), "")

    def outgoing(self, subscriber: str, limit_bytes: int, output: str = "") -> bytes | None:
        """The next message for ``subscriber`` (see ``OutboundEdge.message``), now in flight. Groups go under
        their names as keys (``group_names``)."""
        edge = self.edge(subscriber, output)
        if edge is None:
            return None
        return edge.message(
            self.spec.worker_id,
            self.node.key_names,
            self.node.output_called(output),
            self.progress,
            limit_bytes,
            self.inputs_taken,
            self._complete_from(),
            self.node.before,
        )

    def _complete_from(self) -> int | None:
        """From where on what a snapshot tells is complete; None: everywhere."""
        marks = [mark for mark in (self.node.answerable_from, self.left_below) if mark is not None]
        return max(marks, default=None)

    def delivered(self, subscriber: str, output: str = "") -> None:
        """The message in flight to ``subscriber`` that tells of ``output`` has been accepted."""
        edge = self.edge(subscriber, output)
        if edge is not None:
            edge.delivered()

    # Questions.

    def ask(self, kind: str, question: Mapping[str, Any]) -> Answers:
        """Answer a question of kind ``value_at``, ``spans`` or ``change`` (``json_questions.ask``)."""
        return json_questions.ask(self._readers, kind, question)

    def keys(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """``{"after": n, "limit": m}`` → the keys (groups, for an aggregate) numbered from ``after`` on,
        ``count`` of all, and ``next``, the number to go on after, or None.
        """
        fused_nodes.check_name(self.spec, question)
        return json_questions.page(self._listed(), question)

    def status(self) -> dict[str, Any]:
        """How far the worker is and what it holds, as plain JSON."""
        state: dict[str, Any] = {
            "kind": self.spec.node.kind,
            "keys": len(self._listed()),
            **self.node.counts(),
            "bytes": self._nbytes(),
            "watermark": watermark(self.progress),
            "retention": self.spec.retention,
            "answerable_from": self.node.answerable_from,
            "limited": self._limited(),
            "late": sum(p.late for p in self.progress),
            "refused": sum(p.refused for p in self.progress),
            "published": max((p.published for p in self.progress if p.published is not None), default=None),
            "progress": [
                {name: value for name, value in asdict(p).items() if name != "noted" or p.noted != Noted()}
                for p in self.progress
            ],
            "repeated": self.repeated,
            "edges": [
                {
                    "subscriber": edge.subscriber,
                    **({"output": edge.output} if edge.output else {}),
                    "sequence": edge.sequence,
                    "pending_keys": len(edge.pending.marked()),
                    "in_flight": edge.in_flight is not None,
                }
                for edge in self.outbound.values()
            ],
        }
        if self.node.too_late:
            state["too_late"] = self.node.too_late
        if self.unseen:
            state["unseen_columns"] = sorted(self.unseen)
        if self.cut_off:
            state["cut_off"] = dict(self.cut_off)
        if behind := self.rebuilding():
            state["rebuilding"] = behind
        if self.spec.fused:
            state["nodes"] = fused_nodes.statuses(self)
        return state

    def rebuilding(self) -> list[str]:
        """The inputs that begin anew, as one that has lost its state does, and have told less than before."""
        return [sender for sender, edges in self.inbound.items() if any(edge.is_behind for edge in edges)]

    def _limited(self) -> bool:
        """Whether less is answerable than the metric asks for."""
        since, mark, retention = self.node.answerable_from, watermark(self.progress), self.spec.retention
        return since is not None and (retention is None or mark is None or since > mark - retention)

    def _nbytes(self) -> int:
        return self.node.nbytes() + _BYTES_PER_KEY * len(self.node.keys)

    def _listed(self) -> Sequence[Any]:
        keys, _ = self.node.known
        return keys.names if isinstance(keys, KeyTable) else keys

    def _readers(self, question: Mapping[str, Any]) -> Reader:
        fused_nodes.check_name(self.spec, question)
        unit = question.get("unit", self.spec.source.time_unit)
        return fused_nodes.reader(self, question.get("node"), unit, question.get("aggregate"))

    # Carried state.

    def compact(self, early: int | None = None, gone: Collection[str] = ()) -> None:
        """Forget what is not needed any more; nothing that is still answered changes, nor what is sent.

        Of inputs and events that is what lies below the watermark and the operator's look-back, whatever the
        retention; of the node's own timeline what lies more than the retention below the watermark, and
        nothing if the metric sets none. ``early``, an instant in microseconds, asks for more: the timeline is
        forgotten up to there as well (at most up to the watermark), as if the retention were shorter; see
        ``horizon_keeping``. What subscribers have not been told yet is kept for them, except for those in
        ``gone``, which must subscribe anew before they are told anything.

        Questions about instants of which something was forgotten are refused from then on
        (``answerable_from`` in the status). Deterministic; its cost is that of copying what is kept. Call it
        when a run ends, just before ``snapshot``.
        """
        mark = watermark(self.progress)
        if mark is None:
            return
        # What is sent next may be cut otherwise than by an attempt that was lost before the compact; it must
        # not pass for what that one has sent.
        self.inputs_taken += 1
        wanted = [] if self.spec.retention is None else [mark - self.spec.retention]
        horizon = max([*wanted, *([] if early is None else [early])], default=None)
        horizon = None if horizon is None else max(min(horizon, mark), BEGINNING)
        if horizon is None:
            self.node.compact(mark, None)
            return
        horizons = np.full(len(self.node.key_names), horizon, np.int64)
        for edge in self.outbound.values():
            if edge.subscriber not in gone:
                untold = edge.pending.marked()
                horizons[untold] = np.minimum(horizons[untold], edge.pending.peek(untold))
        self.node.compact(mark, horizons)

    def horizon_keeping(self, share: float) -> int | None:
        """An instant for ``compact(early)`` that keeps about ``share`` (0 to 1) of the change points that lie
        below the watermark; None where there are none, or no watermark."""
        mark = watermark(self.progress)
        if mark is None:
            return None
        starts = np.concatenate(
            [held.timeline().starts for part in self.node.parts() for held in part.outputs.values()]
        )
        starts = np.sort(starts[starts < mark])
        if not len(starts):
            return None
        return int(starts[min(int(len(starts) * (1 - share)), len(starts) - 1)]) + (share <= 0)

    def snapshot(self, chunk_bytes: int) -> list[bytes]:
        """Everything, in chunks of at most ``chunk_bytes``: compressed, versioned, read by ``restore``.

        It does not compact: call ``compact`` before.
        """
        data = pack_state(self)
        return [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]

    @classmethod
    def restore(cls, spec: WorkerSpec, chunks: Sequence[bytes], life: str = "") -> NodeWorker:
        """Reverse ``snapshot``. Raises StateError for chunks of another worker or an unknown version."""
        worker = cls(spec, life)
        unpack_state(worker, b"".join(chunks))
        return worker


def _shown(instant: int | None) -> str:
    return "nothing at all" if instant is None else str(from_microseconds(instant, "iso"))
