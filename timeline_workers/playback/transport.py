"""Transport: what each request does to the playhead, and its reply.

``serve`` is a generator: it yields the reads that a request needs and is sent their answers, and it raises
RefusedRequest, before it has changed anything, for a request that cannot be served. A failed read is thrown
into it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import cast

from timeline_workers.errors import EventError, MetricError
from timeline_workers.events.times import to_microseconds
from timeline_workers.language.durations import parse_duration
from timeline_workers.language.suggestions import nearest

from .codes import DvrCode, RefusedRequest
from .items import View
from .playhead import Playhead
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
    SnapshotAnswer,
    SnapshotRead,
)
from .replies import Opened, Stopped
from .requests import (
    CHANNELS,
    KEYS_OF_SNAPSHOT,
    Ack,
    AnyRequest,
    At,
    Close,
    Loop,
    Open,
    Pause,
    Play,
    Resume,
    Seek,
    SetLimits,
    SetSpeed,
    Step,
    Stop,
)
from .watch import Watch

Reading = Generator[Read, Answer, None]


class Transport:
    """Serves the requests of one socket."""

    def __init__(self, head: Playhead, watch: Watch) -> None:
        self._head, self._watch = head, watch

    def serve(self, request: AnyRequest) -> Reading:
        """Serve a request."""
        match request:
            case Open():
                yield from self._open(request)
            case Close():
                self._close(request)
            case Play():
                yield from self._play(request)
            case Seek():
                yield from self._seek(request)
            case Step():
                yield from self._step(request)
            case At():
                yield from self._at(request)
            case Stop():
                yield from self._stop(request)
            case Loop():
                self._loop(request)
            case Pause() | Resume():
                self._pause_or_resume(request)
            case SetSpeed():
                self._head.set_speed(request.speed)
                self._head.say_state(request.id)
            case SetLimits():
                self._limits(request)
            case Ack():  # it has been taken in when it came
                self._head.say_state(request.id)

    def acknowledge(self, ack: Ack) -> None:
        """Take in an acknowledgement."""
        if ack.frame > self._head.frames:
            raise RefusedRequest(
                DvrCode.BAD_ACK,
                f"frame {ack.frame} was not sent, the last was {self._head.frames}; acknowledge that",
                field="frame",
                reply=ack.id,
            )
        self._head.acknowledge(ack.frame)

    # Channels.

    def _open(self, request: Open) -> Reading:
        head, names = self._head, [one.channel for one in request.channels]
        for i, name in enumerate(names):
            if name in head.channels or name in names[:i]:
                raise RefusedRequest(
                    DvrCode.BAD_MESSAGE,
                    f"channel {name!r} is open already; close it, or take another name",
                    field="channels",
                )
        if len(head.channels) + len(names) > CHANNELS:
            raise RefusedRequest(
                DvrCode.TOO_MANY,
                f"{len(head.channels) + len(names)} channels; a socket has at most {CHANNELS}, close some",
                field="channels",
            )
        view = self._view(request)
        opened = yield OpenRead(tuple(request.channels), view, tuple(head.channels))
        assert isinstance(opened, OpenAnswer)
        look = yield Look((*head.channels, *names), view)
        assert isinstance(look, LookAnswer)
        changed, head.view = view != head.view, view
        if changed:  # what is shown comes from another view: a new epoch
            head.channels |= {one.channel: one for one in opened.channels}
        else:
            head.add(opened.channels)
        head.edge = None
        head.outbox.say(
            Opened(reply=request.id, channels=[head.wording.channel(one) for one in opened.channels])
        )
        self._watch.learn(look)
        if changed and head.mode != "stopped" and head.position is not None:
            self._jump(head.position)
            head.say_state()

    def _view(self, request: Open) -> View:
        said, view = request.model_fields_set, self._head.view
        as_of = view.as_of
        if "as_of" in said:
            as_of = None if request.as_of is None else self._time(request.as_of, "as_of")
        return View(
            axis=request.axis if "axis" in said else view.axis,
            as_of=as_of,
            edge=request.edge if "edge" in said else view.edge,
        )

    def _close(self, request: Close) -> None:
        self._known(request.channels)
        for name in dict.fromkeys(request.channels):
            self._head.remove(name)
            self._watch.forget(name)
        left = [self._head.wording.channel(one) for one in self._head.channels.values()]
        self._head.outbox.say(Opened(reply=request.id, channels=left))

    def _known(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """These channels, or all; raises RefusedRequest for one that is not open."""
        opened = self._head.channels
        for name in names or ():
            if name not in opened:
                near = nearest(name, opened)
                raise RefusedRequest(
                    DvrCode.UNKNOWN_CHANNEL,
                    f"channel {name!r} is not open; open are {', '.join(opened) or 'none'}",
                    field="channels",
                    hint=f"did you mean {near}?" if near else None,
                )
        return tuple(opened) if names is None else tuple(dict.fromkeys(names))

    # Where to play.

    def _play(self, request: Play) -> Reading:
        head = self._head
        start = None if request.start is None else self._time(request.start, "start")
        end = None if request.end is None else self._time(request.end, "end")
        if start is None or end is None:
            yield from self._look()
        if start is None:
            start = self._here()
        if end is None:
            if request.loop:
                raise RefusedRequest(DvrCode.BAD_RANGE, "a loop has an end; say end", field="end")
            start = start if head.edge is None else min(start, head.edge)
        elif end < start or (request.loop and end == start):
            raise self._backwards("end", start, end)
        self._kept(start, "start")
        position = head.position
        if head.mode not in ("stopped", "ended"):
            yield from self._give_up(None)
        head.window = (start, end)
        head.loop = (start, end) if request.loop and end is not None else None
        head.iteration = 0
        if request.speed is not None:
            head.set_speed(request.speed)
        head.mode = "playing"
        head.begin(start)
        head.say_state(request.id, jump=position is not None and position != start)

    def _here(self) -> int:
        """Where a window begins that does not say where."""
        head, position = self._head, self._head.position
        if position is None:
            first = (self._watch.start, head.edge, self._watch.now)
            return next((instant for instant in first if instant is not None), 0)
        if head.mode == "ended" and head.window is not None:
            return head.window[0]
        return position

    def _stop(self, request: Stop) -> Reading:
        if self._head.mode == "stopped":
            self._head.outbox.say(Stopped(reply=request.id, undelivered=0))
        else:
            yield from self._give_up(request)

    def _give_up(self, request: Stop | None) -> Reading:
        """Stop, and say how much of the window was not shown; a store that is down is not asked."""
        head, bound, ended = self._head, self._head.bound, self._head.mode == "ended"
        head.halt()
        ahead, left = head.ahead, head.due.count + head.ahead.waiting()
        if ahead.loaded < bound and head.channels and not ended:
            try:
                read = CountRead(tuple(head.channels), head.view, ahead.loaded, ahead.levels_after, bound)
                counted = yield read
                left += cast(Count, counted).items
            except RefusedRequest:
                pass
        head.due.clear()
        head.window = head.loop = None
        head.outbox.say(Stopped(reply=None if request is None else request.id, undelivered=left))

    def _pause_or_resume(self, request: Pause | Resume) -> None:
        head = self._head
        if head.mode in ("stopped", "ended"):
            raise RefusedRequest(DvrCode.NOT_PLAYING, f"it is {head.mode}; say play first", field="action")
        if isinstance(request, Pause) and head.mode != "paused":
            head.pause()
        elif isinstance(request, Resume) and head.mode == "paused":
            head.resume()
        head.say_state(request.id)

    def _seek(self, request: Seek) -> Reading:
        head, to = self._head, request.to
        if to == "live":
            yield from self._look()
            position = head.edge if head.edge is not None else self._here()
            head.window = (head.window[0] if head.window else position, None)
            head.loop = None
            head.mode = "playing"
            self._jump(position)
        else:
            position = 0 if to in ("start", "end") else self._time(to, "to")
            if head.bounds is None or head.bounds[1] is None:
                yield from self._look()
            low, high = self._ends()
            if to in ("start", "end"):
                position = low if to == "start" else high
            else:
                self._kept(position, "to")
            if head.mode in ("stopped", "ended"):
                head.mode = "paused"
            self._jump(min(max(position, low), high))
        head.say_state(request.id, jump=True)

    def _ends(self) -> tuple[int, int]:
        """Between what the playhead can be moved: the window with an end, else all that is recorded."""
        head, bounds = self._head, self._head.bounds
        if bounds is not None and bounds[1] is not None:
            return bounds[0], bounds[1]
        here = self._here()
        low = here if self._watch.start is None else self._watch.start
        return low, max(low, here if head.edge is None else head.edge)

    def _jump(self, position: int) -> None:
        if self._head.window is None:
            self._head.window = (position, None)
        self._head.begin(position)

    def _step(self, request: Step) -> Reading:
        head, by = self._head, request.by
        names = self._known(None if request.channel is None else [request.channel])
        if head.bounds is None or head.bounds[1] is None:
            yield from self._look()
        here = self._here() if head.position is None else head.position
        by_time = 0 if by in ("change", "event") else self._duration(by)
        mode = head.mode
        fresh = head.position is None or mode == "stopped"
        head.pause()
        target = here - by_time if request.back else here + by_time
        if not by_time:
            names = tuple(name for name in names if head.channels[name].has_levels is (by == "change"))
            try:
                found = (
                    (yield NeighbourRead(names, head.view, here, back=bool(request.back))) if names else None
                )
            except RefusedRequest:
                head.mode = mode
                if mode == "playing":
                    head.resume()
                raise
            if isinstance(found, Neighbour) and found.due is not None:
                target = found.due
        low, high = self._ends()
        target = min(max(target, low), max(high, here))
        if fresh or request.back:
            self._jump(target)
        else:
            head.step_to(target)
        head.say_state(request.id, jump=fresh or target < here)

    def _duration(self, by: str) -> int:
        try:
            return parse_duration(by)
        except MetricError as error:
            raise RefusedRequest(
                DvrCode.BAD_MESSAGE, f"by is {by!r}: say change, event or a duration; {error}", field="by"
            ) from None

    def _loop(self, request: Loop) -> None:
        head = self._head
        if head.mode in ("stopped", "ended"):
            raise RefusedRequest(DvrCode.NOT_PLAYING, f"it is {head.mode}; say play first", field="action")
        if request.off:
            head.loop = None
            head.say_state(request.id)
            return
        assert request.from_ is not None
        assert request.to is not None
        start, end = self._time(request.from_, "from"), self._time(request.to, "to")
        if end <= start:
            raise self._backwards("to", start, end)
        self._kept(start, "from")
        position = head.position
        assert position is not None
        inside = start <= position <= end
        head.loop, head.iteration = (start, end), 0
        self._jump(position if inside else start)
        head.say_state(request.id, jump=not inside)

    # What else.

    def _at(self, request: At) -> Reading:
        head, at = self._head, self._time(request.at, "at")
        names = self._known(request.channels)
        self._kept(at, "at", names)
        names = tuple(name for name in names if head.channels[name].has_levels)
        found = yield SnapshotRead(names, head.view, at, KEYS_OF_SNAPSHOT)
        assert isinstance(found, SnapshotAnswer)
        head.outbox.say(head.wording.snapshot(head.epoch, at, found.channels, request.id))

    def _limits(self, request: SetLimits) -> None:
        head, said = self._head, request.model_fields_set
        if "frames_per_second" in said:
            head.frames_per_second = request.frames_per_second
        if "records" in said:
            head.due.limit = request.records
        if "idle_limit" in said:
            head.idle.limit = None if request.idle_limit is None else round(request.idle_limit * 1_000_000)
            head.idle.leave()
        head.say_state(request.id)

    def _look(self) -> Reading:
        head = self._head
        found = yield Look(tuple(head.channels), head.view)
        assert isinstance(found, LookAnswer)
        self._watch.learn(found)

    def _time(self, said: int | float | str, field: str) -> int:
        try:
            return to_microseconds(said, "iso" if isinstance(said, str) else self._head.settings.unit)
        except EventError as error:
            raise RefusedRequest(DvrCode.BAD_TIME, f"{field}: {error}", field=field) from None

    def _kept(self, position: int, field: str, names: Sequence[str] | None = None) -> None:
        """Raise RefusedRequest for an instant of which no channel has anything any more."""
        opened = [self._head.channels[name] for name in (self._head.channels if names is None else names)]
        kept = [one.complete_from for one in opened if one.complete_from is not None]
        if kept and len(kept) == len(opened) and position < min(kept):
            word = self._head.wording.time
            raise RefusedRequest(
                DvrCode.NOT_KEPT,
                f"{field} is {word(position)}, and nothing before {word(min(kept))} is kept; begin there",
                field=field,
            )

    def _backwards(self, field: str, start: int, end: int) -> RefusedRequest:
        word = self._head.wording.time
        return RefusedRequest(
            DvrCode.BAD_RANGE,
            f"{field} is {word(end)}, which is not after the start {word(start)}; say a later one",
            field=field,
        )
