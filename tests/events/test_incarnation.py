"""Incarnations of a topic, by what a partition shows of itself.

Topics are written, trimmed at the front, cut at their end, and made anew; of each message it is known
whether it is still there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, strategies as st

from timeline_workers.events.incarnation import (
    ENTRY_STEP,
    Mark,
    Message,
    Place,
    Shown,
    Verdict,
    incarnation_of,
    judge,
    ledger_of,
    major_of,
    place_order,
    shown_place,
)


def at(ledger: int, entry: int, index: int = 0, published: int | None = 0) -> Message:
    return Message(Place(ledger, entry * ENTRY_STEP + index), published)


def marked(message: Message) -> Mark:
    return Mark(message.place.ledger, message.place.minor, message.published)


@dataclass
class Topic:
    """A partition as a broker keeps it. ``now``: every message is published later than all before it."""

    ledger: int = 0
    entry: int = 0
    now: int = 0
    held: list[Message] = field(default_factory=list)

    def write(self, batch: int) -> None:
        self.now += 1
        self.held += [at(self.ledger, self.entry, index, self.now) for index in range(batch)]
        self.entry += 1

    def roll(self) -> None:
        self.ledger, self.entry = self.ledger + 1, 0

    def trim(self) -> None:
        """Delete the first ledger, unless it is being written."""
        first = min((m.place.ledger for m in self.held), default=self.ledger)
        if first < self.ledger:
            self.held = [m for m in self.held if m.place.ledger > first]

    def recreate(self, ledger: int) -> None:
        """Delete everything and number from ``ledger`` on."""
        self.held, self.ledger, self.entry, self.now = [], ledger, 0, self.now + 1

    def cut(self) -> None:
        """Lose the last entry, and number on as if it had never been."""
        if self.held:
            last = self.held[-1].place
            self.held = [
                m for m in self.held if m.place < Place(last.ledger, last.minor // ENTRY_STEP * ENTRY_STEP)
            ]
            self.ledger, self.entry, self.now = last.ledger, last.minor // ENTRY_STEP, self.now + 1

    def shows(self, mark: Message) -> Shown:
        return Shown(next(iter(self.held), None), next((m for m in self.held if m.place >= mark.place), None))


steps = st.lists(
    st.one_of(
        st.integers(1, 3).map(lambda n: ("write", n)),
        st.sampled_from([("roll",), ("trim",)]),
    ),
    max_size=12,
)


def run(topic: Topic, does: list[tuple[object, ...]]) -> None:
    for name, *arguments in does:
        getattr(topic, str(name))(*arguments)


@given(steps, steps, st.data())
def test_a_trimmed_topic_is_the_same_topic(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """The verdict is that of the message itself: it is there, or deleted once anything follows it."""
    topic = Topic()
    run(topic, [("write", 2), *before])
    mark = data.draw(st.sampled_from(topic.held or [at(0, 0, 0, 1)]))
    run(topic, after)
    verdict = judge(marked(mark), topic.shows(mark))
    if mark in topic.held:
        assert verdict is Verdict.KEPT
    else:
        assert verdict is (Verdict.DELETED if topic.held else Verdict.KEPT)


@given(steps, st.integers(0, 20), steps, st.data())
def test_a_recreated_topic_is_noticed_with_its_first_message(
    before: list[tuple[object, ...]], ledger: int, after: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """Whatever places it has: where they overlap or go back it is another topic, where they go on the mark
    is deleted. Never is the mark taken to be there.
    """
    topic = Topic()
    run(topic, [("write", 2), *before])
    mark = data.draw(st.sampled_from(topic.held or [at(0, 0, 0, 1)]))
    topic.recreate(ledger)
    run(topic, [*after, ("write", 1)])
    verdict = judge(marked(mark), topic.shows(mark))
    assert verdict is (Verdict.DELETED if topic.held[0].place > mark.place else Verdict.RECREATED)


@given(steps, st.integers(1, 3), steps)
def test_a_topic_without_its_end_is_the_same(
    before: list[tuple[object, ...]], lost: int, after: list[tuple[object, ...]]
) -> None:
    """What is left of it was fed, and is not another topic's."""
    topic = Topic()
    run(topic, [*before, ("write", 1), ("write", lost)])
    kept, mark = topic.held[0], topic.held[-1]
    topic.cut()
    run(topic, [step for step in after if step[0] != "trim"])
    assert topic.held[0] == kept
    verdict = judge(marked(mark), topic.shows(mark))
    assert verdict is Verdict.CUT


@pytest.mark.parametrize(
    ("mark", "first", "found", "verdict"),
    [
        # Nothing is there, and nothing is known of what was.
        (at(5, 3, 0, 9), None, None, Verdict.KEPT),
        # The publish time is not known, as of a state of an early release.
        (at(0, 3, 0, None), None, at(0, 3, 0, 77), Verdict.KEPT),
        # A place just before the first message of a ledger is none of a message.
        (at(5, -1, 65535, None), at(5, 0, 0, 9), at(5, 0, 0, 9), Verdict.KEPT),
        (at(5, -1, 65535, None), at(6, 0, 0, 9), at(6, 0, 0, 9), Verdict.KEPT),
        # After a whole entry, such as a message in chunks: something is in there, published whenever.
        (at(5, 7, 65535, 4), at(5, 0, 0, 1), at(5, 7, 0, 9), Verdict.KEPT),
        (at(5, 7, 65535, 4), at(5, 0, 0, 1), None, Verdict.CUT),
        (at(5, 7, 65535, 4), at(5, 0, 0, 8), None, Verdict.RECREATED),
        (at(5, 7, 65535, 4), at(6, 0, 0, 8), at(6, 0, 0, 8), Verdict.DELETED),
        # A ledger in the middle cannot be read any more.
        (at(5, 7, 0, 4), at(4, 0, 0, 1), at(6, 0, 0, 9), Verdict.CUT),
    ],
)
def test_the_unknown_is_not_taken_for_another_topic(
    mark: Message, first: Message | None, found: Message | None, verdict: Verdict
) -> None:
    """What cannot be known is not taken for another topic."""
    assert judge(marked(mark), Shown(first, found)) is verdict


@given(st.integers(0, 1000), st.integers(0, 2**40), st.integers(0, 2**30), st.integers(0, 65534))
def test_positions_of_later_incarnations_come_after(
    incarnation: int, ledger: int, entry: int, index: int
) -> None:
    """A position keeps its ledger and later incarnations come after."""
    major = major_of(incarnation, ledger)
    assert (incarnation_of(major), ledger_of(major)) == (incarnation, ledger)
    assert major < major_of(incarnation + 1, 0) < 2**63
    assert major_of(0, ledger) == ledger
    shown = shown_place(major, entry * ENTRY_STEP + index)
    assert shown.startswith(f"{ledger}:{entry}:{index}")
    assert place_order(shown) == (incarnation, ledger, entry, index)


def test_before_every_message_is_no_incarnation_of_its_own() -> None:
    assert (incarnation_of(-1), ledger_of(-1)) == (0, -1)
