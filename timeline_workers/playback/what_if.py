"""What-if channels: timelines of an expression that need not be applied, and of a metric whose nodes are
not stored.

They are computed from the recorded events of the keys that the channel names, all of them in memory, when the
channel is opened, and again when there are new events: what is other then is a revision. An aggregate is
over all keys, so that opening one reads all events. One reader serves one session. ``WhatIfEvents`` is where
the events are from.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Protocol

from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history import model as history
from timeline_workers.history.computed import Computed, ComputedNode

from .history_values import change_of, level_of, pieces_from
from .items import Change, ChannelLevels, NodeOfChannel, OpenedChannel, Revision, View
from .pages import Page
from .recording import ChannelWindow
from .requests import WhatIfChannel

_Lane = tuple[str, str]


class WhatIfEvents(Protocol):
    """The events of a what-if channel."""

    async def compute(self) -> tuple[Computed, int]:
        """The expression over all of them, and the ``seq`` of its recording as of which that is."""
        ...

    async def are_new(self) -> bool:
        """Whether there are others than ``compute`` has last had."""
        ...


class WhatIfReader:
    """The nodes of one expression; made by ``open``. ``named``: by their text, the nodes of the metric whose
    expression it is; None: they have their text for a name.
    """

    def __init__(
        self,
        channel: WhatIfChannel,
        definition: str,
        events: WhatIfEvents,
        named: Mapping[str, NodeOfChannel] | None = None,
    ) -> None:
        self._channel, self.definition, self._events = channel, definition, events
        self._named = named
        self._seen = 0
        self._computed: Computed | None = None
        self._page: Page[Change] = Page(EARLIEST, LATEST + 1, [], [])
        self._lanes: dict[_Lane, list[history.Piece]] = {}
        self._revised: list[Revision] = []
        self.info = OpenedChannel(channel.channel, "what-if")

    async def open(self, complete_from: int | None) -> WhatIfReader:
        """Compute it for the first time. Raises what ``history.computed.compute`` raises."""
        computed = await self._compute()
        nodes = [self._node(one, function) for one in computed.nodes for function in one.functions or ("",)]
        wanted = self._channel.nodes
        if wanted == "result":
            nodes = nodes[-max(len(computed.nodes[-1].functions), 1) :]
        elif wanted != "all":
            nodes = [node for node in nodes if node.node in wanted]
        keys = None if self._channel.keys is None else len(self._channel.keys)
        self.info = OpenedChannel(
            self._channel.channel,
            "what-if" if self._named is None else "timelines",
            tuple(nodes),
            keys,
            complete_from,
        )
        self._lanes, self._page = self._laid(computed)
        return self

    def _node(self, one: ComputedNode, function: str) -> NodeOfChannel:
        if self._named is not None and one.text in self._named:
            return self._named[one.text]
        return NodeOfChannel(history.node_of(one.text, function), one.text, one.text, one.kind)

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """See ``ChannelReader``."""
        return ChannelWindow(*self._page.part(after + 1, to, limit))

    async def count(self, view: View, after: int, to: int) -> int:
        """See ``ChannelReader``."""
        return max(bisect_right(self._page.dues, to) - bisect_right(self._page.dues, after), 0)

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """See ``ChannelReader``."""
        dues = self._page.dues
        place = bisect_left(dues, at) - 1 if back else bisect_right(dues, at)
        return dues[place] if 0 <= place < len(dues) else None

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """See ``ChannelReader``."""
        held = [
            piece
            for lane in sorted(self._lanes)
            for piece in self._lanes[lane]
            if piece.start <= at and (piece.until is None or at < piece.until)
        ]
        mark = None if self._computed is None else self._computed.watermark
        shown = held[: keys * max(len(self.info.nodes), 1)]
        return ChannelLevels(len(held), tuple(level_of(piece, at, mark) for piece in shown))

    async def revised_after(self, seen: int, upto: int) -> list[Revision]:
        """What is other than was known at ``seen``; computes again where there are new events."""
        self._revised = [one for one in self._revised if one.seq > seen]
        if await self._events.are_new():
            before = self._lanes
            self._lanes, self._page = self._laid(await self._compute())
            self._revised += [
                revision
                for lane in self._lanes.keys() | before.keys()
                if (revision := self._revision(before.get(lane, []), self._lanes.get(lane, []))) is not None
            ]
        return [one for one in self._revised if one.start <= upto]

    def _revision(self, before: Sequence[history.Piece], after: Sequence[history.Piece]) -> Revision | None:
        said = [[(one.start, repr(one.value), one.slope) for one in pieces] for pieces in (before, after)]
        if said[0] == said[1]:
            return None
        same = 0
        while same < min(map(len, said)) and said[0][same] == said[1][same]:
            same += 1
        start = min(pieces[same].start for pieces in (before, after) if same < len(pieces))
        one = (after or before)[0]
        return Revision(start, one.node, one.key, start, pieces_from(after, start), seq=self._seen)

    async def _compute(self) -> Computed:
        self._computed, self._seen = await self._events.compute()
        return self._computed

    def _pieces(self, computed: Computed) -> dict[_Lane, list[history.Piece]]:
        wanted = {node.node for node in self.info.nodes}
        lanes: dict[_Lane, list[history.Piece]] = {}
        for one in computed.nodes:
            for function in one.functions or ("",):
                name = self._node(one, function).node
                if name not in wanted:
                    continue
                for piece in computed.pieces(one.text, EARLIEST, LATEST + 1, function=function):
                    lanes.setdefault((name, repr(piece.key)), []).append(piece._replace(node=name))
        return lanes

    def _laid(self, computed: Computed) -> tuple[dict[_Lane, list[history.Piece]], Page[Change]]:
        lanes = self._pieces(computed)
        changes = [change_of(piece) for pieces in lanes.values() for piece in pieces]
        changes.sort(key=lambda change: change.due)
        return lanes, Page(EARLIEST, LATEST + 1, [change.due for change in changes], changes)
