"""The metrics in past-time temporal logic, for monitors of signals (Reelay, RTAMT).

A monitor knows signals that last and pulses; an event is a pulse of ``PULSE`` microseconds, and a window over
it is as much shorter. The width is one that keeps every window exact as a 32-bit float, as which Reelay
reads bounds. What the logic cannot say (a comparison of two columns, that a state has changed) is decided per
event in Python, before the clock starts, and so are the rows that monitors are given.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from .job import SECOND, Job
from .python import tuples

PULSE = 64
SEEK, FAR, MOVED, SPENT = (seconds * SECOND - PULSE for seconds in (5, 600, 70, 60))
LASTING = {"cirr": ("buffer", "cdn1"), "playtime": ("play",), "outlier": ()}
PULSES = {"cirr": ("played", "sought"), "playtime": (), "outlier": ("far", "moved", "spent")}
Row = tuple[int, dict[str, bool]]


def by_key(job: Job) -> tuple[int, list[tuple[str, list[Row]]]]:
    """The instant that counts as 0, and per key its rows: when, and which signals change to what.

    A key's first row sets every signal.
    """
    items = sorted(tuples(job), key=itemgetter(0))
    zero = min(map(itemgetter(1), items)) - 1
    return zero, [
        (key, rows(job.metric, [(now - zero, event) for _, now, event in events]))
        for key, events in groupby(items, itemgetter(0))
    ]


def rows(metric: str, events: list[tuple[int, tuple[Any, ...]]]) -> list[Row]:
    """The rows of one key's events, which are in order of time."""
    found: dict[int, dict[str, bool]] = {}
    ends: dict[str, int] = {}
    place = None

    def finish(now: int) -> None:
        for name, end in sorted(ends.items(), key=itemgetter(1)):
            if end <= now:
                found.setdefault(end, {})[name] = False
                del ends[name]

    first = dict.fromkeys((*LASTING[metric], *PULSES[metric]), False)
    found[events[0][0]] = first
    for now, event in events:
        finish(now)
        lasting, pulses, place = _said(metric, event, place)
        for name in pulses:
            ends[name] = now + PULSE
        if said := lasting | dict.fromkeys(pulses, True):
            found.setdefault(now, {}).update(said)
    finish(now + PULSE)
    return sorted(found.items())


def _said(metric: str, event: tuple[Any, ...], place: Any) -> tuple[dict[str, bool], list[str], Any]:
    """What an event says: lasting signals that it sets, pulses, and the place to remember."""
    if metric == "outlier":
        amount, km, hours, here = event
        said = (("far", km > 900 * hours), ("moved", here != place), ("spent", amount > 1000))
        return {}, [name for name, holds in said if holds], here
    state = event[0]
    if metric == "playtime":
        return ({} if state is None else {"play": state == "play"}), [], None
    _, action, cdn = event
    lasting = {} if state is None else {"buffer": state == "buffer"}
    if cdn is not None:
        lasting["cdn1"] = cdn == "CDN1"
    pulses = ["played"] if state == "play" else []
    if action == "seek":
        pulses.append("sought")
    return lasting, pulses, None
