"""ClientState: what a client of ``timeline.dvr.v1`` must know to go on where a lost socket left it. No I/O.

The server keeps nothing of a session, so the client says everything again: its channels and limits, and play
from one microsecond after its position. What the new session repeats of the instant of the position, as at
the live edge, is left out, so that what a client hears over all its sockets is what it would have heard over
one. Epochs of later sockets go on from those of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timeline_workers.events.times import from_microseconds, question_time

from .replies import AnyMessage, ChangesPart, Frame, Instant, RecordsPart, Snapshot, State
from .requests import AnyRequest, Channel, Close, Open, Play, Resume, Seek, SetLimits, Time

_UNDER_WAY = ("playing", "buffering", "live")


class ClientState:
    """See the module. Times are in ``unit``, that of the socket."""

    def __init__(self, unit: str = "s") -> None:
        self._unit = unit
        self._channels: dict[str, Channel] = {}
        self._view: dict[str, Any] = {}
        self._limits: dict[str, Any] = {}
        self._state: State | None = None
        self._said: int | None = None  # up to where a lost socket has shown all, in microseconds
        self._shown: int | None = None  # up to where this epoch has
        self._epochs = self._epoch = 0
        self._is_fresh = True  # nothing was played on this socket
        self.position: Instant | None = None

    def done(self, request: AnyRequest) -> None:
        """Note that a request was granted."""
        if isinstance(request, Open):
            self._channels |= {one.channel: one for one in request.channels}
            given = request.model_fields_set & {"axis", "as_of", "edge"}
            self._view |= {name: getattr(request, name) for name in given}
        elif isinstance(request, Close):
            for name in request.channels:
                self._channels.pop(name, None)
        elif isinstance(request, SetLimits):
            self._limits |= request.model_dump(include=request.model_fields_set - {"id", "action"})

    def heard(self, message: AnyMessage) -> AnyMessage:
        """Note a message, and give it as the client's user shall see it."""
        epoch = getattr(message, "epoch", None)
        if epoch is not None:
            self._epoch = max(self._epoch, self._epochs + epoch)
            message = message.model_copy(update={"epoch": self._epochs + epoch})
        if isinstance(message, State):
            if self._state is None or message.epoch > self._state.epoch:
                self._shown = None
            self._state = message
            self._is_fresh = False
            if message.position is not None:
                self.position = message.position
        elif isinstance(message, Snapshot) and message.reply is None:
            self.position = message.at
        elif isinstance(message, Frame):
            self.position = message.to
            self._shown = question_time(message.to, self._unit)
            if self._said is not None:
                message = self._without_said(message, self._said)
        return message

    def lost(self) -> None:
        """Note that the socket was lost."""
        self._epochs = self._epoch
        self._is_fresh = True
        if self._shown is not None:
            self._said = self._shown

    def jumps(self) -> None:
        """Note that the client asks for what may show the same again."""
        self._said = None

    def again(self) -> list[AnyRequest]:
        """What to ask on a new socket, one after the other."""
        asked: list[AnyRequest] = []
        if self._channels:
            asked.append(Open(channels=list(self._channels.values()), **self._view))
        if self._limits:
            asked.append(SetLimits(**self._limits))
        if self._state is not None and self._state.status in _UNDER_WAY:
            asked += self._on()
        return asked

    def instead(self, request: AnyRequest) -> list[AnyRequest]:
        """What to ask for ``request``: a pause does not outlive the socket, and its end is a play then."""
        paused = self._state is not None and self._state.status == "paused"
        return self._on() if isinstance(request, Resume) and self._is_fresh and paused else [request]

    def _on(self) -> list[AnyRequest]:
        """Play on from the position."""
        state = self._state
        if state is None:
            return []
        if self._shown is None:  # an epoch that has shown nothing yet begins again
            here = state.start if state.position is None else state.position
            following: Time | None = here
        else:
            following = from_microseconds(self._shown + 1, self._unit)
            if state.end is not None and self._shown >= question_time(state.end, self._unit):
                following = state.start if state.loop else state.end
                self._said = None if state.loop else self._said
        if not state.loop:
            return [Play(start=following, end=state.end, speed=state.speed)]
        begin = Play(start=state.start, end=state.end, speed=state.speed, loop=True)
        return [begin] if following is None or following == state.start else [begin, Seek(to=following)]

    def _without_said(self, frame: Frame, said: int) -> Frame:
        """``frame`` without what lies at or before ``said``; the next ones are later."""
        if question_time(frame.to, self._unit) > said:
            self._said = None
        channels: dict[str, RecordsPart | ChangesPart] = {}
        for name, part in frame.channels.items():
            items = part.records if isinstance(part, RecordsPart) else part.changes
            kept = self._later(items, said)
            count = part.count - (len(items) - len(kept))
            if not count:
                continue
            field = "records" if isinstance(part, RecordsPart) else "changes"
            channels[name] = part.model_copy(update={field: kept, "count": count})
        return frame.model_copy(update={"channels": channels})

    def _later(self, items: Sequence[list[Any]], said: int) -> list[list[Any]]:
        return [item for item in items if question_time(item[0], self._unit) > said]
