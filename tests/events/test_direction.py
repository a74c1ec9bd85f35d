"""Events that run backwards in time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.oracle import oracle
from tests.oracle.events import Event
from timeline_workers import EventOrderWarning, Result, evaluate
from timeline_workers.events.direction import Direction
from timeline_workers.language.parser import parse

STATE = "latest_event_to_state(s)"


def directed(events: list[tuple[str, int]], cut: int = 1_000_000) -> Direction:
    direction = Direction()
    for start in range(0, len(events), cut):
        some = events[start : start + cut]
        names = sorted({name for name, _ in some})
        codes = np.array([names.index(name) for name, _ in some], np.int32)
        direction.add(names, codes, np.array([time for _, time in some], np.int64))
    return direction


def ascending(keys: int, each: int) -> list[tuple[str, int]]:
    """By time; the first key has two events at one instant."""
    found = [(f"k{k}", 10 * i + k) for i in range(each) for k in range(keys)]
    return sorted([*found, ("k0", 10)], key=lambda event: event[1])


@pytest.mark.parametrize("cut", [7, 1_000_000])
@pytest.mark.parametrize(
    ("events", "backwards"),
    [
        (ascending(5, 20), False),
        (ascending(5, 20)[::-1], True),
        (sorted(ascending(5, 20)), False),
        (sorted(ascending(5, 20))[::-1], True),
        # Keys the newest first, the events of each in the order of time.
        (sorted(ascending(5, 20), key=lambda event: (-int(event[0][1:]), event[1])), False),
        (random.Random(0).sample(ascending(20, 50), 1_001), False),
        # One instant a key, with ties; nothing but the whole tells.
        ([(f"k{k}", 100 - k) for k in range(9) for _ in range(2)], True),
        ([(f"k{k}", k) for k in range(9) for _ in range(2)], False),
    ],
    ids=["by time", "newest first", "by key", "by key, newest first", "keys newest first", "shuffled",
         "one instant a key, newest first", "one instant a key"],
)  # fmt: skip
def test_which_inputs_run_backwards(events: list[tuple[str, int]], backwards: bool, cut: int) -> None:
    direction = directed(events, cut)
    assert direction.runs_backwards is backwards
    if cut > len(events):
        assert (direction.reversed_ties > 0) is backwards


def test_a_last_batch_alone_decides_no_direction() -> None:
    """A last batch that goes back says nothing of the whole."""
    assert not directed([*ascending(5, 20), ("k0", 5), ("k0", 5), ("k0", 4)], 101).runs_backwards


EXPORT = [
    {"m": "a", "t": 120, "s": "off"},
    {"m": "a", "t": 60, "s": "on"},
    {"m": "a", "t": 60, "s": "starting"},
    {"m": "b", "t": 0, "s": "on"},
]


def test_an_export_newest_first_is_named_and_turned() -> None:
    """An export that has the newest first is said and turned round."""
    with pytest.warns(EventOrderWarning, match=r"run backwards, and 1 of 2 keys .* say newest_first=True"):
        wrong = evaluate(STATE, EXPORT, key="m", time="t")
    assert wrong.value_at("a", 60).value == "starting"
    right = evaluate(STATE, EXPORT, key="m", time="t", newest_first=True)
    assert right.value_at("a", 60).value == "on"
    with pytest.warns(EventOrderWarning, match="leave out newest_first"):
        evaluate(STATE, EXPORT[::-1], key="m", time="t", newest_first=True)


def test_order_matters_only_for_ties_of_a_key() -> None:
    """Without two events of a key at one instant the order does not matter."""
    assert evaluate(STATE, [EXPORT[0], *EXPORT[2:]], key="m", time="t").value_at("a", 60).value == "starting"


@settings(max_examples=settings().max_examples // 2)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from("xyz")), min_size=1, max_size=20
    ),
    st.integers(1, 20),
)
def test_newest_first_answers_as_the_reversed_input_does(
    events: list[tuple[str, int, str]], cut: int
) -> None:
    """However the input is cut."""
    result = Result(STATE, key="k", time="t", time_unit="us", newest_first=True)
    rows = [{"k": k, "t": t, "s": s} for k, t, s in events]
    for start in range(0, len(rows), cut):
        result.add(list(rows[start : start + cut]))
    placed = [Event(k, t, (0, 0, -i), {"s": s}) for i, (k, t, s) in enumerate(events)]
    for key in {k for k, _, _ in events}:
        pieces = oracle.timeline(parse(STATE), placed, key)
        for at in range(5):
            assert result.value_at(key, at).value == oracle.value_of(pieces, at)
