"""Episodes: what is said when a span begins, ends, moves, splits, joins, or was never there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.told import SECOND, Receiver, news
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.episodes import Message, key_text
from timeline_workers.alerts.telling import Silence, Telling
from timeline_workers.alerts.true_spans import OPEN, Span
from timeline_workers.columns.operations import unknown_tagged
from timeline_workers.errors import StateError
from timeline_workers.wire.news import News

CLOCK = Telling("r", "provisional", "clock", repeat=100)


class Played:
    """A rule over the key "k", told what is true from an instant on, and how late it is."""

    def __init__(self, telling: Telling = CLOCK, over_before: int | None = None) -> None:
        self.state = AlertState(telling, over_before)
        self.receiver = Receiver()

    def true(self, *spans: Span, since: int = 0, at: int, watermark: int | None = None) -> list[Message]:
        """What is told when k is True on ``spans`` from ``since`` on, at the instant ``at``."""
        made = self.state.step([news({"k": (since, spans)}, watermark)], at)
        self.receiver.hear(one for one in made if not one.muted)
        return made

    def wait(self, at: int) -> list[Message]:
        """What is told at the instant ``at`` though nothing was heard."""
        made = self.state.step((), at)
        self.receiver.hear(one for one in made if not one.muted)
        return made


def said(messages: list[Message]) -> list[tuple[Any, ...]]:
    return [(one.kind, one.episode, one.start, one.end, one.page) for one in messages]


def test_an_episode_fires_and_resolves() -> None:
    played = Played()
    assert said(played.true((5, OPEN), at=8)) == [("fire", "r/k/5", 5, None, True)]
    assert said(played.true((5, 12), at=14)) == [("resolve", "r/k/5", 5, 12, False)]
    assert [one.seq for one in played.receiver.messages] == [1, 2]


def test_what_lies_ahead_is_told_in_its_time() -> None:
    """As a window does that was opened and will close: no event comes then, and a timer is asked for."""
    played = Played()
    assert played.true((5, 12), at=3) == []
    assert played.state.next_change() == 5
    assert said(played.wait(5)) == [("fire", "r/k/5", 5, None, True)]
    assert played.wait(11) == []
    assert played.state.next_change() == 12
    assert said(played.wait(12)) == [("resolve", "r/k/5", 5, 12, False)]
    assert played.state.next_change() is None


def test_what_is_over_when_seen_is_told_once() -> None:
    """With one message, which wakes nobody."""
    assert said(Played().true((5, 12), at=20)) == [("resolve", "r/k/5", 5, 12, False)]


@pytest.mark.parametrize("start", [3, 7])
def test_late_data_moves_the_start(start: int) -> None:
    """The id keeps the start that was sent first."""
    played = Played()
    played.true((5, OPEN), at=8)
    assert said(played.true((start, OPEN), at=9)) == [("moved", "r/k/5", start, None, False)]


def test_late_data_moves_an_end_that_was_told() -> None:
    played = Played()
    played.true((5, 12), at=13)
    assert said(played.true((5, 10), at=14)) == [("moved", "r/k/5", 5, 10, False)]


def test_late_data_withdraws_what_was_not() -> None:
    played = Played()
    played.true((5, OPEN), at=8)
    assert said(played.true(at=9)) == [("withdraw", "r/k/5", 5, None, False)]
    assert played.receiver.known == {}


def test_an_episode_reopens_without_a_second_page() -> None:
    played = Played()
    played.true((5, 12), (30, OPEN), at=14)
    assert said(played.true((5, OPEN), at=20)) == [("reopen", "r/k/5", 5, None, True)]  # nobody was woken yet
    assert said(played.true((5, 22), at=25)) == [("resolve", "r/k/5", 5, 22, False)]
    assert said(played.true((5, OPEN), at=30)) == [("reopen", "r/k/5", 5, None, False)]
    played.true((5, 31), at=33)
    assert said(played.true((5, OPEN), at=120)) == [("reopen", "r/k/5", 5, None, True)]


def test_two_that_become_one_are_merged() -> None:
    """The earliest stays, and goes on."""
    played = Played()
    played.true((5, 8), (12, OPEN), at=14)
    made = played.true((5, OPEN), at=15)
    assert said(made) == [("reopen", "r/k/5", 5, None, False), ("merged", "r/k/12", 12, None, False)]
    assert made[1].into == "r/k/5"
    assert played.receiver.of("k") == [(5, OPEN)]


def test_one_that_becomes_two_wakes_nobody() -> None:
    """The first part stays the episode; the other is one of its own, of the same trouble."""
    played = Played()
    played.true((5, OPEN), at=20)
    made = played.true((5, 8), (12, OPEN), at=21)
    assert said(made) == [("resolve", "r/k/5", 5, 8, False), ("fire", "r/k/12", 12, None, False)]


def test_a_new_episode_wakes_somebody_again() -> None:
    """It was not true in between, nor told to be: it is no part of the one before, however soon it is."""
    played = Played()
    played.true((5, OPEN), at=8)
    made = played.true((5, 10), (12, OPEN), at=15)
    assert said(made) == [("resolve", "r/k/5", 5, 10, False), ("fire", "r/k/12", 12, None, True)]


def test_what_touches_is_the_same_episode() -> None:
    played = Played()
    played.true((5, 8), at=10)
    assert said(played.true((8, OPEN), at=11)) == [("reopen", "r/k/5", 8, None, True)]
    assert said(played.true((20, OPEN), at=21)) == [
        ("withdraw", "r/k/5", 8, None, False),
        ("fire", "r/k/20", 20, None, True),
    ]


def test_what_comes_back_keeps_its_number() -> None:
    """Withdrawn and true again: the same id, a greater number, and nobody is woken twice."""
    played = Played()
    played.true((5, OPEN), at=8)
    played.true(at=9)
    made = played.true((5, OPEN), at=10)
    assert said(made) == [("fire", "r/k/5", 5, None, False)]
    assert made[0].seq == 3


def test_no_two_episodes_have_one_id() -> None:
    """The one that began at 5 was moved to 2; another begins at 5 then, also when the first is final."""
    played = Played()
    for final in (False, True):
        played = Played()
        played.true((5, OPEN), at=8)
        played.true((2, 6), at=9)
        assert said(played.true((2, 4), at=10, watermark=5)) == [("moved", "r/k/5", 2, 4, False)]
        if final:
            played.state.compact()
        assert said(played.true((5, OPEN), since=5, at=11)) == [("fire", "r/k/5.2", 5, None, True)]
        assert played.receiver.of("k") == [(2, 4), (5, OPEN)]


def test_final_is_told_when_it_is() -> None:
    """Nothing is told before the watermark has passed it, and nothing is told twice."""
    played = Played(Telling("r", "final"))
    assert played.true((5, OPEN), at=30, watermark=5) == []
    assert said(played.true((5, 12), at=30, watermark=6)) == [("fire", "r/k/5", 5, None, True)]
    assert played.true((5, 14), since=12, at=30, watermark=14) == []
    assert said(played.true(since=15, at=31, watermark=15)) == [("resolve", "r/k/5", 5, 14, False)]


def test_the_clock_never_goes_back() -> None:
    played = Played()
    played.true((5, 12), at=20)
    assert played.wait(8) == []
    assert played.state.as_of == 20


def test_keys_are_told_apart() -> None:
    state = AlertState(CLOCK)
    made = state.step([news({"1": (0, [(5, OPEN)]), 1: (0, [(5, OPEN)]), "a/1": (0, [(6, OPEN)])})], 8)
    assert [one.episode for one in made] == ['r/"1"/5', "r/1/5", "r/a/1/6"]
    assert len({key_text(key) for key in (1, "1", '"1"', -1, "-1", "x")}) == 6


def test_what_was_over_before_the_rule_is_not_told() -> None:
    """A rule that is new tells what goes on, not the past; late data may make it go on."""
    played = Played(over_before=20)
    assert said(played.true((2, 4), (5, 12), (18, OPEN), at=25)) == [("fire", "r/k/18", 18, None, True)]
    assert said(played.true((2, 4), (5, OPEN), at=26)) == [("moved", "r/k/18", 5, None, False)]


def test_a_mute_holds_back_what_begins() -> None:
    """Whoever was told before hears the end; the others hear of it when the mute ends, if it goes on."""
    played = Played(Telling("r", "provisional", "clock", 100, (Silence("k*", 50),)))
    made = played.true((5, OPEN), at=8)
    assert [(one.kind, one.muted, one.page) for one in made] == [("fire", True, False)]
    assert played.state.next_change() == 50
    assert said(played.wait(50)) == [("fire", "r/k/5", 5, None, True)]
    over = Played(Telling("r", "provisional", "clock", 100, (Silence("*", 50),)))
    over.true((5, OPEN), at=8)
    assert [one.muted for one in over.true((5, 12), at=60)] == [True]
    other = Played(Telling("r", "provisional", "clock", 100, (Silence("x", 50),)))
    assert said(other.true((5, OPEN), at=8)) == [("fire", "r/k/5", 5, None, True)]


def test_who_was_told_hears_the_end_under_a_mute() -> None:
    told = Played()
    told.true((5, OPEN), at=8)
    muted = Telling("r", "provisional", "clock", 100, (Silence("k", 50),))
    told.state = AlertState.restore(muted, told.state.snapshot())
    assert [(one.kind, one.muted) for one in told.true((5, 12), at=14)] == [("resolve", False)]
    assert [(one.kind, one.page) for one in told.true((5, OPEN), at=15)] == [("reopen", False)]


def test_news_wait_for_the_first_instant() -> None:
    """Also over a restart; nothing is known to have been read yet."""
    state = AlertState(CLOCK)
    assert state.step([news({"k": (0, [(5, OPEN)])})]) == []
    state = AlertState.restore(CLOCK, state.snapshot())
    assert said(state.step((), 8)) == [("fire", "r/k/5", 5, None, True)]


def test_what_is_final_and_told_is_forgotten() -> None:
    played = Played()
    for start in range(0, 100, 10):
        played.true((start, start + 4), since=start, at=start + 5, watermark=start)
        played.state.compact()
    assert len(played.state.firing()) <= 2
    assert len(played.receiver.known) == 10
    played.true(since=100, at=100 * SECOND, watermark=100 * SECOND)
    played.state.compact()
    assert len(played.state) == 0


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(StateError, match="no state of an alert"):
        AlertState.restore(CLOCK, b"x")
    one = news({"k": (0, [(5, OPEN)])})
    values = unknown_tagged(len(one.suffix), None)
    suffix = type(one.suffix)(one.suffix.offsets, one.suffix.starts, values)
    with pytest.raises(StateError, match="an alert hears a Boolean"):
        AlertState(CLOCK).step([News(one.keys, one.froms, suffix, None, False)], 8)
