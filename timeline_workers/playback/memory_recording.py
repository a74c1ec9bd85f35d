"""MemoryRecording: a recording in memory, for tests and for what fits there.

Events are added, timelines are revised, each at an instant of the store's clock, ``now``; what was known at
an earlier one can be asked for. It answers at once. Instants are microseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from timeline_workers.language.parser import parse

from .codes import DvrCode, RefusedRequest
from .items import (
    Change,
    ChannelLevels,
    Item,
    Missing,
    NodeLevel,
    NodeOfChannel,
    OpenedChannel,
    Piece,
    Position,
    Record,
    Revision,
    Scalar,
    View,
)
from .reads import LookAnswer
from .recording import ChannelReader, ChannelWindow
from .requests import (
    AggregateChannel,
    Channel,
    EventsChannel,
    LettersChannel,
    TimelinesChannel,
    WhatIfChannel,
)


@dataclass(slots=True)
class _Stored:
    """A revision as it was stored."""

    seen: int
    late: bool
    revision: Revision


class MemoryRecording:
    """Events by topic, timelines by metric. ``kept``: nothing before is kept; None: all is. ``kept_of``: the
    same of single topics and metrics.
    """

    def __init__(self) -> None:
        self.now = 0
        self.kept: int | None = None
        self.kept_of: dict[str, int] = {}
        self.final: dict[str, int] = {}  # watermarks, by topic or metric
        self.gaps: list[Missing] = []
        self._seq = 0
        self._records: dict[str, list[Record]] = {}  # by time
        self._log: dict[str, list[Record]] = {}  # as they were stored
        self._seen: dict[int, int] = {}  # seq: when
        self._nodes: dict[str, tuple[NodeOfChannel, ...]] = {}
        self._stored: dict[str, list[_Stored]] = {}

    def add_event(
        self,
        topic: str,
        time: int,
        key: Scalar,
        payload: Mapping[str, Any],
        position: Position | None = None,
    ) -> None:
        """Store an event, now."""
        self._seq += 1
        place = self._seq if position is None else position
        self._seen[self._seq] = self.now
        record = Record(time, time, key, payload, place, self._seq)
        insort(self._records.setdefault(topic, []), record, key=lambda one: (one.time, one.seq))
        self._log.setdefault(topic, []).append(record)

    def add_metric(self, metric: str, nodes: Sequence[NodeOfChannel]) -> None:
        """Say which nodes a metric has; their timelines are unknown."""
        self._nodes[metric] = tuple(nodes)
        self._stored.setdefault(metric, [])

    def revise(
        self, metric: str, node: str, key: Scalar, start: int, pieces: Sequence[Piece], *, late: bool = False
    ) -> None:
        """Store, now, that from ``start`` on a timeline is ``pieces``; ``late``: it was something else."""
        self._seq += 1
        revision = Revision(start, node, key, start, tuple(pieces), seq=self._seq)
        self._stored[metric].append(_Stored(self.now, late, revision))

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """See ``Recording``."""
        if isinstance(channel, EventsChannel | LettersChannel):
            topic = channel.events if isinstance(channel, EventsChannel) else channel.topic
            kind: Any = "events" if isinstance(channel, EventsChannel) else "letters"
            keys = channel.keys if isinstance(channel, EventsChannel) else None
            kept = self.kept_of.get(topic, self.kept)
            info = OpenedChannel(channel.channel, kind, complete_from=kept)
            return _Records(self, topic, info, None if keys is None else set(keys))
        if isinstance(channel, WhatIfChannel):
            parse(channel.expression)  # raises ExpressionError
        if not isinstance(channel, TimelinesChannel | AggregateChannel):
            raise RefusedRequest(DvrCode.BAD_MESSAGE, "this recording has events and timelines; open those")
        if channel.metric not in self._nodes:
            raise RefusedRequest(
                DvrCode.UNKNOWN_METRIC,
                f"metric {channel.metric!r} is not recorded; there are {', '.join(self._nodes) or 'none'}",
                field="metric",
            )
        return self._timelines(channel)

    def _timelines(self, channel: TimelinesChannel | AggregateChannel) -> ChannelReader:
        nodes = self._nodes[channel.metric]
        if isinstance(channel, AggregateChannel):
            keys = None if channel.groups == "all" else set(channel.groups)
            info = OpenedChannel(channel.channel, "aggregate", nodes, complete_from=self.kept)
        else:
            if channel.nodes == "result":
                nodes = nodes[-1:]
            elif channel.nodes != "all":
                nodes = tuple(node for node in nodes if node.node in channel.nodes)
            keys = None if channel.keys is None else set(channel.keys)
            known = {one.revision.key for one in self._stored[channel.metric]}
            if keys is not None and (unknown := keys - known):
                raise RefusedRequest(
                    DvrCode.UNKNOWN_KEY, f"key {min(map(repr, unknown))} has no timeline here", field="keys"
                )
            count = len(known if keys is None else keys)
            info = OpenedChannel(channel.channel, "timelines", nodes, count, self.kept)
        return _Timelines(self, channel.metric, info, keys)

    async def seq(self) -> int:
        """See ``Recording``."""
        return self._seq

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """See ``Recording``."""
        every = [_Records(self, topic, OpenedChannel(topic, "events"), None) for topic in self._records]
        every += [_Timelines(self, name, OpenedChannel(name, "timelines"), None) for name in self._nodes]  # type: ignore[misc]
        mine: Sequence[Any] = readers or every
        bounds = [instant for one in mine for instant in one.bounds(view)]
        finals = {one.info.channel: self.final[one.source] for one in mine if one.source in self.final}
        live = max(bounds, default=None)
        if view.edge == "final":
            live = min(finals.values(), default=None)
        answer = LookAnswer(
            seq=self._seq,
            start=min(bounds, default=None),
            live=live,
            now=self.now,
            final=finals if readers else {},
            complete_from={one.info.channel: self.kept_of.get(one.source, self.kept) for one in mine},
        )
        if since is None or view.as_of is not None:
            return answer
        new = [(one, item) for one in mine for item in one.stored_after(view, since)]
        changed = [item.start if isinstance(item, Revision) else item.due for _, item in new]
        most = max(changed, default=0) if upto is None else upto
        return replace(
            answer,
            changed_from=min(changed, default=None),
            revisions=tuple(
                (one.info.channel, item)
                for one, item in new
                if isinstance(item, Revision) and item.start <= most and view.axis == "event"
            ),
            late=tuple(
                (one.info.channel, item) for one, item in new if isinstance(item, Record) and item.due <= most
            ),
        )

    def records(self, topic: str, view: View) -> list[Record]:
        """The records of a topic as of a view, in the order in which they are due."""
        found = self._records.get(topic, [])
        if view.as_of is not None:
            found = [record for record in found if self._seen[record.seq] <= view.as_of]
        if view.axis == "system":
            found = [replace(record, due=self._seen[record.seq]) for record in found]
            found.sort(key=lambda record: (record.due, record.seq))
        return found

    def records_after(self, topic: str, seq: int) -> list[Record]:
        """The records of a topic that were stored after ``seq``."""
        log = self._log.get(topic, [])
        return log[bisect_right(log, seq, key=lambda record: record.seq) :]

    def stored(self, metric: str, view: View, upto: int | None = None) -> list[_Stored]:
        """The revisions of a metric as of a view; ``upto``: of the store's clock."""
        limits = [limit for limit in (view.as_of, upto) if limit is not None]
        found = self._stored.get(metric, [])
        return [one for one in found if all(one.seen <= limit for limit in limits)]


class _Reader:
    """What readers of both kinds have in common: ``items`` in the order in which they are due."""

    def __init__(
        self, recording: MemoryRecording, source: str, info: OpenedChannel, keys: set[Any] | None
    ) -> None:
        self.recording, self.source, self.info, self.keys = recording, source, info, keys

    def items(self, view: View) -> Sequence[Any]:
        raise NotImplementedError

    def bounds(self, view: View) -> list[int]:
        items = self.items(view)
        return [items[0].due, items[-1].due] if items else []

    def _between(self, view: View, after: int, to: int) -> Sequence[Any]:
        items = self.items(view)
        low = bisect_right(items, after, key=lambda item: item.due)
        return items[low : bisect_right(items, to, key=lambda item: item.due)]

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``."""
        items: list[Item] = list(self._between(view, after, to))
        if len(items) > limit:
            last = items[limit].due
            to = last - 1 if items[0].due < last else last
            items = [item for item in items if item.due <= to]
        met = [gap for gap in self.recording.gaps if gap.start <= to and gap.end > after]
        items += [replace(gap, due=max(gap.start, after + 1)) for gap in met]
        items.sort(key=lambda item: item.due)
        return ChannelWindow(to, tuple(items))

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``."""
        return sum(not isinstance(item, Revision) for item in self._between(view, after, to))

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        items = self.items(view)
        if back:
            low = bisect_left(items, at, key=lambda item: item.due)
            return items[low - 1].due if low else None
        high = bisect_right(items, at, key=lambda item: item.due)
        return items[high].due if high < len(items) else None

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``."""
        return ChannelLevels(0, ())


class _Records(_Reader):
    """The records of a topic, of some keys or all."""

    def items(self, view: View) -> list[Record]:
        found = self.recording.records(self.source, view)
        return found if self.keys is None else [record for record in found if record.key in self.keys]

    def stored_after(self, view: View, seq: int) -> list[Record]:
        found = self.recording.records_after(self.source, seq)
        return found if self.keys is None else [record for record in found if record.key in self.keys]


class _Timelines(_Reader):
    """The timelines of some nodes of a metric, of some keys or all."""

    def _stored(self, view: View, upto: int | None = None) -> list[_Stored]:
        nodes = {node.node for node in self.info.nodes}
        return [
            one
            for one in self.recording.stored(self.source, view, upto)
            if one.revision.node in nodes and (self.keys is None or one.revision.key in self.keys)
        ]

    def stored_after(self, view: View, seq: int) -> list[Revision]:
        return [one.revision for one in self._stored(view) if one.revision.seq > seq]

    def _pieces(self, view: View, upto: int | None = None) -> dict[tuple[str, Scalar], list[Piece]]:
        found: dict[tuple[str, Scalar], list[Piece]] = {}
        for one in self._stored(view, upto):
            revision = one.revision
            pieces = found.setdefault((revision.node, revision.key), [])
            pieces[:] = [p for p in pieces if p.time < revision.start] + list(revision.pieces)
        return found

    def items(self, view: View) -> Sequence[Any]:
        order = {node.node: i for i, node in enumerate(self.info.nodes)}
        changes: list[Any] = []
        if view.axis == "system":
            for one in self._stored(view):
                revision = one.revision
                if one.late:
                    changes.append(replace(revision, due=one.seen))
                else:
                    changes += [_change(one.seen, revision, piece) for piece in revision.pieces]
            return sorted(changes, key=lambda item: item.due)
        for (node, key), pieces in self._pieces(view).items():
            at = Revision(0, node, key, 0, ())
            changes += [_change(piece.time, at, piece) for piece in pieces]
        return sorted(changes, key=lambda item: (item.due, order[item.node]))

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``: on the system axis the newest levels that were known at ``at``."""
        on_system = view.axis == "system"
        known = self._pieces(view, at if on_system else None)
        if on_system:
            at = max((piece.time for pieces in known.values() for piece in pieces), default=at)
        final = self.recording.final.get(self.source)
        levels = [
            _level(node, key, pieces, at, final is not None and at < final)
            for (node, key), pieces in known.items()
            if pieces and pieces[0].time <= at
        ]
        busy: dict[Scalar, int] = {}
        for (_, key), pieces in known.items():
            busy[key] = busy.get(key, 0) + len(pieces)
        shown = set(sorted(busy, key=lambda key: -busy[key])[:keys])
        return ChannelLevels(len(levels), tuple(level for level in levels if level.key in shown))


def _change(due: int, revision: Revision, piece: Piece) -> Change:
    return Change(due, piece.time, revision.node, revision.key, piece.value, piece.slope)


def _level(node: str, key: Scalar, pieces: Sequence[Piece], at: int, final: bool) -> NodeLevel:
    i = bisect_right(pieces, at, key=lambda piece: piece.time) - 1
    piece, value = pieces[i], pieces[i].value
    if piece.slope and isinstance(value, int | float):
        exact = Fraction(value) + Fraction(piece.slope) * Fraction(at - piece.time, 1_000_000)
        value = exact.numerator if exact.denominator == 1 else float(exact)
    until = pieces[i + 1].time if i + 1 < len(pieces) else None
    return NodeLevel(node, key, value, piece.time, until, final, piece.slope)
