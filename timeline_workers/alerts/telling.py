"""``Telling``: what of a rule decides which message is told when: all but the expression and the targets.

Instants and durations are microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from timeline_workers.metric.alert_model import Alert, AsOf, When


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of what begins in keys that match the glob ``key`` before the instant ``until``."""

    key: str
    until: int


@dataclass(frozen=True, slots=True)
class Telling:
    """How the rule ``name`` tells. ``repeat``: nobody is woken twice for one trouble within it."""

    name: str
    when: When = "provisional"
    as_of: AsOf = "watermark"
    repeat: int = 3_600_000_000
    silences: tuple[Silence, ...] = ()

    @staticmethod
    def of(name: str, alert: Alert) -> Telling:
        """How the rule ``name`` tells, as the catalog has it."""
        silences = tuple(Silence(one.key, one.until) for one in alert.mute)
        return Telling(name, alert.when, alert.as_of, alert.repeat, silences)

    def as_of_instant(self, watermark: int | None, clock: int | None) -> int | None:
        """The instant up to which the truth counts; None: it is not known yet.

        A rule that waits for what is ``final`` looks at the last instant below the watermark: the watermark's
        own may still change.
        """
        if self.when == "final":
            return None if watermark is None else watermark - 1
        return clock if self.as_of == "clock" else watermark

    def is_muted(self, key: str | int, instant: int) -> bool:
        """Whether nobody is told of what begins at ``instant``."""
        text = key if isinstance(key, str) else json.dumps(key)
        return any(instant < one.until and fnmatchcase(text, one.key) for one in self.silences)

    def mutes_after(self, instant: int) -> Iterator[int]:
        """When silences end, later than ``instant``."""
        return (one.until for one in self.silences if one.until > instant)

    def unmuted_between(self, before: int, now: int) -> bool:
        """Whether a silence has ended later than ``before``, by ``now``."""
        return any(before < one.until <= now for one in self.silences)
