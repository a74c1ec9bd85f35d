"""Wording of messages: from items in microseconds to messages in the unit of a socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from timeline_workers.events.times import from_microseconds

from .items import Change, ChannelLevels, Missing, NodeLevel, OpenedChannel, Piece, Record, Revision
from .replies import (
    ChangesPart,
    ChannelInfo,
    Frame,
    Gap,
    Instant,
    Level,
    NodeInfo,
    RecordsPart,
    Reply,
    Revised,
    Snapshot,
)
from .thinning import Part


class Wording:
    """Messages in one ``unit``: s, ms, us or ns."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def time(self, instant: int) -> Instant:
        """An instant as it is said."""
        return cast(Instant, from_microseconds(instant, self.unit))

    def time_or_none(self, instant: int | None) -> Instant | None:
        """The same, of an instant that may be unknown."""
        return None if instant is None else self.time(instant)

    def frame(self, epoch: int, number: int, from_: int, to: int, parts: Mapping[str, Part]) -> Frame:
        """A frame of what came due."""
        return Frame.model_construct(
            epoch=epoch,
            frame=number,
            from_=self.time(from_),
            to=self.time(to),
            channels={name: self._part(part) for name, part in parts.items()},
        )

    def _part(self, part: Part) -> RecordsPart | ChangesPart:
        skipped = part.count - len(part.items)
        lines = [self.record(i) if isinstance(i, Record) else self.change(i) for i in part.items]
        if part.has_levels:
            return ChangesPart.model_construct(count=part.count, changes=lines, skipped=skipped)
        return RecordsPart.model_construct(count=part.count, records=lines, skipped=skipped)

    def record(self, record: Record) -> list[Any]:
        """``[time, key, object, position]``."""
        return [self.time(record.time), record.key, record.payload, record.position]

    def change(self, change: Change) -> list[Any]:
        """``[time, node, key, value, slope]``."""
        return [self.time(change.time), change.node, change.key, change.value, change.slope]

    def snapshot(
        self, epoch: int, at: int, channels: Mapping[str, ChannelLevels], reply: Reply = None
    ) -> Snapshot:
        """Levels of channels."""
        cut = {name: found.count for name, found in channels.items() if found.count > len(found.levels)}
        levels = {name: [self._level(level) for level in found.levels] for name, found in channels.items()}
        return Snapshot(reply=reply, epoch=epoch, at=self.time(at), channels=levels, counts=cut or None)

    def _level(self, level: NodeLevel) -> Level:
        return Level(
            node=level.node,
            key=level.key,
            value=level.value,
            since=self.time_or_none(level.since),
            until=self.time_or_none(level.until),
            slope=level.slope,
            final=level.final,
        )

    def revision(self, epoch: int, channel: str, revision: Revision, upto: int) -> Revised:
        """A revision of a timeline, with the pieces that begin up to ``upto``: nothing is told early."""
        return Revised(
            epoch=epoch,
            channel=channel,
            node=revision.node,
            key=revision.key,
            from_=self.time(revision.start),
            pieces=[self._piece(piece) for piece in revision.pieces if piece.time <= upto],
            cause=revision.cause,
        )

    def _piece(self, piece: Piece) -> list[Any]:
        return [self.time(piece.time), piece.value, piece.slope]

    def late(self, epoch: int, channel: str, records: Iterable[Record]) -> Revised:
        """Records that belong where the playhead has been."""
        found = sorted(records, key=lambda record: record.time)
        return Revised(
            epoch=epoch,
            channel=channel,
            from_=self.time(found[0].time),
            records=[self.record(record) for record in found],
            cause="late event",
        )

    def gap(self, channel: str, missing: Missing) -> Gap:
        """A stretch that is not recorded."""
        start, end = self.time(missing.start), self.time(missing.end)
        return Gap(channel=channel, from_=start, to=end, why=missing.why)

    def channel(self, opened: OpenedChannel) -> ChannelInfo:
        """A channel that is open."""
        nodes = [
            NodeInfo(node=one.node, name=one.name, expression=one.expression, kind=one.kind)
            for one in opened.nodes
        ]
        return ChannelInfo(
            channel=opened.channel,
            kind=opened.kind,
            nodes=nodes,
            keys=opened.keys,
            complete_from=self.time_or_none(opened.complete_from),
        )
