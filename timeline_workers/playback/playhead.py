"""Playhead: where playback is, what it reads ahead, and what it sends as that comes due. No I/O, no clock.

Whoever drives it sets ``now`` (microseconds of a clock that never goes back), changes what it wants and calls
``advance``: everything that is due by then is done, in order, and ``wake`` says when to come again. Positions
are microseconds of the axis that is played.

Status: stopped, paused, playing or ended is what was asked for (``mode``); while it plays it may be at the
live edge (``live``), or stand because the store has not answered (``buffering``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal as Choice

from .clock import PlayClock, exact_rate
from .fetch import Fetch
from .idle import Idle
from .items import Missing, OpenedChannel, Revision, View
from .outbox import Outbox
from .read_ahead import ReadAhead
from .replies import Looped, Reply, State, Status
from .thinning import DueFrame
from .wording import Wording

SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server sets; times are microseconds. ``unit``: of the times in messages."""

    unit: str = "s"
    unacknowledged: int = 32  # frames under way
    ack_patience: int = 60 * SECOND
    look_every: int = SECOND // 5
    stall: int = SECOND // 5  # a read that takes longer is told
    retry: int = SECOND // 2
    ahead_items: int = 1000
    ahead_time: int = 2 * SECOND
    shortest_loop: int = 10_000


class Playhead:
    """One playhead over the channels of a socket."""

    def __init__(self, outbox: Outbox, settings: Settings) -> None:
        self.outbox, self.settings, self.wording = outbox, settings, Wording(settings.unit)
        self.now = 0
        self.view = View()
        self.channels: dict[str, OpenedChannel] = {}
        self.mode: Choice["stopped", "paused", "playing", "ended"] = "stopped"
        self.live = self.buffering = False
        self.speed = 1.0
        self.clock = PlayClock()
        self.window: tuple[int, int | None] | None = None
        self.loop: tuple[int, int] | None = None
        self.edge: int | None = None  # the greatest recorded instant, as far as known
        self.epoch = self.iteration = 0
        self.ahead, self.due = ReadAhead(), DueFrame(200)
        self.idle, self.fetch = Idle(self), Fetch(self)
        self.revisions: list[tuple[str, Revision]] = []
        self.frames_per_second = 100
        self.frames = self.acknowledged = 0
        self.blocked_since: int | None = None
        self._next_frame = 0  # the instant from which on another frame may be sent
        self._frame_from = 0
        self._began = 0  # the instant at which this iteration of a loop began
        self._stalled: int | None = None  # since when the clock is ahead of what was read

    # What it is.

    @property
    def status(self) -> Status:
        """As in the message state."""
        if self.mode != "playing":
            return self.mode
        return "buffering" if self.buffering else "live" if self.live else "playing"

    @property
    def rate(self) -> Fraction:
        """The speed, exactly."""
        return exact_rate(self.speed)

    @property
    def bounds(self) -> tuple[int, int | None] | None:
        """What is played: the loop, else the window."""
        return self.loop or self.window

    @property
    def bound(self) -> int:
        """Up to where it plays: the end, else the live edge. Never behind what was shown: a window may end
        before the loop that was left.
        """
        end = self.bounds[1] if self.bounds else None
        if end is None:
            end = self.ahead.start if self.edge is None else self.edge
        return max(end, self.standing)

    @property
    def position(self) -> int | None:
        """Everything up to here has come due; None before the first window."""
        if self.epoch == 0:
            return None
        if self._waits:
            return self.standing
        return min(self.clock.shown(self.now), self.bound)

    @property
    def blocked(self) -> bool:
        """Whether so many frames are unacknowledged that no more may be sent."""
        return self.frames - self.acknowledged >= self.settings.unacknowledged

    @property
    def _waits(self) -> bool:
        """Whether what its clock says has not come due, or that is at the live edge."""
        return self.live or (self.mode == "playing" and self._hungry())

    @property
    def standing(self) -> int:
        """Where it stands while it waits for the store."""
        return max(self.ahead.start, self.ahead.shown)

    def say_state(self, reply: Reply = None, *, jump: bool = False) -> None:
        """Tell the client where it is."""
        start, end = self.bounds or (None, None)
        word = self.wording.time_or_none
        self.outbox.say(
            State(
                reply=reply,
                status=self.status,
                position=word(self.position),
                speed=self.speed,
                loop=self.loop is not None,
                start=word(start),
                end=word(end),
                epoch=self.epoch,
                jump=jump,
            )
        )

    # What is wanted of it.

    def begin(self, position: int) -> None:
        """Start a new epoch at ``position``: whatever is under way for the old one is dropped."""
        self.epoch += 1
        self.fetch.cancel()
        self.due.clear()
        self.revisions.clear()
        self.ahead.begin(position)
        self.clock.put(position)
        self.clock.rate = self.rate
        if self.mode == "playing":
            self.clock.run(self.now)
        self.live = self.buffering = False
        self._stalled = None
        self._frame_from, self._began = position, self.now
        self.idle.begin()
        self.fetch.want(tuple(name for name, one in self.channels.items() if one.has_levels))
        for name, one in self.channels.items():
            kept = one.complete_from
            if kept is not None and kept > position:
                self.ahead.note_gap(name, Missing(position, position, kept, "not kept any more"))

    def stand(self) -> None:
        """Stand where it is; what it was waiting for does not count."""
        if self.epoch:
            self.clock.put(self.standing if self._waits else self.clock.at(self.now))
        self.live = self.buffering = False
        self._stalled = None

    def halt(self) -> None:
        """Give the window up."""
        self.stand()
        self.mode = "stopped"
        self.fetch.cancel()
        self.fetch.levels = ()

    def pause(self) -> None:
        """Stand where it is."""
        self.stand()
        self.mode = "paused"
        self.idle.leave()

    def resume(self) -> None:
        """Go on from where it is."""
        self.mode = "playing"
        self.idle.begin()
        self.clock.run(self.now)

    def set_speed(self, speed: float) -> None:
        """Go on at another speed from where it is."""
        self.speed = speed
        self.idle.leave()
        if self.buffering or self.live or not self.clock.runs:
            self.clock.rate = self.rate
            return
        if self._waits:
            self.stand()
            self.clock.run(self.now)
        self.clock.set_rate(self.now, self.rate)

    def step_to(self, position: int) -> None:
        """Show all up to ``position``, which is not behind, and stand there."""
        self.pause()
        self.clock.put(position)

    def add(self, opened: tuple[OpenedChannel, ...]) -> None:
        """Play further channels from here on, without a new epoch."""
        self.channels |= {one.channel: one for one in opened}
        if self.epoch and self.mode != "stopped":
            self.fetch.cancel()
            self.ahead.reload()
            self.fetch.want(self.fetch.levels + tuple(one.channel for one in opened if one.has_levels))

    def remove(self, channel: str) -> None:
        """No longer play a channel."""
        del self.channels[channel]
        self.ahead.drop(channel)
        self.due.drop(channel)
        self.revisions = [pair for pair in self.revisions if pair[0] != channel]
        self.fetch.remove(channel)

    def acknowledge(self, frame: int) -> None:
        """All frames up to ``frame`` have arrived."""
        self.acknowledged = max(self.acknowledged, frame)
        if not self.blocked:
            self.blocked_since = None

    # What happens by itself.

    def advance(self) -> None:
        """Do all that is due by ``now``."""
        if self.mode == "stopped" or not self.epoch:
            return
        while True:
            self.idle.arrive()
            self._resume_reading()
            self._drain()
            self._send()
            if not self._turn():
                break
        self._stand_still()
        self.idle.look_ahead()
        self.fetch.advance()

    def target(self) -> int:
        """Up to where everything is due."""
        if self.live:
            return self.bound
        return min(self.clock.shown(self.now), self.bound)

    def _drain(self) -> None:
        if self.fetch.levels:
            return
        some = False
        for channel, item in self.ahead.drain(self.target()):
            if channel not in self.channels:
                continue
            if isinstance(item, Missing):
                self.outbox.say(self.wording.gap(channel, item))
            elif isinstance(item, Revision):
                self.revisions.append((channel, item))
            else:
                self.due.add(channel, item)
                some = True
        if some:
            self.idle.begin()

    def _send(self) -> None:
        end = self.bounds[1] if self.bounds else None
        at_end = end is not None and self.mode == "playing" and self.ahead.shown >= end
        if self.due.count:
            if self.blocked or (self.now < self._next_frame and not at_end):
                return
            self.frames += 1
            parts = self.due.take(tuple(self.channels))
            self.outbox.say(
                self.wording.frame(self.epoch, self.frames, self._frame_from, self.ahead.shown, parts)
            )
            self._frame_from = self.ahead.shown
            self._next_frame = self.now + SECOND // self.frames_per_second
            if self.blocked:
                self.blocked_since = self.now
        for channel, revision in self.revisions:
            self.outbox.say(self.wording.revision(self.epoch, channel, revision, revision.due))
        self.revisions.clear()

    def _turn(self) -> bool:
        """What comes where the bound is reached; whether there is more to do at once."""
        waits = self.mode != "playing" or self.live or self.buffering or self.due.count or self.fetch.levels
        if waits or self.ahead.shown < self.bound or self.target() < self.bound:
            return False
        if self.loop is not None:
            return self._begin_again(self.loop)
        at_edge = self.bounds is not None and self.bounds[1] is None
        self.clock.put(self.bound)
        self.idle.leave()
        if at_edge:
            self.live = True
        else:
            self.mode = "ended"
        self.say_state()
        return False

    def _begin_again(self, loop: tuple[int, int]) -> bool:
        """The next iteration begins when the last one should have ended, however late this is called."""
        ended = max(self.clock.when(loop[1]), self._began + self.settings.shortest_loop)
        if ended > self.now:
            return False
        self.iteration += 1
        self.begin(loop[0])
        if self.now - ended < self.settings.stall:
            self._began = self.clock.since = ended
        self.outbox.say(Looped(epoch=self.epoch, iteration=self.iteration))
        self.say_state(jump=True)
        return True

    def _resume_reading(self) -> None:
        """End of buffering: what was waited for is there."""
        if self.buffering and not self._hungry():
            self.buffering = False
            self._stalled = None
            if not self.live:
                self.idle.begin()
                self.clock.run(self.now)
            self.say_state()

    def _hungry(self) -> bool:
        """Whether it needs what was not read yet; while it stands, any progress will do."""
        if (
            self.fetch.levels
            or self.target() > self.ahead.loaded
            or (self.live and self.fetch.retry is not None)
        ):
            return True
        return self.buffering and not self.live and self.ahead.loaded <= self.standing < self.bound

    def _stand_still(self) -> None:
        """Stand, and say so, when the store takes too long."""
        if self.mode != "playing" or self.buffering:
            return
        if not self._hungry():
            self._stalled = None
            return
        if self._stalled is None:  # a process that had no processor is no store that takes long
            self._stalled = self.now
        if self.now - self._stalled >= self.settings.stall or self.fetch.retry is not None:
            self.clock.put(self.standing)
            self.buffering = True
            self.idle.leave()
            self.say_state()

    # When to come again.

    def wake(self) -> int | None:
        """The next instant at which ``advance`` has something to do, as far as is known."""
        if self.mode == "stopped" or not self.epoch:
            return None
        times = [self.fetch.retry] if self.fetch.retry is not None else []
        pace = SECOND // self.frames_per_second
        if (self.due.count and not self.blocked) or self.revisions:
            times.append(self._next_frame)
        if self._stalled is not None and not self.buffering:
            times.append(self._stalled + self.settings.stall)
        clock, ahead = self.clock, self.ahead
        if clock.runs:
            times.append(clock.when(self.bound))
            if self.loop is not None:
                times.append(self._began + self.settings.shortest_loop)
            if ahead.next_due is not None:
                least = self.now + pace if self.blocked else self._next_frame
                times.append(max(clock.when(ahead.next_due), least))
            if ahead.loaded < self.bound:
                if (full := 2 * len(ahead.items) - self.settings.ahead_items) > 0:  # room for the next read
                    times.append(clock.when(ahead.items[(full - 1) // 2][1].due))
                times.append(clock.when(max(ahead.loaded, ahead.start) + 1))
                times.append(clock.when(ahead.loaded - self.fetch.reach // 2 + 1))
            times += self.idle.times()
        return min((instant for instant in times if instant > self.now), default=None)
