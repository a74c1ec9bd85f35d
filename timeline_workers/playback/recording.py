"""Recording: what the player reads from, and ``Reads``, which does the player's reads on one.

A recording is a history store, a table of somebody else's, a file: whatever opens channels and says what lies
in them. All instants are microseconds of the axis in the view that is given. What cannot be given is
refused with a RefusedRequest (``not-kept``, ``unknown-metric``, …), or by the library's own errors: a store
that is down raises HistoryError or ConnectionFailedError.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from timeline_workers.errors import Code, ExpressionError, TimelineError

from .codes import DvrCode, RefusedRequest
from .items import ChannelLevels, Item, OpenedChannel, View
from .reads import (
    Answer,
    Count,
    CountRead,
    Look,
    LookAnswer,
    Neighbour,
    NeighbourRead,
    OpenAnswer,
    OpenRead,
    Read,
    ReadFailed,
    SnapshotAnswer,
    SnapshotRead,
    Window,
    WindowRead,
)
from .requests import Channel

# All other codes are faults of whoever would have the answer: store-down.
_REASONS = {
    Code.WRONG_QUESTION: DvrCode.BAD_MESSAGE,
    Code.WRONG_METRIC: DvrCode.BAD_MESSAGE,
    Code.WRONG_RULE: DvrCode.BAD_MESSAGE,
    Code.WRONG_RECONCILER: DvrCode.BAD_MESSAGE,
    Code.WRONG_NETWORK: DvrCode.BAD_MESSAGE,
    Code.AMBIGUOUS_NODE: DvrCode.BAD_MESSAGE,
    Code.UNKNOWN_NODE: DvrCode.BAD_MESSAGE,
    Code.TOO_LARGE: DvrCode.TOO_MANY,
    Code.NOT_KEPT: DvrCode.NOT_KEPT,
    Code.UNKNOWN_NAME: DvrCode.UNKNOWN_METRIC,
    Code.UNKNOWN_METRIC: DvrCode.UNKNOWN_METRIC,
    Code.UNKNOWN_SOURCE: DvrCode.UNKNOWN_METRIC,
    Code.UNKNOWN_RECONCILER: DvrCode.UNKNOWN_METRIC,
    Code.UNKNOWN_KEY: DvrCode.UNKNOWN_KEY,
    Code.KEY_MAY_HAVE_LEFT: DvrCode.UNKNOWN_KEY,
    Code.KEY_NOT_IN_ARCHIVE: DvrCode.UNKNOWN_KEY,
    Code.WRONG_EXPRESSION: DvrCode.BAD_EXPRESSION,
}


@dataclass(frozen=True, slots=True)
class ChannelWindow:
    """All items of a channel due up to ``upto``, in order; ``upto`` is a whole instant. ``seq``: the store's
    order as of which it was read, where that was before it was asked for.
    """

    upto: int
    items: Sequence[Item]
    seq: int | None = None


class ChannelReader(Protocol):
    """An open channel of a recording."""

    @property
    def info(self) -> OpenedChannel:
        """What is known of it."""
        ...

    async def window(self, view: View, after: int, to: int, limit: int) -> ChannelWindow:
        """Items due in ``(after, to]``, in the order of (due, position): at most ``limit``, but all of the
        last instant. Gaps (``Missing``) that meet the window are among them, due where they begin in it, and
        count for nothing.
        """
        ...

    async def count(self, view: View, after: int, to: int) -> int:
        """How many records or changes are due in ``(after, to]``."""
        ...

    async def neighbour(self, view: View, at: int, back: bool) -> int | None:
        """The first instant after ``at``, or the last before it, at which an item is due."""
        ...

    async def levels(self, view: View, at: int, keys: int) -> ChannelLevels:
        """The level of every node and key at ``at``; of at most ``keys`` keys, those that change most."""
        ...


class Recording(Protocol):
    """What the player reads from."""

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """Open a channel. Raises RefusedRequest for what is not there, or makes no sense."""
        ...

    async def seq(self) -> int:
        """The store's order by now: what is stored later has a greater one."""
        ...

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """How far it is, and what has changed since; see ``reads.Look``."""
        ...


class Together(Protocol):
    """Does several things, and gives their results in order; ``asyncio.gather`` over a list, for one."""

    async def __call__(self, things: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Do ``things``."""
        ...


async def one_by_one(things: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The plainest way to do several things."""
    return [await thing for thing in things]


class Reads:
    """Does the reads of one player on a recording; ``together``: how it asks several channels."""

    def __init__(self, recording: Recording, together: Together = one_by_one) -> None:
        self._recording, self._together = recording, together
        self._readers: dict[str, ChannelReader] = {}

    async def do(self, read: Read) -> Answer:
        """The answer to a read; what goes wrong is an answer, too."""
        try:
            return await self._do(read)
        except RefusedRequest as refusal:
            return ReadFailed(
                refusal.reason, str(refusal), field=refusal.field, hint=refusal.hint, span=refusal.span
            )
        except TimelineError as error:
            reason = _REASONS.get(error.code, DvrCode.STORE_DOWN)
            span = error.span if isinstance(error, ExpressionError) else None
            hint = error.hint if isinstance(error, ExpressionError) else None
            return ReadFailed(reason, str(error), hint=hint or None, span=span)

    async def _do(self, read: Read) -> Answer:
        if isinstance(read, OpenRead):
            return await self._open(read)
        readers = [self._readers[name] for name in read.channels]
        if isinstance(read, Look):
            return await self._recording.look(readers, read.view, read.since, read.upto)
        if isinstance(read, WindowRead):
            return await self._window(read, readers)
        if isinstance(read, SnapshotRead):
            seq = await self._recording.seq()
            found = await self._together([one.levels(read.view, read.at, read.keys) for one in readers])
            return SnapshotAnswer(seq, dict(zip(read.channels, found, strict=True)))
        if isinstance(read, NeighbourRead):
            found = await self._together([one.neighbour(read.view, read.at, read.back) for one in readers])
            instants = [instant for instant in found if instant is not None]
            return Neighbour((max if read.back else min)(instants, default=None))
        counts = await self._together([one.count(read.view, _after(read, one), read.to) for one in readers])
        return Count(sum(counts))

    async def _open(self, read: OpenRead) -> OpenAnswer:
        opened = await self._together([self._recording.open(one, read.view) for one in read.channels])
        self._readers = {name: one for name, one in self._readers.items() if name in read.beside}
        self._readers |= {one.info.channel: one for one in opened}
        return OpenAnswer(tuple(one.info for one in opened))

    async def _window(self, read: WindowRead, readers: Sequence[ChannelReader]) -> Window:
        seq = await self._recording.seq()  # before reading: what is stored meanwhile is later than this
        found = cast(
            list[ChannelWindow],
            await self._together(
                [one.window(read.view, _after(read, one), read.to, read.limit) for one in readers]
            ),
        )
        upto = min((window.upto for window in found), default=read.to)
        seq = min([seq, *(window.seq for window in found if window.seq is not None)])
        if len(found) == 1:  # nothing to merge
            return Window(upto, seq, tuple((read.channels[0], item) for item in found[0].items))
        merged = [
            (item.due, i, name, item)
            for i, (name, window) in enumerate(zip(read.channels, found, strict=True))
            for item in window.items
            if item.due <= upto
        ]
        merged.sort(key=lambda line: line[:2])
        if len(merged) > read.limit:  # each channel kept to the limit, and all of them are over it
            upto = min(upto, max(merged[read.limit][0] - 1, merged[0][0]))
        return Window(upto, seq, tuple((name, item) for due, _, name, item in merged if due <= upto))


def _after(read: WindowRead | CountRead, reader: ChannelReader) -> int:
    return read.levels_after if reader.info.has_levels else read.after
