"""The interval of the median that `python -m benchmarks pairs` prints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.pairs import PairError, Pairs, Speed, at_once, interval, run


def test_the_interval_of_ten_ratios_holds_the_median() -> None:
    """With nine in ten and more: 1 - 2 * 11 / 1024 is 0.979, and the third and eighth would be 0.891."""
    assert interval([float(i) for i in range(10)]) == (1.0, 8.0)


def test_six_are_the_fewest_for_an_interval() -> None:
    assert interval([1.0] * 5) is None
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)


def test_ratios_are_of_speeds_pair_by_pair() -> None:
    measured = Pairs((10.0, 30.0, 20.0), (20.0, 30.0, 10.0))
    assert measured.ratios == [0.5, 1.0, 2.0]
    assert measured.text().startswith(
        "3 pairs: 1.000 of the other's speed, median (least 0.500, greatest 2.000;"
    )


def test_both_clocks_are_compared_pair_by_pair() -> None:
    """The other checkout runs first in every second pair; what no clock was taken of is compared without."""
    other, order = Path("other"), []

    def speed(checkout: Path) -> Speed:
        order.append(checkout == other)
        return Speed(10.0, 4.0) if checkout == other else Speed(5.0, 8.0)

    found = run(other, 2, speed, lambda said: None)
    assert order == [True, False, False, True]
    assert {name: pairs.ratios for name, pairs in found.items()} == {
        "by the clock": [0.5, 0.5],
        "by processor time": [2.0, 2.0],
    }
    assert list(run(other, 1, lambda checkout: Speed(None, 3.0), lambda said: None)) == ["by processor time"]


def own_cores(checkout: Path) -> Speed:
    """How many cores the measuring process has, and which the first is."""
    cores = os.sched_getaffinity(0)
    return Speed(len(cores), min(cores))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no process can be bound to a core here")
def test_two_at_once_have_a_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        assert at_once(own_cores, Path("a"), Path("b")) == [Speed(1, core) for core in cores[:2]]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    with pytest.raises(PairError, match="needs 2 cores"):
        at_once(own_cores, Path("a"), Path("b"))
