"""PlayClock: from instants of a clock to positions of the playhead, exactly.

While it runs, the position at wall instant w is ``base + rate · (w - since)``; while it is held it is
``base``. Both instants and positions are microseconds. Positions are exact fractions, so that no sequence of
pauses, speeds and waits loses anything; what is shown is the position rounded down to a microsecond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction


def exact_rate(speed: float) -> Fraction:
    """The decimal number that ``speed`` prints as, in microseconds of position a microsecond."""
    return Fraction(Decimal(repr(speed)))


@dataclass(slots=True)
class PlayClock:
    """A playhead's clock; held at 0 at first."""

    rate: Fraction = field(default_factory=lambda: Fraction(1))
    base: Fraction = field(default_factory=Fraction)
    since: int | None = None
    """The wall instant at which it was at ``base``; None: it is held."""

    @property
    def runs(self) -> bool:
        """Whether the position moves."""
        return self.since is not None

    def at(self, now: int) -> Fraction:
        """The position at ``now``, which is not before ``since``."""
        return self.base if self.since is None else self.base + self.rate * (now - self.since)

    def shown(self, now: int) -> int:
        """The position at ``now``, rounded down."""
        return math.floor(self.at(now))

    def when(self, position: int) -> int:
        """The first wall instant at which the position is at or after ``position``; it must run."""
        assert self.since is not None
        return self.since + max(math.ceil((position - self.base) / self.rate), 0)

    def put(self, position: Fraction | int) -> None:
        """Jump to ``position`` and stand there."""
        self.base, self.since = Fraction(position), None

    def hold(self, now: int) -> None:
        """Stand still from ``now`` on."""
        self.put(self.at(now))

    def run(self, now: int) -> None:
        """Move from ``now`` on; nothing changes if it moves already."""
        if self.since is None:
            self.since = now

    def set_rate(self, now: int, rate: Fraction) -> None:
        """Go on at another rate from ``now`` on, at the same position."""
        if self.since is not None:
            self.base, self.since = self.at(now), now
        self.rate = rate
