"""From a batch of messages to what each leaf worker is sent, and to the events that nobody is. No I/O.

Metrics that read a topic in the same way (``graph.reading``) form a *group*: their events are decoded once,
and an event that does not fit is refused for the whole group. A leaf that several groups share, as they
refuse the same events, belongs to the first of them by metric name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from feeder.positions import Clock, Clocked, progress_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress, key_origins
from timeline_workers.columns import operations as column_tools
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import UNKNOWN, Bools, Int64
from timeline_workers.events.times import from_microseconds
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Source
from timeline_workers.plan.changelog_rules import changelog_kinds
from timeline_workers.plan.physical import NodeSpec, Plan, partition_labels, partition_of, worker_id
from timeline_workers.plan.reading import Reading, reading_of
from timeline_workers.wire.changelog_events import ChangelogDecoder, DecodedChangelog
from timeline_workers.wire.leaf_batch import encode_leaf_batch

from .decided import Decided, Messages as Messages
from .published_watermarks import ChangelogClock
from .recent_counts import Recent
from .sent_cache import KeyNumbers, SentCache

PAYLOAD_BYTES = 400 * 1024
COMMIT_LABEL = "journal"
REASON_LENGTH = 300
FORGET_MICROSECONDS = 600_000_000


@dataclass(frozen=True, slots=True)
class Refused:
    """One event that is not applied. ``row``: its message; ``reason``: a stable code, such as ``late``."""

    row: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One encoded leaf batch: at most 400 KiB unless a single event is larger.

    ``rows``: how many events it holds for the leaf; ``progress``: how far the leaf is once it has applied it.
    """

    payload: bytes
    rows: int
    progress: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of a batch of messages for one group.

    ``parcels``: per worker id, in the order to send them; ``labels``: the partition label of each of these
    workers; ``progress``: how far the whole batch brings each source partition; ``missing``: by column and
    reason, how many values of accepted events counted as missing because they did not fit; ``decided``: what
    all this rests on.
    """

    refused: list[Refused]
    parcels: dict[str, list[Parcel]]
    labels: dict[str, str]
    progress: tuple[Progress, ...]
    accepted: int
    missing: Counter[str]
    decided: Decided


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf node and a metric's plan that holds it (to start its workers from)."""

    node: NodeSpec
    router: LeafRouter
    plan: Plan


@dataclass(slots=True)
class MetricGroup:
    """Metrics that read a topic in the same way. ``signature`` is equal for groups that do so;
    ``keeps_events``: whether some of them has its events in the history.
    """

    signature: str
    reading: Reading
    metrics: list[str] = field(default_factory=list)
    leaves: dict[str, Leaf] = field(default_factory=dict)
    keeps_events: bool = False

    @property
    def source(self) -> Source:
        """Where the events come from."""
        return self.reading.source

    @property
    def labels(self) -> tuple[str, ...]:
        """Partition labels; empty for ``per-key``, where every key is one."""
        return partition_labels(next(iter(self.leaves.values())).plan)

    def commit_leaf(self) -> tuple[str, str]:
        """Return (worker id, partition label) of the leaf worker that hears of every batch, last."""
        labels = self.labels
        label = labels[0] if labels else COMMIT_LABEL
        return worker_id(min(self.leaves), label), label


def groups_of(plans: Iterable[Plan]) -> dict[str, list[MetricGroup]]:
    """Return, per topic, the groups of the metrics in ``plans``. The metrics of a group without leaves of its
    own are in the groups that have them.
    """
    groups: dict[str, MetricGroup] = {}
    owner: dict[str, MetricGroup] = {}
    leaves: dict[str, list[str]] = {}
    for plan in sorted(plans, key=lambda p: p.metric.name):
        reading = reading_of(plan.metric)
        signature = reading.signature()
        group = groups.setdefault(signature, MetricGroup(signature, reading))
        group.metrics.append(plan.metric.name)
        group.keeps_events |= plan.metric.history is None or plan.metric.history.events
        leaves[plan.metric.name] = [node.name for node in plan.nodes if node.is_leaf]
        for node in (node for node in plan.nodes if node.is_leaf):
            if owner.setdefault(node.name, group) is group and node.name not in group.leaves:
                group.leaves[node.name] = Leaf(node, LeafRouter(parse(node.expression)), plan)
    topics: dict[str, list[MetricGroup]] = {}
    for group in groups.values():
        if group.leaves:
            topics.setdefault(group.source.topic, []).append(group)
            continue
        for metric in group.metrics:
            for name in leaves[metric]:
                owner[name].keeps_events |= group.keeps_events
                if metric not in owner[name].metrics:
                    owner[name].metrics.append(metric)
    return topics


class Router:
    """Routes the messages of one group, keeping its watermarks. Not safe for use by two threads at once.

    ``partitions``: how many partitions the topic has; ``judges_only``: no leaf is sent anything.
    """

    def __init__(self, group: MetricGroup, partitions: int = 1, *, judges_only: bool = False) -> None:
        source, self._judges_only = group.source, judges_only
        self.clock = (
            ChangelogClock(partitions)
            if source.changelog
            else Clock(source.allowed_lateness, partitions, clock_skew=source.clock_skew)
        )
        self._recent: dict[int, Recent] = {}
        self._sent_caches: dict[str, SentCache] = {}
        self._forgotten = 0
        self.update(group)

    def update(self, group: MetricGroup) -> None:
        """Go on with other metrics of the same signature; watermarks and positions stay."""
        self.group = group
        self._forget_keys()
        leaves = (parse(leaf.node.expression) for leaf in group.leaves.values())
        kinds = frozenset[str]().union(*map(changelog_kinds, leaves))
        self._decoder = (
            ChangelogDecoder(group.source.time_unit, kinds, group.source.aggregate_read)
            if group.source.changelog
            else group.reading.decoder()
        )

    def forget_sent(self) -> None:
        """Forget what the leaves were sent: they may have been started anew."""
        # The one key of a per-key worker is named every time: it may be started anew beside all others.
        leaves = self.group.leaves if self.group.source.partitions != "per-key" else {}
        self._sent_caches = {
            n: SentCache(leaf.router, leaf.plan.metric.key_ttl) for n, leaf in leaves.items()
        }
        # Of each leaf the columns that no event has had a value of, as far as its workers were told.
        self._unseen = {n: set(leaf.node.columns) for n, leaf in self.group.leaves.items()}

    def _forget_keys(self) -> None:
        self._numbers = KeyNumbers(self._label)
        self.forget_sent()

    def _label(self, key: Key) -> str:
        return partition_of(key, self.group.source)

    def route(self, messages: Messages, late: Bools | None = None) -> Routed:
        """Decode, judge and divide ``messages``; advances the watermarks. ``late``: see ``Clock.advance``.

        Guarantees that every message is either in ``refused`` or in the parcels of every leaf that needs
        it, and that the result depends only on the messages, the watermarks before them and what was routed
        since ``forget_sent``. The parcels must be delivered before those of later messages.
        """
        source = self.group.source
        latest = int(messages.published.max(initial=0))
        if (
            abs(latest - self._forgotten) >= FORGET_MICROSECONDS
        ):  # producers' clocks may be wrong, and set back
            # Another feeder may have started a leaf anew, which this one is not told.
            self._forgotten = latest
            self.forget_sent()
        standing, began = self.clock.progress(), dict(self.clock.reached)
        decoded = self._decoder.decode(
            messages.payloads, messages.position, messages.published, source.max_ahead
        )
        if isinstance(decoded, DecodedChangelog):
            assert isinstance(self.clock, ChangelogClock)
            self.clock.hear(decoded.marks)
        refused = [Refused(r.row, r.reason, r.message) for r in decoded.rejects]
        rows = np.asarray(decoded.rows, np.intp)  # of each decoded event, its message
        valid = np.zeros(len(messages), np.bool_)
        valid[rows] = True
        times = decoded.times
        clocked = self.clock.advance(messages.position, times, valid, messages.published, late, decoded.timed)
        for row in np.flatnonzero(clocked.late).tolist():
            refused.append(Refused(row, "late", _late(row, times, clocked, messages.position)))
        missing: Counter[str] = Counter()
        for one in (m for m in decoded.missing if not clocked.late[m.row]):
            missing[f"{one.column}: {one.reason}"] += 1
            self.clock.note_missing(int(messages.position.partition[one.row]))
        events = np.flatnonzero(~clocked.late[rows])
        self._note(messages, valid & ~clocked.late, clocked.ahead, refused)
        parcels, labels = (
            ({}, {})
            if self._judges_only
            else self._divide(decoded.batch, rows, events, messages, clocked, standing)
        )
        decided = Decided(messages, decoded, clocked, valid, began)
        return Routed(refused, parcels, labels, self.clock.progress(), len(events), missing, decided)

    def _note(self, messages: Messages, accepted: Bools, ahead: Bools, refused: Sequence[Refused]) -> None:
        """Note of each source partition what was accepted and refused, for people."""
        is_refused = np.zeros(len(messages), np.bool_)
        is_refused[[r.row for r in refused]] = True
        reasons = {int(messages.position.partition[r.row]): r for r in refused}
        for partition in np.unique(messages.position.partition).tolist():
            mine = messages.position.partition == partition
            recent = self._recent.setdefault(partition, Recent())
            recently = recent.take(messages.published[mine], accepted[mine], is_refused[mine], ahead[mine])
            was = self.clock.reached[partition].noted
            last = reasons.get(partition)
            # Every leaf batch carries it: no longer than somebody wants to know.
            reason = was.reason if recently[1] else ""
            if last is not None:
                reason = f"{last.reason}: {last.message}"[:REASON_LENGTH]
            total = was.accepted + int(accepted[mine].sum())
            self.clock.note(
                partition,
                replace(
                    was,
                    accepted=total,
                    reason=reason,
                    recent_accepted=recently[0],
                    recent_refused=recently[1],
                    recent_ahead=recently[2],
                ),
            )

    def _divide(
        self,
        batch: EventBatch,
        rows: NDArray[np.intp],
        events: NDArray[np.intp],
        messages: Messages,
        clocked: Clocked,
        standing: Sequence[Progress],
    ) -> tuple[dict[str, list[Parcel]], dict[str, str]]:
        parcels: dict[str, list[Parcel]] = {}
        labels: dict[str, str] = {}

        @cache
        def reached(lo: int, hi: int) -> tuple[Progress, ...]:
            heard = progress_of(
                messages.position, clocked, messages.published, np.arange(lo, hi), self.clock.reached
            )
            # Of all partitions: a leaf worker that hears for the first time would take those that it is
            # told of for all that there are, and final what the others may still change.
            known = {p.partition for p in heard}
            return (*heard, *(p for p in standing if p.partition not in known))

        if self._numbers.full:
            self._forget_keys()
        numbers = self._numbers.of(batch.keys)
        for label, chosen in self._by_label(batch, numbers, events):
            places = rows[chosen]

            @cache
            def share(
                lo: int, hi: int, chosen: NDArray[np.intp] = chosen, places: NDArray[np.intp] = places
            ) -> tuple[EventBatch, Int64, Int64]:
                # Of the messages lo..hi of the batch, the events that have this label.
                part, keys = select(batch, chosen[slice(*np.searchsorted(places, (lo, hi)))])
                return part, numbers[keys], key_origins(part)

            def build(
                lo: int,
                hi: int,
                leaf: Leaf,
                share: Callable[[int, int], tuple[EventBatch, Int64, Int64]] = share,
            ) -> list[Parcel]:
                part, keys, origins = share(lo, hi)
                leaf_batch = leaf.router.batch(part, reached(lo, hi), origins)
                cache = self._sent_caches.get(leaf.node.name)
                if cache is not None:
                    leaf_batch, keys = cache.needed(leaf_batch, keys)
                if seen := self._seen(leaf, part):
                    leaf_batch = replace(leaf_batch, seen=seen)
                payload = encode_leaf_batch(leaf_batch)
                if len(payload) <= PAYLOAD_BYTES or hi - lo == 1:
                    if cache is not None:
                        cache.sent(leaf_batch, keys)
                    self._unseen[leaf.node.name] -= set(seen)
                    return [Parcel(payload, len(leaf_batch.time), leaf_batch.progress)]
                middle = (lo + hi) // 2
                return build(lo, middle, leaf) + build(middle, hi, leaf)

            for name, leaf in self.group.leaves.items():
                worker = worker_id(name, label)
                parcels[worker] = build(0, len(messages), leaf)
                labels[worker] = label
        return parcels, labels

    def _seen(self, leaf: Leaf, batch: EventBatch) -> tuple[str, ...]:
        """The columns of a leaf that have a value in ``batch`` and had none in any before."""
        return tuple(
            name
            for name in sorted(self._unseen[leaf.node.name])
            if (column := batch.columns.get(name)) is not None and bool((column.tags != UNKNOWN).any())
        )

    def _by_label(
        self, batch: EventBatch, numbers: Int64, events: NDArray[np.intp]
    ) -> Iterable[tuple[str, NDArray[np.intp]]]:
        """The labels of ``events``, in the order of the batch's keys, and the events of each, ascending;
        ``numbers``: those of the batch's keys."""
        if not len(events):
            return
        if self.group.source.partitions == 1:
            yield self._label(batch.keys[0]), events
            return
        # The labels met here are numbered anew, so that what was met before changes no order.
        known, first, of_key = np.unique(
            self._numbers.labels(numbers), return_index=True, return_inverse=True
        )
        of_event = of_key[batch.key[events]]
        if len(known) < 2**15:
            of_event = of_event.astype(np.int16)  # NumPy sorts these in linear time
        order = np.argsort(of_event, kind="stable")
        bounds = np.searchsorted(of_event[order], np.arange(len(known) + 1))
        for number in np.argsort(first).tolist():
            chosen = events[order[bounds[number] : bounds[number + 1]]]
            if len(chosen):
                yield self._label(batch.keys[first[number]]), chosen


def select(batch: EventBatch, rows: NDArray[np.intp]) -> tuple[EventBatch, NDArray[np.intp]]:
    """Return the events of ``rows``, with only the keys that occur in them, and the places of these keys in
    the batch's."""
    codes = batch.key[rows]
    used = np.zeros(len(batch.keys), np.bool_)
    used[codes] = True
    places = np.flatnonzero(used)
    keys = batch.keys if len(places) == len(used) else list(compress(batch.keys, used.tolist()))
    if len(rows) == len(batch) and keys is batch.keys:
        return batch, places
    part = EventBatch(
        keys,
        (np.cumsum(used, dtype=np.int32) - np.int32(1))[codes],
        batch.time[rows],
        batch.position.take(rows),
        {name: column_tools.take(column, rows) for name, column in batch.columns.items()},
    )
    return part, places


def progress_parcel(leaf: Leaf, progress: Sequence[Progress]) -> Parcel:
    """Return a parcel that holds no events and only says how far the source has come."""
    nothing = np.zeros(0, np.int64)
    empty = EventBatch(
        [], nothing.astype(np.int32), nothing, Positions(nothing.astype(np.int32), nothing, nothing), {}
    )
    return Parcel(encode_leaf_batch(leaf.router.batch(empty, tuple(progress))), 0, tuple(progress))


def _late(row: int, times: Int64, clocked: Clocked, position: Positions) -> str:
    time, mark = (from_microseconds(int(values[row]), "iso") for values in (times, clocked.before))
    return (
        f"event time {time} is below the watermark {mark} of source partition {position.partition[row]}; "
        "raise allowed_lateness in the metric's source to accept events that come so late"
    )
