"""Random histories: after every step what was told is what is true, and it took few messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal as Choice

import pytest
from hypothesis import given, settings, strategies as st

from tests.alerts.told import Receiver, news, seen
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.telling import Telling
from timeline_workers.alerts.true_spans import OPEN, Span

LONG = 40
REPEAT = 15


@dataclass
class Step:
    """``changes``: the keys whose truth is another, from an instant on; ``as_of``; ``watermark``."""

    changes: dict[str | int, tuple[int, list[Span]]]
    truth: dict[str | int, list[Span]]
    watermark: int
    clock: int


def spans_of(bits: list[bool]) -> list[Span]:
    """The True spans of a value at each instant; the last value stays for ever."""
    edges = [t for t in range(len(bits)) if bits[t] and (t == 0 or not bits[t - 1])]
    ends = [next((u for u in range(t, len(bits)) if not bits[u]), OPEN) for t in edges]
    return list(zip(edges, ends, strict=True))


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """What is true of two keys, instant by instant, and how late events change it above the watermark."""
    truth: dict[str | int, list[bool]] = {key: [False] * LONG for key in ("a", 1)}
    watermark = clock = 0
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        changes: dict[str | int, tuple[int, list[Span]]] = {}
        for key in draw(st.sampled_from((["a"], ["a", 1], ["a"], []))):
            low = draw(st.integers(watermark, LONG - 1))
            flips = draw(st.lists(st.integers(low, LONG - 1), max_size=4, unique=True))
            bits = truth[key]
            for flip in flips:  # from there on the other way round, as one event makes it
                bits = [bit != (t >= flip) for t, bit in enumerate(bits)]
            truth[key] = bits
            since = min(flips, default=low)
            changes[key] = (since, [span for span in spans_of(bits) if span[1] > since])
        watermark = draw(st.integers(watermark, min(LONG - 2, watermark + 8)))
        clock = max(draw(st.integers(clock, clock + 8)), watermark)
        steps.append(Step(changes, {key: spans_of(bits) for key, bits in truth.items()}, watermark, clock))
    return steps


def naive(
    before: set[tuple[str | int, Span]], now: set[tuple[str | int, Span]]
) -> Iterator[Choice["page", "end"]]:
    """What somebody sends who compares the spans that are seen now with those that were seen before."""
    yield from ("end" for _ in before - now)
    yield from ("page" for _ in now - before)


@dataclass
class Told:
    """How much was told: messages and pages, ours and the naive ones."""

    messages: int = 0
    pages: int = 0
    naive_messages: int = 0
    naive_pages: int = 0


def play(steps: list[Step], telling: Telling, told: Told, restart: bool) -> Receiver:
    """Play ``steps``, and compare after each of them."""
    state, receiver = AlertState(telling), Receiver()
    before: set[tuple[str | int, Span]] = set()
    for step in steps:
        made = state.step([news(step.changes, step.watermark)], step.clock)
        receiver.hear(made)
        as_of = state.as_of
        assert as_of is not None
        now = {(key, span) for key, spans in step.truth.items() for span in seen(spans, as_of)}
        assert {(key, (start, end)) for key, start, end in receiver.known.values()} == now
        assert len(receiver.known) == len(now)
        compared = list(naive(before, now))
        assert len(made) <= len(compared)
        assert sum(one.page for one in made) <= compared.count("page")
        told.messages += len(made)
        told.pages += sum(one.page for one in made)
        told.naive_messages += len(compared)
        told.naive_pages += compared.count("page")
        before = now
        ahead = [t for spans in step.truth.values() for span in spans for t in span if as_of < t < OPEN]
        assert state.next_change() == min(ahead, default=None)
        if restart:
            state.compact()
            state = AlertState.restore(telling, state.snapshot())
    return receiver


TELLINGS = st.sampled_from(
    [
        Telling("r", "provisional", "clock", REPEAT),
        Telling("r", "provisional", "watermark", REPEAT),
        Telling("r", "final", "watermark", REPEAT),
    ]
)


@settings(max_examples=300)
@given(histories(), TELLINGS, st.booleans())
def test_what_was_told_is_the_truth(steps: list[Step], telling: Telling, restart: bool) -> None:
    receiver = play(steps, telling, Told(), restart)
    for one in receiver.messages:
        pages = [other.as_of for other in receiver.messages if other.page and other.episode == one.episode]
        assert all(later - earlier >= REPEAT for earlier, later in pairwise(pages))
    if telling.when == "final":
        assert {one.kind for one in receiver.messages} <= {"fire", "resolve"}


@pytest.mark.parametrize("many", [500, pytest.param(5000, marks=pytest.mark.long)])
def test_late_data_takes_half_the_pages(many: int) -> None:
    """Over many histories whose past changes all the time; of messages it takes three quarters."""
    told = Told()

    @settings(max_examples=many, database=None, derandomize=True)
    @given(histories())
    def all_of_them(steps: list[Step]) -> None:
        play(steps, Telling("r", "provisional", "clock", REPEAT), told, False)

    all_of_them()
    assert told.pages > many / 2
    assert told.pages <= 0.5 * told.naive_pages, told
    assert told.messages <= 0.8 * told.naive_messages, told
