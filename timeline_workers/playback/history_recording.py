"""HistoryRecording: the player's recording over a history store.

Channels of events and dead letters read what a source definition says of stored events, channels of metrics
the pieces of their nodes; what-if channels are computed, and so are nodes that are not stored, for the keys
that a channel names. ``MetricNames`` says which definition and nodes a
name stands for. What the store does not do is refused: the system axis, health. Gaps are those known when a
channel is opened. Errors are those of the store; ``recording.Reads`` turns them into answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history import model as history
from timeline_workers.history.store import ACCEPTED, HistoryStore
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Source

from .codes import DvrCode, RefusedRequest
from .history_channels import EventsReader, PiecesReader
from .history_values import revision_of
from .history_what_if import HistoryEvents
from .items import Missing, NodeOfChannel, OpenedChannel, Record, View
from .reads import LookAnswer
from .recording import ChannelReader
from .requests import (
    AggregateChannel,
    Channel,
    EventsChannel,
    LettersChannel,
    TimelinesChannel,
    WhatIfChannel,
)
from .what_if import WhatIfReader

REFUSED = frozenset(history.Outcome) - ACCEPTED
MOST_CHANGES = 1_000  # of timelines, in one look


_AnyReader = EventsReader | PiecesReader | WhatIfReader


@dataclass(frozen=True, slots=True)
class RecordedMetric:
    """A metric in a store: its source and source definition, and its nodes, under the names that the store
    has for them; the last is its result (of an aggregate there is one for each function).
    """

    source: Source
    definition: str
    nodes: tuple[NodeOfChannel, ...]


class MetricNames(Protocol):
    """What names stand for. Raises UnknownNameError for one that stands for nothing."""

    async def definition(self, name: str) -> str:
        """The source definition of a topic or a stored source."""
        ...

    async def metric(self, name: str) -> RecordedMetric:
        """A metric."""
        ...


class HistoryRecording:
    """See the module. One serves all sessions of a process."""

    def __init__(self, store: HistoryStore, names: MetricNames) -> None:
        self.store, self._names = store, names
        self._definition: str | None = None  # any: the system time is the whole store's

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """See ``Recording``."""
        if view.axis == "system":
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE, "axis is 'system': this store plays the event axis", field="axis"
            )
        there = await self.store.contents()
        if isinstance(channel, EventsChannel | LettersChannel):
            of_events = isinstance(channel, EventsChannel)
            name = channel.events if isinstance(channel, EventsChannel) else channel.topic
            keys = channel.keys if isinstance(channel, EventsChannel) else None
            definition = await self._names.definition(name)
            info = OpenedChannel(
                channel.channel, "events" if of_events else "letters", (), None, there.kept_from
            )
            topic = there.definitions.get(definition)
            gaps = _gaps(there, set() if topic is None else {topic})
            self._definition = definition
            return EventsReader(self.store, definition, info, keys, gaps, ACCEPTED if of_events else REFUSED)
        if isinstance(channel, WhatIfChannel):
            like = await self._names.metric(channel.like)
            self._definition = like.definition
            events = HistoryEvents(self.store, channel, like.source, like.definition, view.as_of)
            return await WhatIfReader(channel, like.definition, events).open(there.kept_from)
        if not isinstance(channel, TimelinesChannel | AggregateChannel):
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE, "this store has events, letters and metrics; open those"
            )
        metric = await self._names.metric(channel.metric)
        nodes = metric.nodes
        groups: list[history.Group] | None
        if isinstance(channel, AggregateChannel):
            groups = None if channel.groups == "all" else list(channel.groups)
            info = OpenedChannel(channel.channel, "aggregate", nodes, None, there.kept_from)
        else:
            groups = None if channel.keys is None else list(channel.keys)
            if channel.nodes != "all":
                wanted = [nodes[-1].node] if channel.nodes == "result" else channel.nodes
                nodes = tuple(node for node in nodes if node.node in wanted or node.name in wanted)
            many = None if groups is None else len(groups)
            info = OpenedChannel(channel.channel, "timelines", nodes, many, there.kept_from)
        self._definition = metric.definition
        lacking = not there.nodes.issuperset(node.node for node in nodes)
        lacking = lacking and metric.definition in there.definitions
        if lacking and isinstance(channel, TimelinesChannel):
            computed = _computed(self.store, channel, metric, nodes, view.as_of)
            if computed is not None:
                return await computed.open(there.kept_from)
        gaps = _gaps(there, {node.node for node in nodes})
        return PiecesReader(self.store, metric.definition, info, groups, gaps)

    async def seq(self) -> int:
        """See ``Recording``: the store's last system time."""
        reach = None if self._definition is None else await self.store.reach(self._definition)
        return (await self.store.contents()).seen if reach is None else reach.seen

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """See ``Recording``."""
        mine = cast("Sequence[_AnyReader]", readers)
        reaches = {one.definition: await self.store.reach(one.definition) for one in mine}
        known = [reach for reach in reaches.values() if reach is not None]
        if not mine or not known:
            there = await self.store.contents()
            all_of = [await self.store.reach(definition) for definition in there.definitions]
            firsts = [one.first for one in all_of if one is not None and one.first is not None]
            lasts = [one.last for one in all_of if one is not None and one.last is not None]
            start, live = min(firsts, default=None), max(lasts, default=None)
            return LookAnswer(there.seen, start, live, there.seen)
        finals = {
            one.info.channel: reach.watermark
            for one in mine
            if (reach := reaches[one.definition]) is not None and reach.watermark is not None
        }
        live = max((reach.last for reach in known if reach.last is not None), default=None)
        if view.edge == "final":
            live = min(finals.values(), default=None)
        seen = min(reach.seen for reach in known)
        answer = LookAnswer(
            seq=seen,
            start=min((reach.first for reach in known if reach.first is not None), default=None),
            live=live,
            now=seen,
            final=finals,
            complete_from={one.info.channel: known[0].kept_from for one in mine},
        )
        if since is None or answer.seq <= since:  # nothing was stored since
            return answer
        return await self._with_changes(answer, mine, since, upto)

    async def _with_changes(
        self, answer: LookAnswer, mine: Sequence[_AnyReader], since: int, upto: int | None
    ) -> LookAnswer:
        most = LATEST if upto is None else upto
        seen, pieces = answer.seq, [one for one in mine if isinstance(one, PiecesReader)]
        found = []
        for one in pieces:
            changes = await self.store.changed_since(
                one.names, since, keys=one.keys, until=seen, limit=MOST_CHANGES
            )
            seen = min(seen, max(changes.seen, since))
            found += [(one, changed) for changed in changes.changed]
        # One answer may have been cut earlier than another: what is later comes with the next look.
        revisions = [
            (one.info.channel, await revision_of(self.store, changed, most))
            for one, changed in found
            if changed.seen <= seen and changed.since <= most
        ]
        for computed in mine:
            if isinstance(computed, WhatIfReader):
                again = await computed.revised_after(since, most)
                revisions += [(computed.info.channel, one) for one in again if one.seq <= seen]
        late: list[tuple[str, Record]] = []
        for events in mine:
            if isinstance(events, EventsReader):
                asked = max(most, events.held_until)
                found_late = await events.stored_after(since, asked)
                records = [one for one in found_late if one.seq <= seen and not events.has(one.seq, one.time)]
                events.looked(since, seen, asked, [(one.seq, one.time) for one in records])
                late += [(events.info.channel, one) for one in records if one.time <= most]
        for reader in pieces:
            told = [changed for of, changed in found if of is reader and changed.seen <= seen]
            reader.looked(since, seen, LATEST, [(changed.seen, changed.since) for changed in told])
        changed_at = [changed.since for _, changed in found if changed.seen <= seen]
        changed_at += [record.time for _, record in late]
        changed_at += [revision.start for _, revision in revisions]
        return replace(
            answer,
            seq=seen,
            changed_from=min(changed_at, default=None),
            revisions=tuple(revisions),
            late=tuple(late),
        )


def _computed(
    store: HistoryStore,
    channel: TimelinesChannel,
    metric: RecordedMetric,
    nodes: Sequence[NodeOfChannel],
    as_of: int | None,
) -> WhatIfReader | None:
    """A reader of nodes that are not stored, from the events of the keys; None where it needs all keys."""
    expression = metric.nodes[-1].expression
    if channel.keys is None or isinstance(parse(expression), Aggregate):
        return None
    asked = WhatIfChannel(
        channel=channel.channel,
        expression=expression,
        like=channel.metric,
        nodes=[node.node for node in nodes],
        keys=channel.keys,
    )
    named = {node.expression: node for node in metric.nodes}
    events = HistoryEvents(store, asked, metric.source, metric.definition, as_of, accepted_only=True)
    return WhatIfReader(asked, metric.definition, events, named)


def _gaps(there: history.Contents, of: set[str]) -> list[Missing]:
    return [
        Missing(
            0,
            EARLIEST if gap.since is None else gap.since,
            (LATEST if gap.until is None else gap.until),
            gap.why,
        )
        for gap in there.gaps
        if gap.of in of
    ]
