"""The pace of batches."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from feeder.delivery.pace import TIMES, Pace


def test_the_first_batch_is_due_at_once() -> None:
    assert Pace(0.5).left(0.0) == 0


def test_the_next_batch_gathers_while_temporal_is_busy() -> None:
    """The slower Temporal accepts a batch, the longer the next gathers, counted from when the last began."""
    pace = Pace(10.0)
    pace.delivered(100.0, 100.01, full=False)
    assert pace.left(100.01) == pytest.approx(TIMES * 0.01 - 0.01)
    pace.delivered(101.0, 101.09, full=False)
    assert pace.left(101.09) == pytest.approx(TIMES * 0.05 - 0.09)  # half of what was usual, half of what is


def test_what_comes_seldom_does_not_wait() -> None:
    pace = Pace(0.5)
    pace.delivered(100.0, 100.4, full=False)
    assert pace.left(101.0) == 0


def test_every_batch_gathers_as_long_as_told() -> None:
    """Every batch gathers for as long as it is told to."""
    pace = Pace(0.5, shortest=2.0)
    pace.delivered(100.0, 100.001, full=False)
    assert pace.left(100.5) == pytest.approx(1.5)
    pace.delivered(102.0, 102.001, full=True)
    assert pace.left(102.001) == 0


def test_after_a_full_batch_the_next_is_due() -> None:
    """While there is a backlog, gathering would only lose time."""
    pace = Pace(0.5)
    pace.delivered(100.0, 100.3, full=False)
    pace.delivered(100.5, 100.9, full=True)
    assert pace.left(100.9) == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.booleans()), max_size=20), st.floats(0, 9))
def test_nothing_waits_for_longer_than_is_allowed(
    batches: list[tuple[float, float, bool]], longest: float
) -> None:
    pace, now = Pace(longest), 0.0
    for pause, took, full in batches:
        began = now + pause
        now = began + took
        pace.delivered(began, now, full=full)
        assert 0 <= pace.left(now) <= longest + 1e-9
