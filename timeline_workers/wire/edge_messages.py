"""Edges between workers: what a child sends its subscriber, and how the subscriber takes it.

A message names a key when the edge first tells of it, and uses the edge's number for it from then on. When
keys leave the child, it begins to number anew: what it tells of next is named again, from number 0 on, and
so the subscriber learns which keys may leave it, too: those that no inbound edge has a number for. Each
message carries the edge's sequence number; one is in flight at a time, and what changes meanwhile is
coalesced: the edge remembers only which keys changed from which instant on and reads the child's timeline
when it sends. So a revision is always the newest, a late subscriber's snapshot is every key from the
beginning, and a message is never larger than asked: the rest stays to be sent, at worst in the middle of a
key.

A child that is killed between sending and recording that it sent does its work again, perhaps together with
newer input, and may then say more, or in other portions, under sequence numbers it has used. So a message
also carries how many inputs its child had taken. Of two attempts the one that knew more counts, whatever
the sequence numbers: it begins where the recorded work ended, and tells again all that the lost one had
told. What an abandoned attempt still sends afterwards is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.algebra.nodes.published_values import published
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import KeySet, Revision
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.columns.rows import ranges
from timeline_workers.columns.values import Int64
from timeline_workers.errors import StateError

from .encoding import (
    MESSAGE_BYTES,
    MESSAGE_ROWS,
    check_keys,
    compress,
    decoding,
    encode,
    pack_ints,
    pack_timeline,
    unpack,
    unpack_ints,
    unpack_timeline,
)
from .leaf_batch import pack_progress, progress_fields, progress_of_fields, unpack_progress
from .source_progress import later

BEGINNING = -(2**62)
BYTES_PER_ROW = 8  # a packed row seldom needs more; where it does, the message is made again with fewer


@dataclass(frozen=True, slots=True)
class _Batch:
    """Keys and instants to tell, their suffixes, and the (key, instant) pairs that did not fit."""

    keys: Int64
    froms: Int64
    suffix: Timeline
    rest_keys: Int64
    rest_froms: Int64


@dataclass(slots=True)
class OutboundEdge:
    """The child's side: what ``subscriber`` has been told, and what it has not."""

    subscriber: str
    epoch: str
    sequence: int = 0
    numbers: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))  # by child's key; -1: not named
    named: int = 0  # how many keys have a number on this edge
    progress: tuple[Progress, ...] = ()
    arrived: tuple[Progress, ...] = ()  # the progress said by messages that are known to have arrived
    pending: KeySet = field(default_factory=KeySet)
    in_flight: bytes | None = None
    resend: bool = False
    output: str = ""  # which of the child's outputs it tells of; "": the only one

    def message(
        self,
        sender: str,
        names: Sequence[Key],
        output: TimelineStore,
        progress: tuple[Progress, ...],
        limit: int,
        inputs: int,
        answerable_from: int | None = None,
        before: str = "",
    ) -> bytes | None:
        """The next message of at most about ``limit`` bytes, now in flight.

        ``names``: of the keys of ``output``, by number; ``inputs``: how many inputs the child has taken;
        ``answerable_from``: from where on its timelines are complete (None: everywhere), said with the first
        message of an epoch, which begins a snapshot of them; ``before``: the child's (see ``Node``).

        None when there is nothing to say or a message is in flight already (after ``restored`` a message
        that was in flight is said again, unchanged, and its receiver drops it if it knows it). ``progress``
        is only said with the last of what is pending, so a subscriber that knows it knows everything up to
        there.
        """
        if self.in_flight is not None:
            again, self.resend = self.in_flight if self.resend else None, False
            return again
        marked = self.pending.marked()
        if not len(marked) and progress == self.progress:
            return None
        budget = max(1, limit // BYTES_PER_ROW)
        while True:
            batch = _batch(output, marked, self.pending.peek(marked), budget)
            said = self.progress if len(batch.rest_keys) else progress
            numbers, new = self._numbered(batch.keys)
            complete = (
                {} if self.sequence or answerable_from is None else {"answerable_from": answerable_from}
            )
            named_output = {"output": self.output} if self.output else {}
            encoded = encode(
                {
                    **complete,
                    **named_output,
                    **({"before": before} if before else {}),
                    "from": sender,
                    "epoch": self.epoch,
                    "sequence": self.sequence,
                    "inputs": inputs,
                    "first_key": self.named,
                    "new_keys": [names[key] for key in new.tolist()],
                    "keys": pack_ints(numbers),
                    "froms": pack_ints(batch.froms),
                    "suffix": pack_timeline(batch.suffix),
                    **progress_fields(said),
                }
            )
            if len(encoded) <= MESSAGE_BYTES or budget == 1:
                payload = compress(encoded, MESSAGE_BYTES)
                if len(payload) <= limit or budget == 1:
                    break
            budget = max(1, budget // 2)
        self.in_flight = payload
        self.pending.take(marked)
        self.pending.add(batch.rest_keys, batch.rest_froms)
        self.numbers[new] = np.arange(self.named, self.named + len(new))
        self.named += len(new)
        self.progress = said
        self.sequence += 1
        return payload

    def _numbered(self, keys: Int64) -> tuple[Int64, Int64]:
        """The edge's numbers for the child's ascending ``keys``, and those keys that have had none so far."""
        if len(keys) and int(keys[-1]) >= len(self.numbers):
            grown = np.full(max(int(keys[-1]) + 1, 2 * len(self.numbers)), -1, np.int64)
            grown[: len(self.numbers)] = self.numbers
            self.numbers = grown
        numbers = self.numbers[keys]
        unnamed = numbers < 0
        numbers[unnamed] = np.arange(self.named, self.named + int(unnamed.sum()))
        return numbers, keys[unnamed]

    def delivered(self) -> None:
        """The message in flight has arrived."""
        if self.in_flight is not None:
            self.in_flight, self.arrived = None, self.progress

    def renumber(self, keep: Int64) -> None:
        """The child's key ``keep[i]`` becomes key ``i``, and all others are gone: nothing may be pending
        of them. The edge names keys anew, as it tells of them.
        """
        self.pending.renumber(keep)
        self.numbers, self.named = self.numbers[:0], 0

    def carried(self) -> list[Any]:
        """The edge as plain values, for carried state."""
        marked = self.pending.marked()
        return [
            self.subscriber,
            self.epoch,
            self.sequence,
            pack_ints(self.numbers),
            pack_progress(self.progress),
            pack_ints(marked),
            pack_ints(self.pending.peek(marked)),
            self.in_flight,
            self.named,
            pack_progress(self.arrived),
            *([self.output] if self.output else []),
        ]

    @staticmethod
    def restored(carried: list[Any]) -> OutboundEdge:
        """Reverse ``carried``, also that of release 0.1.0, where an edge's numbers were the child's own."""
        subscriber, epoch, sequence, numbers, progress, marked, froms, in_flight, *more = carried
        if more:
            named, arrived = more[0], unpack_progress(more[1])
            output = more[2] if len(more) > 2 else ""
            numbers = unpack_ints(numbers).copy()
        else:
            named, numbers = numbers, np.arange(numbers, dtype=np.int64)
            arrived = () if in_flight is not None else unpack_progress(progress)
            output = ""
        edge = OutboundEdge(subscriber, epoch, sequence, numbers, named, unpack_progress(progress), arrived)
        edge.pending.add(unpack_ints(marked), unpack_ints(froms))
        edge.in_flight, edge.resend, edge.output = in_flight, in_flight is not None, output
        return edge


def edge_name(subscriber: str, output: str = "") -> str:
    """The name of the edge to ``subscriber`` that tells of ``output``, among a worker's."""
    return f"{subscriber} {output}" if output else subscriber


def _batch(output: TimelineStore, keys: Int64, froms: Int64, budget: int) -> _Batch:
    """The keys that fit ``budget`` rows and, of the next one, the pieces that do."""
    suffix = output.cut(keys, froms)
    none = np.zeros(0, np.int64)
    if len(suffix) <= budget:
        return _Batch(keys, froms, suffix, none, none)
    whole = int(np.searchsorted(suffix.offsets, budget, side="right")) - 1
    offsets = suffix.offsets[: whole + 1]
    rest_keys, rest_froms = keys[whole:], froms[whole:].copy()
    if budget > int(offsets[-1]):
        offsets = np.append(offsets, budget)
        rest_froms[0] = suffix.starts[budget]
    count = len(offsets) - 1
    rows = np.arange(int(offsets[-1]))
    part = Timeline(offsets, suffix.starts[rows], operations.take(suffix.values, rows))
    return _Batch(keys[:count], froms[:count], part, rest_keys, rest_froms)


@dataclass(slots=True)
class InboundEdge:
    """The subscriber's side: which of its own key numbers the child's numbers are, and what to expect
    next."""

    sender: str
    slot: int
    epoch: str = ""
    sequence: int = 0
    newest: tuple[int, int] = (-1, -1)  # (inputs, sequence) of the last message taken
    past_epochs: list[str] = field(default_factory=list)
    numbers: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    former: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))  # told of, without a number by now
    progress: tuple[Progress, ...] = ()
    told: tuple[Progress, ...] = ()  # what was said of the progress in this epoch

    @property
    def is_behind(self) -> bool:
        """Whether less has been told in this epoch than in those before."""
        told = {p.partition: (p.major, p.minor) for p in self.told}
        return any(told.get(p.partition, (-1, -1)) < (p.major, p.minor) for p in self.progress)

    def accept(self, message: dict[str, Any], keys: KeyTable) -> list[Revision]:
        """Take a message (from ``open_message``) once and in order; none when it was taken before.

        The first message of a new epoch begins the edge anew: all that was told before is taken back first.
        That of an epoch opened before the present one, which took long, is dropped. Raises StateError when
        an earlier message is missing.
        """
        suffix: Timeline = message["suffix"]
        revisions: list[Revision] = []
        if message["epoch"] != self.epoch:
            if message["sequence"] or self.is_past(message["epoch"]):
                return []
            _check_first(message, 0)
            if self.epoch:
                self.past_epochs.append(self.epoch)
            self.epoch, self.sequence, self.newest = message["epoch"], 0, (-1, -1)
            self.told = ()
            told = _all_of(self.numbers, self.former)
            nothing = pieces.empty(suffix.values, len(told))
            revisions.append(Revision(told, np.full(len(told), BEGINNING, np.int64), nothing))
            self.numbers = self.former = told[:0]
        stamp = (message["inputs"], message["sequence"])
        if stamp <= self.newest:
            return []
        if message["sequence"] > self.sequence:
            raise StateError(
                f"message {message['sequence']} of {self.sender} came before {self.sequence}: an edge "
                "has one message in flight, so the child must have lost its state; apply the metric again"
            )
        _check_first(message, len(self.numbers))
        new: list[Key] = message["new_keys"]
        own = keys.intern_all(new)
        unnamed = self.numbers[message["first_key"] :]
        if len(unnamed):
            self.former = _all_of(self.former, unnamed)
        self.numbers = np.concatenate([self.numbers[: message["first_key"]], own])
        self.sequence, self.newest = message["sequence"] + 1, stamp
        self.told = later(self.told, message["progress"])
        self.progress = later(self.progress, message["progress"])
        mine = self.numbers[message["keys"]]
        froms: Int64 = message["froms"]
        if len(mine) > 1 and bool((mine[1:] < mine[:-1]).any()):
            by_number = np.argsort(mine)
            lengths = np.diff(suffix.offsets)[by_number]
            rows = ranges(suffix.offsets[:-1][by_number], lengths)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            suffix = Timeline(offsets, suffix.starts[rows], operations.take(suffix.values, rows))
            mine, froms = mine[by_number], froms[by_number]
        return [*revisions, Revision(mine, froms, suffix)]

    def is_past(self, epoch: str) -> bool:
        """Whether ``epoch`` was the edge's before, or was opened before the one that is.

        Of two that a subscriber opens shortly after each other the first message of the earlier may come
        last: taken for a new one, it would cut the subscriber off from the epoch that its child goes by.
        """
        life, _, number = epoch.rpartition("/")
        present, _, opened = self.epoch.rpartition("/")
        earlier = life == present and number.isdecimal() and opened.isdecimal() and int(number) < int(opened)
        return earlier or epoch in self.past_epochs

    def renumber(self, keep: Int64) -> None:
        """The subscriber's key ``keep[i]`` becomes key ``i``; keys that are not in ``keep`` (ascending) are
        gone, and none of them may have a number here.
        """
        self.numbers = np.searchsorted(keep, self.numbers)
        places = np.searchsorted(keep, self.former)
        inside = places < len(keep)
        inside[inside] = keep[places[inside]] == self.former[inside]
        self.former = places[inside]

    def carried(self) -> list[Any]:
        """The edge as plain values, for carried state."""
        return [
            self.sender,
            self.slot,
            self.epoch,
            self.sequence,
            self.newest,
            self.past_epochs,
            pack_ints(self.numbers),
            pack_progress(self.progress),
            pack_ints(self.former),
            pack_progress(self.told),
        ]

    @staticmethod
    def restored(carried: list[Any]) -> InboundEdge:
        """Reverse ``carried``, also that of release 0.1.0, and of those that did not know ``told``."""
        sender, slot, epoch, sequence, newest, past, numbers, progress, *more = carried
        return InboundEdge(
            sender,
            slot,
            epoch,
            sequence,
            (newest[0], newest[1]),
            past,
            unpack_ints(numbers),
            unpack_ints(more[0]) if more else np.zeros(0, np.int64),
            unpack_progress(progress),
            unpack_progress(more[1] if len(more) > 1 else progress),
        )


def _all_of(*numbers: Int64) -> Int64:
    """Every number that is among ``numbers``, ascending, once."""
    everyone = np.concatenate(numbers)
    named = np.zeros(int(everyone.max(initial=-1)) + 1, np.bool_)
    named[everyone] = True
    return np.flatnonzero(named)


def _twice(numbers: Int64) -> bool:
    """Whether one of ``numbers``, none below 0, is there twice."""
    if len(numbers) < 2 or bool((numbers[1:] > numbers[:-1]).all()):
        return False
    top = int(numbers.max())
    if top > 16 * len(numbers):
        return len(np.unique(numbers)) < len(numbers)
    there = np.zeros(top + 1, np.bool_)
    there[numbers] = True
    return int(np.count_nonzero(there)) < len(numbers)


def _check_first(message: dict[str, Any], known: int) -> None:
    if message["first_key"] > known:
        raise StateError(
            f"message {message['sequence']} of {message['from']} names keys from {message['first_key']} on, "
            f"and {known} are known: the child must have lost its state"
        )


def open_message(payload: bytes) -> dict[str, Any]:
    """Decode a message of an edge, its columns included. Raises StateError for bytes that are none."""
    message = unpack(payload, MESSAGE_BYTES)
    if missing := _FIELDS.keys() - message.keys():
        raise StateError(f"not a message of an edge: {sorted(missing)} missing")
    for name, kind in _FIELDS.items():
        if type(message[name]) is not kind:
            raise StateError(f"not a message of an edge: {name} is {message[name]!r:.60}")
    if type(message.setdefault("answerable_from", None)) not in (int, type(None)):
        raise StateError(f"not a message of an edge: answerable_from is {message['answerable_from']!r:.60}")
    if type(message.setdefault("output", "")) is not str:
        raise StateError(f"not a message of an edge: output is {message['output']!r:.60}")
    message["before"] = published(message.get("before", ""))
    if min(message["sequence"], message["inputs"], message["first_key"]) < 0:
        raise StateError("not a message of an edge: a number in it is below 0")
    with decoding("a message of an edge"):
        message["keys"] = unpack_ints(message["keys"], MESSAGE_ROWS)
        message["froms"] = unpack_ints(message["froms"], MESSAGE_ROWS)
        message["suffix"] = unpack_timeline(message["suffix"], MESSAGE_ROWS)
        message["progress"] = progress_of_fields(message)
    check_keys(message["new_keys"])
    keys, named = message["keys"], message["first_key"] + len(message["new_keys"])
    if not len(keys) == len(message["froms"]) == message["suffix"].keys:
        raise StateError("a message's keys, instants and timelines differ in number")
    # They are the edge's numbers, given to keys as they are first told of: they need not ascend.
    if len(keys) and not 0 <= int(keys.min()) <= int(keys.max()) < named:
        raise StateError("a message tells of a key that it does not name")
    offsets, starts = message["suffix"].offsets, message["suffix"].starts
    told = np.flatnonzero(np.diff(offsets))
    if _twice(keys) or (starts[offsets[told]] < message["froms"][told]).any():
        raise StateError("a message tells of a key twice, or of a time before the one it says it begins with")
    return message


def is_message(payload: bytes) -> bool:
    """Whether ``open_message`` takes these bytes."""
    try:
        open_message(payload)
    except StateError:
        return False
    return True


def sender_of(payload: bytes) -> str | None:
    """Who sent a message, also when nothing else in it can be read; None when that cannot either."""
    try:
        sender = unpack(payload, MESSAGE_BYTES).get("from")
    except StateError:
        return None
    return sender if isinstance(sender, str) else None


_FIELDS: dict[str, type] = {
    "from": str,
    "epoch": str,
    "sequence": int,
    "inputs": int,
    "first_key": int,
    "new_keys": list,
    "keys": list,
    "froms": list,
    "suffix": list,
    "progress": list,
}
