"""Random scripts for history stores: appends in any order, some of them again, and questions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import cycle
from typing import Any

from hypothesis import strategies as st

from timeline_workers.history.model import (
    EventCursor,
    Followed,
    Gap,
    Group,
    Judged,
    Outcome,
    PieceCursor,
    Position,
    RawEvent,
    Revision,
    Scope,
    Verdict,
    Writer,
)
from timeline_workers.history.store import HistoryStore

from .model_store import LAST

TOPICS = {"clicks": ("clicks-1", "clicks-2"), "views": ("views-1",)}
DEFINITIONS = [name for names in TOPICS.values() for name in names]
EVENT_KEYS: list[str | int] = ["s1", 1, "1", "é\u0000\U0001f3b5"]
GROUPS: list[Group] = [*EVENT_KEYS, None, True, 1.0]
WRITERS = [Writer("a.p0", "a", 2), Writer("a.p1", "a", 2), Writer("b.p0", "b"), Writer("again", "b", 0)]
NODES = ["a", "b", "nobody"]

Call = Callable[[HistoryStore], Awaitable[Any]]


@dataclass(frozen=True)
class Step:
    """A call of a store, as it is to be said."""

    said: str
    call: Call = field(repr=False)


def step(method: str, *args: Any, **kwargs: Any) -> Step:
    given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return Step(f"{method}({', '.join(given)})", lambda store: getattr(store, method)(*args, **kwargs))


instants = st.integers(0, LAST - 1)
positions = st.builds(Position, st.integers(0, 1), st.integers(0, 1), st.integers(0, 6))
keys = st.sampled_from(EVENT_KEYS)
groups = st.sampled_from(GROUPS)
raw_events = st.builds(RawEvent, positions, st.binary(max_size=3), st.integers(0, LAST) | st.just(0))


@st.composite
def _judged(draw: st.DrawFn, definition: str, among: list[Position]) -> Judged:
    verdicts = []
    for position in draw(st.lists(st.sampled_from(among), max_size=5)) if among else []:
        outcome = draw(st.sampled_from(list(Outcome)))
        accepted = outcome is Outcome.ACCEPTED
        none = st.nothing() if accepted else st.none()
        verdicts.append(
            Verdict(
                position,
                outcome,
                draw(keys | none),
                draw(instants | none),
                "" if accepted else draw(st.sampled_from(["", "late", "wrong-type"])),
                "" if accepted else draw(st.sampled_from(["", "not so"])),
                False if accepted else draw(st.booleans()),
            )
        )
    marks = draw(st.dictionaries(st.integers(0, 1), st.none() | instants, max_size=2))
    places = st.builds(Followed, st.integers(0, 1), st.integers(0, 6), st.none() | instants)
    return Judged(definition, verdicts, marks, draw(st.dictionaries(st.integers(0, 1), places, max_size=2)))


gaps = st.builds(
    Gap,
    st.sampled_from(["clicks", "a"]),
    st.none() | instants,
    st.none() | instants,
    st.sampled_from(["the broker was away", "the store was away"]),
)


@st.composite
def event_appends(draw: st.DrawFn) -> Step:
    topic = draw(st.sampled_from(list(TOPICS)))
    given = draw(st.lists(raw_events, max_size=5))
    among = [event.position for event in given] + draw(st.lists(positions, max_size=1))
    names = draw(st.lists(st.sampled_from(DEFINITIONS), max_size=2, unique=True))
    return step(
        "append_events",
        topic,
        given,
        [draw(_judged(name, among)) for name in names],
        draw(st.lists(gaps, max_size=1)),
    )


booleans = st.tuples(st.booleans(), st.none())
states = st.tuples(st.sampled_from([None, "x", "y\u0000", 1, 1.0, True, 0.5]), st.none())
slopes = st.sampled_from([Fraction(0), Fraction(1), Fraction(1_000_000), Fraction(1, 3)])
numbers = st.tuples(st.fractions(0, 3, max_denominator=3), slopes) | st.just((None, None))
KINDS = [booleans, states, numbers]


@st.composite
def revisions(draw: st.DrawFn, since: st.SearchStrategy[int]) -> Revision:
    begin = draw(since)
    starts = sorted(draw(st.sets(st.integers(max(begin, 0), LAST - 1), max_size=4)))
    kind = draw(st.sampled_from(KINDS))
    return Revision(draw(groups), begin, [(start, *draw(kind)) for start in starts])


anywhen = instants | st.just(-(2**62))


@st.composite
def revision_appends(draw: st.DrawFn, since: st.SearchStrategy[int] = anywhen) -> Step:
    return step(
        "append_revisions",
        draw(st.sampled_from(WRITERS)),
        (draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        draw(st.lists(revisions(since), max_size=3)),
        watermark=draw(st.none() | instants),
        gaps=draw(st.lists(gaps, max_size=1)),
    )


unfollows = st.lists(st.sampled_from(DEFINITIONS), max_size=2).map(lambda names: step("unfollow", names))
appends = st.lists(event_appends() | revision_appends() | unfollows, min_size=1, max_size=8)
later_appends = st.lists(event_appends() | revision_appends(since=st.just(LAST - 1)), max_size=2)

scopes = st.none() | st.builds(
    Scope, st.lists(st.sampled_from(DEFINITIONS), max_size=2), st.lists(st.sampled_from(NODES), max_size=2)
)
system_times = st.none() | st.integers(0, 60)
windows = st.tuples(st.integers(0, LAST), st.integers(0, LAST))
limits = st.none() | st.integers(1, 5)


@st.composite
def questions(draw: st.DrawFn) -> Step:
    """One question; ``as_of`` is near the system times of ``Clock``."""
    window, as_of, limit = draw(windows), draw(system_times), draw(limits)
    definition, nodes = draw(st.sampled_from([*DEFINITIONS, "none"])), draw(st.lists(st.sampled_from(NODES)))
    of_keys = draw(st.none() | st.lists(keys, max_size=2))
    of_groups = draw(st.none() | st.lists(groups, max_size=3))
    about = "events pieces snapshot active density origins reach followed raw gaps changed"
    match draw(st.sampled_from(about.split())):
        case "events":
            return step(
                "events",
                definition,
                *window,
                keys=of_keys,
                outcomes=frozenset(draw(st.sets(st.sampled_from(list(Outcome))))),
                as_of=as_of,
                seen_after=draw(system_times),
                backwards=draw(st.booleans()),
                after=draw(st.none() | st.builds(EventCursor, instants, positions)),
                limit=limit,
            )
        case "pieces":
            return step(
                "pieces",
                nodes,
                *window,
                keys=of_groups,
                as_of=as_of,
                carried=draw(st.booleans()),
                backwards=draw(st.booleans()),
                after=draw(st.none() | st.builds(PieceCursor, instants, st.sampled_from(NODES), groups)),
                limit=limit,
            )
        case "snapshot":
            return step("snapshot", nodes, window[0], keys=of_groups, as_of=as_of, limit=limit)
        case "active":
            return step("keys_active", definition, *window, as_of=as_of, limit=draw(st.integers(1, 3)))
        case "density":
            parts = draw(st.integers(0, 5))
            return step("density", definition, *window, parts, keys=of_keys, as_of=as_of)
        case "origins":
            return step("origins", definition, of_keys)
        case "reach":
            return step("reach", definition)
        case "followed":
            return step("followed", definition)
        case "gaps":
            return step("gaps", draw(st.sampled_from(["clicks", "a", "none"])))
        case "raw":
            place = draw(st.none() | st.tuples(st.integers(0, 1), st.integers(0, 6)))
            topic, partition = draw(st.sampled_from([*TOPICS, "none"])), draw(st.integers(0, 1))
            return step("raw_events", topic, partition, after=place, limit=draw(st.integers(1, 5)))
        case _:
            since = draw(st.integers(0, 60))
            return step("changed_since", nodes, since, keys=of_groups, until=as_of, limit=limit)


class Clock:
    """A clock that goes on by ``steps`` in turn, some of which go back, whenever a step is said."""

    def __init__(self, steps: list[int]) -> None:
        self._steps = cycle(steps or [0])
        self._at = 0

    def __call__(self) -> int:
        return self._at

    def go_on(self) -> None:
        self._at += next(self._steps)


clock_steps = st.lists(st.integers(-3, 9), max_size=4)
