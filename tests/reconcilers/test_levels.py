"""The present states of keys, against whole timelines by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags, Linear, Tagged, Values
from timeline_workers.errors import StateError
from timeline_workers.reconcilers.calls import State
from timeline_workers.reconcilers.levels import Levels, When
from timeline_workers.wire.news import News

Piece = tuple[int, str]


def news(key: str, since: int, pieces: list[Piece], watermark: int | None = None) -> News:
    starts = np.array([at for at, _ in pieces], np.int64)
    values = Tagged.of([value for _, value in pieces])
    suffix = Timeline(np.array([0, len(pieces)], np.int64), starts, values)
    return News([key], np.array([since], np.int64), suffix, watermark, watermark is not None)


def at(pieces: list[Piece], instant: int) -> str | None:
    return next((value for start, value in reversed(pieces) if start <= instant), None)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 40),  # from when on
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from("xyz")), max_size=4),
        st.integers(0, 8),  # how far the watermark rises
        st.integers(0, 8),  # and the clock
        st.booleans(),  # continue as new
    ),
    max_size=12,
)


@example(steps=[("b", 5, [(5, "x"), (6, "y")], 6, 6, True), ("b", 6, [], 0, 0, False)], when="provisional")
@given(steps=STEPS, when=st.sampled_from(["final", "provisional"]))
def test_what_was_said_last_is_true_now(steps: list, when: When) -> None:
    levels, whole, said = Levels(when), dict[str, list[Piece]](), dict[str, State]()
    watermark = clock = 0
    for key, since, drawn, rise, tick, again in steps:
        since = max(since, watermark)  # nothing below the watermark changes
        watermark, clock = watermark + rise, clock + tick
        pieces = sorted({max(start, since): value for start, value in drawn}.items())
        whole[key] = [piece for piece in whole.get(key, []) if piece[0] < since] + pieces
        levels.hear(news(key, since, pieces, watermark))
        said.update(levels.step(clock))
        now = clock if when == "provisional" else watermark - 1
        if now < 0:
            continue
        for name, known in whole.items():
            assert said[name].value == at(known, levels.now or 0)
            if said[name].final and when == "final":
                assert levels.now is not None
                assert levels.now < watermark
        if again:
            levels.compact()
            levels = Levels.restore(when, levels.snapshot())
            said.update(levels.step(clock))


def test_a_change_that_is_known_comes_by_the_clock() -> None:
    levels = Levels("provisional")
    levels.hear(news("a", 0, [(10, "x"), (15, "y")]))
    assert [state.value for _, state in levels.step(12)] == ["x"]
    assert levels.next_time() == 15
    assert list(levels.step(14)) == []
    ((key, state),) = levels.step(15)
    assert (key, state.value, state.since, state.until, state.final) == ("a", "y", 15, None, False)


def test_values_of_every_layout() -> None:
    def value(values: Values) -> object:
        levels = Levels("provisional")
        suffix = Timeline(np.array([0, 1], np.int64), np.array([0], np.int64), values)
        levels.hear(News(["a"], np.array([0], np.int64), suffix, None, False))
        return next(iter(levels.step(1)))[1].value

    def line(num: int, slope: int = 0, *, known: bool = True) -> Linear:
        return Linear(np.array([known]), np.array([num], np.int64), np.array([slope], np.int64))

    assert value(Flags(np.array([True]))) is True
    assert value(Tagged.of([2.5])) == 2.5
    assert value(line(3_000_000)) == 3
    assert value(line(3_500_000)) == 3.5
    assert value(line(0, known=False)) is None
    with pytest.raises(StateError, match="follow a comparison"):
        value(line(0, 1))
