"""Making a tidy stream of events as untidy as real ones: shuffled, late, sent twice."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from .event import Event


def shuffle(events: Iterable[Event], within: float, *, seed: int = 0) -> Iterator[Event]:
    """Delay each event by up to ``within`` seconds of event time: none arrives more than that out of order.

    ``events`` are in order of event time; memory holds the events of one such span.
    """
    if within <= 0:
        yield from events
        return
    rng = np.random.default_rng([seed, 1])
    waiting: list[tuple[float, int, Event]] = []
    for number, event in enumerate(events):
        while waiting and waiting[0][0] <= event.time:
            yield heapq.heappop(waiting)[2]
        heapq.heappush(waiting, (event.time + float(rng.random()) * within, number, event))
    while waiting:
        yield heapq.heappop(waiting)[2]


def make_late(events: Iterable[Event], share: float, by: float, *, seed: int = 0) -> Iterator[Event]:
    """Hold back a ``share`` of the events until event time has moved on by ``by`` seconds; the rest keep
    order.
    """
    if share <= 0:
        yield from events
        return
    rng = np.random.default_rng([seed, 2])
    held: list[tuple[float, int, Event]] = []
    for number, event in enumerate(events):
        while held and held[0][0] <= event.time:
            yield heapq.heappop(held)[2]
        if rng.random() < share:
            heapq.heappush(held, (event.time + by, number, event))
        else:
            yield event
    while held:
        yield heapq.heappop(held)[2]


def duplicate(events: Iterable[Event], share: float, *, seed: int = 0) -> Iterator[Event]:
    """Send a ``share`` of the events a second time, up to a hundred events later.

    A copy is a message of its own: the system cannot know that it is the same event, and counts see it twice.
    """
    if share <= 0:
        yield from events
        return
    rng = np.random.default_rng([seed, 3])
    copies: list[tuple[int, Event]] = []
    for number, event in enumerate(events):
        yield event
        while copies and copies[0][0] <= number:
            yield heapq.heappop(copies)[1]
        if rng.random() < share:
            heapq.heappush(copies, (number + int(rng.integers(1, 100)), event))
    while copies:
        yield heapq.heappop(copies)[1]
