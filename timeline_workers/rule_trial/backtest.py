"""``Backtest``: what a rule would have sent over events that are there already.

An event counts as published at its time, or at the greatest time before it in the input: the clock of a
backtest follows the events, so that one that lies behind is late data, as far as the source allows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.episodes import Message
from timeline_workers.events.decode import Payload

from .virtual_source import VirtualSource

# How many events are read between two looks at what can be forgotten.
_COMPACT_AFTER = 1_000


class Backtest:
    """One pass of a ``rule`` over events. ``refused``: how many of them, by reason; ``events``: of all.

    ``refuse`` hears of each, its place in the input from 0 and why.
    """

    def __init__(self, rule: Rule, refuse: Callable[[int, str], None] = lambda place, why: None) -> None:
        self.refused: Counter[str] = Counter()
        self.events = 0
        self._clocked = rule.as_of == "clock"
        self._source, self._state = VirtualSource(rule.source, rule.truth), AlertState(rule.telling)
        self._refuse = refuse
        self._clock: int | None = None

    def messages(self, events: Iterable[Payload], until: int | None = None) -> Iterator[Message]:
        """What is told while ``events`` come, in order, and then up to the instant ``until``."""
        for event in events:
            reason, why = self._source.read(event, None)
            if reason:
                self.refused[reason] += 1
                self._refuse(self.events, why)
            self.events += 1
            latest = self._source.latest
            if latest is not None:
                yield from self._go_on(latest)
            if self.events % _COMPACT_AFTER == 0:
                self._state.compact()
        if until is not None:
            yield from self._go_on(until)

    def _go_on(self, instant: int) -> Iterator[Message]:
        instant = instant if self._clock is None else max(instant, self._clock)
        while self._clocked and (due := self._state.next_change()) is not None and due < instant:
            yield from self._state.step((), due)
        self._clock = instant
        yield from self._state.step(self._source.news(), instant)
